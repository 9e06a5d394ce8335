"""Names of other projects: their networks compute what ours do with their weights; and names that nobody has."""

import pytest
import torch
from torch import nn

from rgbx._torchvision import ensure_torchvision
from rgbx.backbones import SharedBackbone
from rgbx.backbones._timm import timm
from rgbx.backbones.weights import load_pretrained

ensure_torchvision()
import torchvision  # noqa: E402
from torchvision.models.convnext import CNBlockConfig, ConvNeXt  # noqa: E402

torch.set_num_threads(1)
SWIN, VIT, DINO3 = "swin_tiny_patch4_window7_224", "test_vit", "vit_small_patch16_dinov3"


def saved(state, tmp_path):
    torch.save(state, tmp_path / "w.pth")
    return str(tmp_path / "w.pth")


def drawn(network):
    """Every tensor drawn anew, so that what is not loaded differs from what is."""
    torch.manual_seed(5)
    with torch.no_grad():
        for tensor in network.state_dict().values():
            if tensor.is_floating_point():
                tensor.normal_()
    return network


def convnext_atto():
    """Torchvision's ConvNeXt, of the size of timm's smallest."""
    widths, depths = (40, 80, 160, 320, None), (2, 2, 6, 2)
    settings = [CNBlockConfig(widths[i], widths[i + 1], depth) for i, depth in enumerate(depths)]
    return ConvNeXt(settings, stochastic_depth_prob=0.0)


@pytest.mark.parametrize(
    ("name", "theirs", "end", "said"),
    [
        ("efficientnet_b0", "efficientnet_b0", -1, " (names of torchvision's EfficientNet)"),
        ("mobilenetv2_100", "mobilenet_v2", -1, " (names of torchvision's MobileNetV2)"),
        ("convnext_atto", "convnext_atto", None, " (names of torchvision's ConvNeXt)"),
        ("regnety_004", "regnet_y_400mf", None, ""),  # timm converts these itself
        (SWIN, "swin_t", None, " (names of torchvision's Swin)"),
    ],
)
@torch.no_grad()
def test_torchvision_networks_compute_the_same(name, theirs, end, said, tmp_path):
    torch.manual_seed(0)
    reference = getattr(torchvision.models, theirs, convnext_atto)().eval()
    state = {f"module.{key}": tensor for key, tensor in reference.state_dict().items()}
    backbone = SharedBackbone(name, ("rgb",), pretrained=saved({"model": state}, tmp_path)).eval()
    summary = backbone.pretrained_summary
    assert not summary.left and f"(prefix 'module.' removed){said}: " in str(summary)
    x = torch.rand(1, 3, *((224, 224) if name == SWIN else (64, 96)))
    body = getattr(reference, "features", None)
    expected = reference.trunk_output(reference.stem(x)) if body is None else body[:end](x)
    expected = expected.permute(0, 3, 1, 2) if name == SWIN else expected
    scale = expected.abs().max()  # tiny where norms have not seen anything yet
    assert scale > 0
    torch.testing.assert_close(backbone({"rgb": x})[-1] / scale, expected / scale)


def test_a_network_of_another_size_is_refused(tmp_path):
    path = saved(torchvision.models.efficientnet_b1().state_dict(), tmp_path)
    with pytest.raises(ValueError, match=r"does not look like weights of efficientnet_b0: the file has \['features"):
        SharedBackbone("efficientnet_b0", ("rgb",), pretrained=path)


def test_a_network_that_timm_has_not_is_told(tmp_path):
    state = {f"backbone.{key}": torch.zeros(2) for key in ("downsample_layers.0.0.weight", "norm.weight")}
    state["backbone.downsample_layers_e.0.0.weight"] = torch.zeros(16, 1, 3, 3)
    with pytest.raises(ValueError, match="DFormer's, a network of its own that timm does not have"):
        SharedBackbone("convnext_atto", ("rgb",), pretrained=saved({"model": state}, tmp_path))


def openmmlab_swin(plain):
    """A Swin as OpenMMLab names and orders it: stages end with what joins neighbours, by `nn.Unfold`."""
    found = {}
    for key, tensor in plain.state_dict().items():
        if ".downsample." in key:
            stage, rest = int(key.split(".")[1]), key.split(".downsample.")[1]
            found[f"stages.{stage - 1}.downsample.{rest}"] = torch.randn_like(tensor)
        elif key.startswith("layers."):
            key = key.replace("layers.", "stages.", 1).replace(".attn.", ".attn.w_msa.")
            found[key.replace(".mlp.fc1.", ".ffn.layers.0.0.").replace(".mlp.fc2.", ".ffn.layers.1.")] = tensor
        elif key.startswith("patch_embed."):
            found[key.replace(".proj.", ".projection.")] = tensor
    return found | {"norm3.weight": torch.zeros(768)}


