"""Families of timm's networks: the stack against networks of timm's own, tokens as maps, images of any size."""

import pytest
import torch
import torch.nn.functional as F

from rgbx.backbones import SharedBackbone
from rgbx.backbones._timm import timm
from rgbx.backbones.network import Anatomy, Form, create_network
from rgbx.backbones.pyramid import FeaturePyramid
from rgbx.backbones.residual import residual_blocks
from rgbx.fusion.addition import AdditionFusion
from rgbx.layers import owner, replace_norms
from rgbx.layers.private import is_norm
from rgbx.layers.stack import StackLayout

NAMES = ("rgb", "depth")
ANY, TOKENS = {"strict_img_size": False}, {"dynamic_img_size": True}
FAMILIES = {  # how timm makes a network that reads that size, and the size
    "test_vit": (TOKENS, (64, 96)),
    "vit_tiny_patch16_dinov3_qkvb": (TOKENS, (64, 96)),
    "swin_tiny_patch4_window7_224": (ANY, (64, 96)),
    "test_vit_relpos": ({}, (160, 160)),
    "test_maxvit": ({}, (160, 320)),
    "test_coatnet": ({}, (160, 160)),
    "efficientvim_m1": ({}, (64, 128)),
    "pit_ti_224": ({}, (224, 224)),
}


def inputs(size, batch=1):
    generator = torch.Generator().manual_seed(0)
    return {name: torch.randn(batch, 3, *size, generator=generator) for name in NAMES}


def made(name, **options):
    """A backbone whose norms differ between the modalities."""
    torch.manual_seed(0)
    backbone = SharedBackbone(name, NAMES, **options)
    with torch.no_grad():
        for path, parameter in backbone.named_parameters():
            if owner(path) is not None:
                parameter.add_(0.3 * torch.randn_like(parameter))
    return backbone.eval()


def own(backbone, name, modality, options):
    """timm's network with the weights that a modality has in the backbone."""
    more = {"out_indices": backbone.network.out_indices} if hasattr(backbone.network, "out_indices") else {}
    plain = timm.create_model(name, features_only=True, **options, **more)
    state = {
        key.replace(f".norms.{modality}.", "."): x
        for key, x in backbone.network.state_dict().items()
        if owner(key) in (None, modality)
    }
    plain.load_state_dict(state)
    return plain.eval()


