"""Pretrained weights: equality with what the file holds, blocks without weights, and sentences about the rest."""

import logging

import pytest
import torch
from torch import nn

from rgbx._torchvision import ensure_torchvision
from rgbx.backbones import SharedBackbone
from rgbx.backbones._timm import timm
from rgbx.fusion import AsymmetricFusion
from rgbx.ops import pixel_shift

ensure_torchvision()
import torchvision  # noqa: E402

MODALITIES = ("rgb", "depth")


def randomised(network):
    """Every tensor drawn anew, so that what is not loaded differs from what is."""
    torch.manual_seed(5)
    with torch.no_grad():
        for tensor in network.state_dict().values():
            if tensor.is_floating_point():
                tensor.uniform_(0.1, 0.9)
    return network.eval()


def saved(state, tmp_path):
    torch.save(state, tmp_path / "w.pth")
    return str(tmp_path / "w.pth")


def without(state, *beginnings):
    return {key: tensor for key, tensor in state.items() if not key.startswith(beginnings)}


def test_partial_imagenet_weights_leave_the_missing_block_as_identity(shared_dir):
    path = str(shared_dir / "data" / "resnet18_imagenet_partial.pth")
    backbone = SharedBackbone("resnet18", MODALITIES, pretrained=path)
    summary = backbone.pretrained_summary
    assert summary.missing and all(key.startswith("layer4.1.") for key in summary.missing)
    assert set(summary.unused) == {"fc.weight", "fc.bias"}
    assert (summary.identity, summary.random, summary.partial) == (("layer4.1",), (), ())
    stored = torch.load(path, weights_only=True)
    for name in MODALITIES:
        assert torch.equal(backbone.network.layer3[0].bn1.norms[name].weight, stored["layer3.0.bn1.weight"])
    x = torch.rand(2, 512, 3, 3)
    assert torch.equal(backbone.network.layer4[1].eval()(x), x)


BLOCKS = {
    "resnet18": ("layer4.1", "bn2"),
    "resnet50": ("layer4.2", "bn3"),
    "resnext50_32x4d": ("layer4.2", "bn3"),
    "regnety_004": ("s4.b2", "conv3.bn"),
    "efficientnet_b0": ("blocks.5.1", "bn3"),
    "convnext_atto": ("stages.3.blocks.1", "gamma"),
}


@pytest.mark.parametrize("name", BLOCKS)
def test_a_missing_block_is_the_identity_for_every_modality(name, tmp_path):
    block, scale = BLOCKS[name]
    plain = timm.create_model(name)
    path = saved(without(plain.state_dict(), f"{block}."), tmp_path)
    backbone = SharedBackbone(name, MODALITIES, pretrained=path).eval()
    here = block.replace("stages.", "stages_")
    assert backbone.pretrained_summary.identity == (here,)
    assert not backbone.pretrained_summary.exchanging
    assert f"{here}: " in str(backbone.pretrained_summary) and "identity" in str(backbone.pretrained_summary)
    module = backbone.network.get_submodule(here)
    last = module.get_parameter(scale) if scale == "gamma" else module.get_submodule(scale)
    scales = [last] if scale == "gamma" else [last.norms[m].weight for m in MODALITIES]
    assert all(not s.any() for s in scales)
    x = torch.rand(2, next(m for m in module.modules() if isinstance(m, nn.Conv2d)).in_channels, 4, 4)
    assert torch.equal(module(x), x)
    for m in MODALITIES:
        with backbone.layout.holding([m]):
            assert torch.equal(module(x), x)


def test_a_missing_fused_bottleneck_is_the_identity(tmp_path):
    path = saved(without(timm.create_model("resnet50").state_dict(), "layer4.2."), tmp_path)
    backbone = SharedBackbone("resnet50", MODALITIES, pretrained=path, fusion=AsymmetricFusion()).eval()
    assert backbone.pretrained_summary.identity == ("layer4.2",)
    assert not backbone.pretrained_summary.exchanging
    x = torch.rand(4, 2048, 3, 3)
    assert torch.equal(backbone.network.layer4[2](x), x)