@torch.no_grad()
def test_swin_of_openmmlab(tmp_path):
    plain = drawn(timm.create_model(SWIN))
    state = openmmlab_swin(plain)
    file = {
        "state_dict": {f"backbone.{key}": tensor for key, tensor in state.items()} | {"decode_head.x": torch.ones(1)}
    }
    network = timm.create_model(SWIN, features_only=True).eval()
    summary = load_pretrained(network, SWIN, saved(file, tmp_path))
    assert not summary.left and "(prefix 'backbone.' removed) (names of OpenMMLab's Swin)" in str(summary)
    assert set(summary.unused) == {"norm3.weight", "decode_head.x"}
    own, theirs = network.state_dict(), plain.state_dict()
    same = {key: torch.equal(own[key], theirs[key.replace("layers_", "layers.")]) for key in own}
    assert {key for key, equal in same.items() if not equal} == {key for key in own if ".downsample." in key}
    x = torch.randn(2, 6, 8, 96)  # a map of the first stage
    norm, linear = nn.LayerNorm(384), nn.Linear(384, 192, bias=False)
    for layer, part in ((norm, "norm"), (linear, "reduction")):
        layer.load_state_dict({k: state[f"stages.0.downsample.{part}.{k}"] for k in layer.state_dict()})
    joined = nn.functional.unfold(x.permute(0, 3, 1, 2), 2, stride=2).transpose(1, 2)
    expected = linear(norm(joined)).unflatten(1, (3, 4))
    torch.testing.assert_close(network.layers_1.downsample(x), expected, rtol=1e-4, atol=1e-4)


def in_chunks(name):
    """DINOv2's names where blocks are in four chunks, each of which counts as the whole does."""
    number = name.split(".")[1] if name.startswith("blocks.") else None
    return name if number is None else f"blocks.{int(number) // 3}.{name.removeprefix('blocks.')}"


@pytest.mark.parametrize("kind", ["of two", "flat", "chunks"])
def test_teachers_of_dino(kind, tmp_path):
    """The teacher is what is used: an average of the student."""
    plain = drawn(timm.create_model(VIT))
    teacher = plain.state_dict() | {"mask_token": torch.zeros(1, 64)}
    student = {key: x + 1 for key, x in teacher.items()}
    if kind == "of two":
        file = {name: {f"{name[0]}.backbone.{k}": x for k, x in state.items()} for name, state in
                (("student", student), ("teacher", teacher))}  # fmt: skip
    else:
        named = in_chunks if kind == "chunks" else str
        file = {f"{name}.backbone.{named(k)}": x for name, state in (("student", student), ("teacher", teacher))
                for k, x in state.items()}  # fmt: skip
    network = timm.create_model(VIT, features_only=True)
    summary = load_pretrained(network, VIT, saved(file, tmp_path))
    assert not summary.left and f"'{'t' if kind == 'of two' else 'teacher'}.backbone.' removed" in str(summary)
    assert ("chunks of blocks" in summary.headline()) == (kind == "chunks")
    assert all(key.startswith("model.") for key in summary.loaded)
    for key, tensor in network.model.state_dict().items():
        assert torch.equal(tensor, teacher[key]), key


def test_dinov3(tmp_path, capsys):
    plain, theirs = drawn(timm.create_model(DINO3)), {}
    for key, tensor in plain.state_dict().items():
        original = key.replace("reg_token", "storage_tokens").replace("gamma_", "ls")
        theirs["backbone." + (f"{original}.gamma" if ".ls" in original else original)] = tensor
    theirs["backbone.rope_embed.periods"] = torch.ones(16)
    theirs |= {f"backbone.blocks.{i}.attn.qkv.bias{end}": torch.zeros(1152) for i in range(12) for end in ("", "_mask")}
    network = timm.create_model(DINO3, features_only=True)
    summary = load_pretrained(network, DINO3, saved({"teacher": theirs}, tmp_path))
    assert not summary.left
    for key, tensor in network.model.state_dict().items():
        assert torch.equal(tensor, plain.state_dict()[key]), key
    assert capsys.readouterr().out == ""