@pytest.mark.parametrize("name", FAMILIES)
@torch.no_grad()
def test_the_stack_is_a_network_for_each_modality(name):
    options, size = FAMILIES[name]
    backbone, given = made(name), inputs(size)
    assert not any(is_norm(m) and list(m.parameters()) for k, m in backbone.network.named_modules() if owner(k) is None)
    with backbone.layout.holding(NAMES, size=size):
        stack = backbone.network(torch.cat(list(given.values())))
    for m, modality in enumerate(NAMES):
        expected = own(backbone, name, modality, options)(given[modality])
        assert len(expected) == len(stack)
        for x, y in zip(stack, expected, strict=True):
            torch.testing.assert_close(x[m : m + 1], y, rtol=1e-4, atol=1e-5 * float(y.abs().max()))
    both, alone = backbone(given), backbone({"depth": given["depth"]})
    for x, y, channels, stride in zip(both, alone, backbone.channels, backbone.strides, strict=True):
        assert x.shape == (2, channels, size[0] // stride, size[1] // stride)
        torch.testing.assert_close(x[1:], y, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", ["test_mambaout", "efficientvim_m1", "pit_ti_224", "test_coatnet"])
@torch.no_grad()
def test_what_is_fused_last_is_what_the_decoder_reads(name):
    """Also where timm notes features by hooks of its own, or a stage gives several things."""
    size = FAMILIES.get(name, ({}, (64, 96)))[1]
    torch.manual_seed(0)
    plain = SharedBackbone(name, NAMES).eval()
    last = len(plain.strides)
    fused = SharedBackbone(name, NAMES, fusion=AdditionFusion(stages=(last,))).eval()
    fused.load_state_dict(plain.state_dict())
    given = inputs(size)
    before, after = plain(given), fused(given)
    torch.testing.assert_close(after[-1], before[-1].sum(0, keepdim=True).expand(2, -1, -1, -1))
    assert all(torch.equal(x, y) for x, y in zip(before[:-1], after[:-1], strict=True))


@torch.no_grad()
def test_tokens_of_chosen_blocks_meet_and_class_tokens_do_not():
    """Against the blocks of timm's transformer, one after the other."""
    fused = made("test_vit", fusion=AdditionFusion(stages=(1, 3)))
    networks = [own(fused, "test_vit", name, TOKENS).model for name in NAMES]
    size, given = (64, 96), inputs((64, 96))
    tokens = []
    for network, x in zip(networks, given.values(), strict=True):
        tokens.append(network.norm_pre(network._pos_embed(network.patch_embed(x))))
    for i, blocks in enumerate(zip(*(network.blocks for network in networks), strict=True), 1):
        tokens = [block(x) for block, x in zip(blocks, tokens, strict=True)]
        if i in (2, 5):  # of six blocks the quarters end with 2, 3, 5 and 6
            met = tokens[0][:, 1:] + tokens[1][:, 1:]
            tokens = [torch.cat([x[:, :1], met], 1) for x in tokens]
    expected = torch.cat(tokens)[:, 1:].transpose(1, 2).unflatten(2, (4, 6))
    with fused.layout.holding(NAMES, size=size):
        found = fused.network(torch.cat(list(given.values())))[-1]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    maps = fused(given)
    with fused.layout.holding(NAMES):
        torch.testing.assert_close(maps, fused.pyramid(found))


@torch.no_grad()
def test_levels_of_the_pyramid_are_of_their_strides_and_of_their_places():
    torch.manual_seed(0)
    pyramid = FeaturePyramid(12, 16, (4, 8, 16, 32))
    x = torch.randn(2, 12, 4, 6)
    assert [tuple(y.shape) for y in pyramid(x)] == [(2, 12, 16, 24), (2, 12, 8, 12), (2, 12, 4, 6), (2, 12, 2, 3)]
    other = x.clone()
    other[..., 4:] += 1
    for y, z in zip(pyramid(x)[:3], pyramid(other)[:3], strict=True):
        left = y.shape[3] * 4 // 6 - 1  # the 3x3 convolution reaches one location further
        assert torch.equal(y[..., :left], z[..., :left]) and not torch.equal(y[..., left + 1 :], z[..., left + 1 :])


def test_images_of_another_size_are_seen_at_that_of_the_network():
    backbone, given = made("test_vit_relpos"), inputs((64, 128))
    with torch.no_grad():
        found = backbone(given)
        seen = {k: F.interpolate(x, (160, 160), mode="bilinear", align_corners=False) for k, x in given.items()}
        for x, y, stride in zip(found, backbone(seen), backbone.strides, strict=True):
            size = (64 // stride, 128 // stride)
            torch.testing.assert_close(x, F.interpolate(y, size, mode="bilinear", align_corners=False))
    _, anatomy = create_network("convmixer_768_32")  # patches of 7 pixels count as of 8
    assert (anatomy.actual, anatomy.stages[-1].stride, anatomy.read((64, 96))) == (7, 8, (56, 84))
    assert isinstance(anatomy, Anatomy) and anatomy.stages[-1].output == Form(768, 7)


def test_sides_that_a_network_does_not_read_are_refused():
    with pytest.raises(ValueError, match=r"images are of 64x100 pixels; VisionTransformer reads multiples of 32: pad"):
        made("test_vit")(inputs((64, 100)))


@pytest.mark.parametrize("name", ["test_vit", "vit_tiny_patch16_dinov3_qkvb"])
def test_blocks_that_compute_again_have_the_same_gradients(name):
    gradients = []
    for again in (False, True):
        backbone = made(name, fusion=AdditionFusion()).train()
        assert len(residual_blocks(backbone.network)) in (6, 12)
        if again:
            backbone.set_grad_checkpointing()
        sum(x.square().mean() for x in backbone(inputs((32, 64)))).backward()
        gradients.append({name: p.grad for name, p in backbone.named_parameters()})
    for key, expected in gradients[0].items():
        if owner(key) is not None:
            assert expected is not None and expected.any(), key
        torch.testing.assert_close(gradients[1][key], expected)


def test_norms_of_timm_that_are_no_layer_norms_are_private():
    kinds = (timm.layers.RmsNorm, timm.layers.SimpleNorm, timm.layers.RmsNorm2d)
    module = torch.nn.Sequential(*(kind(4) for kind in kinds), torch.nn.RMSNorm(4), torch.nn.Linear(4, 4))
    assert replace_norms(module, StackLayout(NAMES)) == 4
    assert sum(owner(name) == "depth" for name, _ in module.named_parameters()) == 4


@torch.no_grad()
def test_weights_and_first_convolutions_of_a_plain_transformer(tmp_path):
    torch.manual_seed(1)
    plain, file, given = timm.create_model("test_vit").eval(), tmp_path / "weights.pth", inputs((64, 96))
    torch.save(plain.state_dict(), file)
    backbone = SharedBackbone("test_vit", NAMES, pretrained=str(file), stems={"depth": "mean"}).eval()
    assert not backbone.pretrained_summary.left
    seen = own(SharedBackbone("test_vit", NAMES, pretrained=str(file)), "test_vit", "rgb", TOKENS)
    with backbone.layout.holding(["rgb"], size=(64, 96)):
        for x, y in zip(backbone.network(given["rgb"]), seen(given["rgb"]), strict=True):
            torch.testing.assert_close(x, y, rtol=1e-4, atol=1e-5)
    weight = backbone.network.model.patch_embed.proj.stems["depth"].weight
    torch.testing.assert_close(weight, plain.patch_embed.proj.weight.mean(1, keepdim=True))
    assert [x.shape[0] for x in backbone({**given, "depth": given["depth"][:, :1]})] == [2] * 4