def test_a_missing_fused_basic_block_only_exchanges(tmp_path):
    """Its branch is zero, so what is left is the shift of the first activation, S(P(a)_{m-1}), and that is said."""
    path = saved(without(timm.create_model("resnet18").state_dict(), "layer4.1."), tmp_path)
    backbone = SharedBackbone("resnet18", MODALITIES, pretrained=path, fusion=AsymmetricFusion()).eval()
    assert backbone.pretrained_summary.exchanging == ("layer4.1",)
    assert "the fusion inside it adds what it exchanges" in str(backbone.pretrained_summary)
    block, x = backbone.network.layer4[1], torch.rand(2, 512, 3, 3)
    a = torch.relu(block.bn1(block.conv1(x)))
    shifted, kept = pixel_shift(a), 4 * (512 // 5)
    received = torch.stack([shifted[1], shifted[0]])  # each receives the other's shift
    shuffled = received.clone()
    shuffled[:, kept:] = received.flip(0)[:, kept:]
    torch.testing.assert_close(block(x), x + shuffled)
    with backbone.layout.holding(["depth"]):
        assert torch.equal(block(x), x)


def test_a_block_that_changes_the_shape_stays_random(tmp_path):
    path = saved(without(timm.create_model("resnet18").state_dict(), "layer4."), tmp_path)
    summary = SharedBackbone("resnet18", MODALITIES, pretrained=path).pretrained_summary
    assert (summary.random, summary.identity) == (("layer4.0",), ("layer4.1",))
    assert "layer4.0: 15 tensors not loaded; it starts at random values" in str(summary)


def test_a_block_in_part_is_a_warning(tmp_path, caplog):
    path = saved(without(timm.create_model("regnety_004").state_dict(), "s4.b2.conv2."), tmp_path)
    with caplog.at_level(logging.WARNING, "rgbx"):
        summary = SharedBackbone("regnety_004", MODALITIES, pretrained=path).pretrained_summary
    assert (summary.partial, summary.identity) == (("s4.b2",), ())
    assert "s4.b2: 5 tensors not loaded; WARNING: only a part of it has weights" in caplog.text
    assert "s4.b2.conv2.conv.weight" in caplog.text


def test_shapes_that_differ_are_told_with_both(tmp_path, caplog):
    state = timm.create_model("resnet18").state_dict()
    state["conv1.weight"] = torch.zeros(64, 1, 7, 7)
    with caplog.at_level(logging.WARNING, "rgbx"):
        summary = SharedBackbone("resnet18", MODALITIES, pretrained=saved(state, tmp_path)).pretrained_summary
    assert summary.mismatched == (("conv1.weight", (64, 1, 7, 7), (64, 3, 7, 7)),)
    assert "conv1.weight: [64, 1, 7, 7] in the file, [64, 3, 7, 7] here" in caplog.text
    assert not summary.missing and not [key for key in summary.unused if key.startswith("conv1")]
    assert "conv1 0/1" in str(summary)


@pytest.mark.parametrize("prefix", ["", "module.", "backbone.", "module.encoder.", "_orig_mod.visual.trunk."])
def test_prefixes_are_removed_and_told(prefix, tmp_path):
    plain = timm.create_model("resnet18")
    state = {f"{prefix}{key}": tensor for key, tensor in plain.state_dict().items()}
    state |= {"decode_head.conv.weight": torch.zeros(2)}
    backbone = SharedBackbone("resnet18", ("rgb",), pretrained=saved({"state_dict": state}, tmp_path))
    assert torch.equal(backbone.network.conv1.weight, plain.conv1.weight)
    summary = backbone.pretrained_summary
    assert (summary.prefix, summary.missing) == (prefix, ())
    assert (f"prefix {prefix!r} removed" in str(summary)) == bool(prefix)
    assert "decode_head.conv.weight" in summary.unused


def features_equal(name, path, reference, layers):
    """The features of the deepest stage equal those of the network that the weights come from."""
    backbone = SharedBackbone(name, ("rgb",), pretrained=path).eval()
    x = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        expected = x
        for layer in layers:
            expected = reference.get_submodule(layer)(expected)
        torch.testing.assert_close(backbone({"rgb": x})[-1], expected.relu(), rtol=1e-4, atol=1e-5)


RESNET = ["conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4"]


@pytest.mark.parametrize(
    ("name", "layers"),
    [("resnet50", RESNET), ("resnext50_32x4d", RESNET), ("densenet121", ["features"])],
)
def test_torchvision_files(name, layers, tmp_path):
    torch.manual_seed(0)
    reference = getattr(torchvision.models, name)().eval()
    features_equal(name, saved(reference.state_dict(), tmp_path), reference, layers)


def test_original_convnext_names_are_converted(tmp_path):
    """The names of Facebook's release, as timm's converter expects them."""
    plain = timm.create_model("convnext_atto", conv_mlp=False)
    changes = [("stem.", "downsample_layers.0."), (".blocks", ""), ("conv_dw", "dwconv"), ("mlp.fc", "pwconv")]
    state = {}
    for key, tensor in plain.state_dict().items():
        theirs = key
        for ours, original in changes:
            theirs = theirs.replace(ours, original)
        for stage in (1, 2, 3):
            theirs = theirs.replace(f"stages.{stage}.downsample", f"downsample_layers.{stage}")
        state[theirs.replace("head.norm", "norm").replace("head.fc", "head")] = tensor
    backbone = SharedBackbone("convnext_atto", ("rgb",), pretrained=saved({"model": state}, tmp_path))
    assert not backbone.pretrained_summary.left
    ours = backbone.network.stages_2.blocks[1].mlp.fc1.weight
    assert torch.equal(ours.flatten(), plain.stages[2].blocks[1].mlp.fc1.weight.flatten())


def test_files_that_are_no_weights_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"absent\.pth: no such file"):
        SharedBackbone("resnet18", ("rgb",), pretrained=str(tmp_path / "absent.pth"))
    path = saved({"a": torch.zeros(2)}, tmp_path)
    with pytest.raises(ValueError, match=r"0 of 100 tensors loaded.*does not look like weights of resnet18"):
        SharedBackbone("resnet18", ("rgb",), pretrained=path)
    trained = saved(SharedBackbone("resnet18", MODALITIES).state_dict(), tmp_path)
    with pytest.raises(ValueError, match="checkpoint of rgbx: pass it by --load-from"):
        SharedBackbone("resnet18", MODALITIES, pretrained=trained)


def test_counts_per_part(tmp_path):
    path = saved(without(randomised(timm.create_model("efficientnet_b0")).state_dict(), "blocks.5.1."), tmp_path)
    text = str(SharedBackbone("efficientnet_b0", ("rgb",), pretrained=path).pretrained_summary)
    assert "conv_stem 1/1, bn1 4/4, blocks.0 " in text
    block = timm.create_model("efficientnet_b0").blocks[5]
    tensors, missing = (sum("num_batches" not in key for key in module.state_dict()) for module in (block, block[1]))
    assert f"blocks.5 {tensors - missing}/{tensors}" in text
