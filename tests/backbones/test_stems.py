"""First convolutions of a modality's own: what they compute at the start, and that they are trained apart."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from rgbx.backbones import SharedBackbone
from rgbx.backbones.stems import ModalityStem, stem_weight
from rgbx.fusion import AsymmetricFusion
from rgbx.layers import StackLayout, owner

MODALITIES = ("rgb", "depth", "thermal")
FAMILIES = {  # name -> the first convolutions' paths in the feature network
    "resnet18": ["conv1"],
    "resnet50d": ["conv1.0"],
    "convnext_atto": ["stem_0"],
    "regnety_004": ["stem.conv"],
    "tf_efficientnet_b0": ["conv_stem"],
    "pvt_v2_b0": ["patch_embed.proj"],
    "repvgg_a0": ["stem.conv_kxk.conv", "stem.conv_1x1.conv"],
}


def pair(name, stems, modalities=MODALITIES, **options):
    """A backbone and the same with stems, with equal weights elsewhere."""
    plain = SharedBackbone(name, modalities, **options).eval()
    own = SharedBackbone(name, modalities, stems=stems, **options).eval()
    state = plain.state_dict()
    for path in FAMILIES[name]:
        for modality, mode in stems.items():
            for key in ("weight", "bias"):
                tensor = state.get(f"network.{path}.{key}")
                if tensor is not None:
                    made = stem_weight(tensor, mode) if key == "weight" else tensor
                    state[f"network.{path}.stems.{modality}.{key}"] = made
    own.load_state_dict(state)
    return plain, own


def inputs(size=64, batch=2):
    return {"rgb": torch.rand(batch, 3, size, size)} | {m: torch.rand(batch, 1, size, size) for m in MODALITIES[1:]}


@pytest.mark.parametrize("name", FAMILIES)
def test_sum_and_copy_compute_what_the_shared_stem_does(name):
    torch.manual_seed(0)
    plain, own = pair(name, {"depth": "sum", "thermal": "copy"})
    batch = inputs()
    with torch.no_grad():
        for a, b in zip(plain(batch), own(batch), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_initial_weights_by_hand():
    torch.manual_seed(0)
    plain = SharedBackbone("resnet18", ("rgb", "depth"))
    shared = plain.network.conv1.weight
    for mode, expected in (
        ("sum", shared[:, :1] + shared[:, 1:2] + shared[:, 2:]),
        ("mean", (shared[:, :1] + shared[:, 1:2] + shared[:, 2:]) / 3),
        ("copy", shared),
    ):
        torch.manual_seed(0)
        own = SharedBackbone("resnet18", ("rgb", "depth"), stems={"depth": mode})
        torch.testing.assert_close(own.network.conv1.stems["depth"].weight, expected)
        assert torch.equal(own.network.conv1.weight, shared)


def test_pretrained_weights_reach_the_stem(shared_dir):
    path = shared_dir / "data" / "resnet18_imagenet_partial.pth"
    own = SharedBackbone("resnet18", ("rgb", "depth"), pretrained=str(path), stems={"depth": "sum"})
    weight = torch.load(path, weights_only=True)["conv1.weight"]
    torch.testing.assert_close(own.network.conv1.stems["depth"].weight, weight.sum(1, keepdim=True))


@pytest.mark.parametrize(("mode", "factor"), [("sum", 1.0), ("mean", 1 / 3), ("copy", 1.0)])
def test_the_stem_itself(mode, factor):
    torch.manual_seed(0)
    own = SharedBackbone("resnet18", ("rgb", "depth"), stems={"depth": mode})
    stem, rgb, depth = own.network.conv1, torch.rand(2, 3, 32, 32), torch.rand(2, 1, 32, 32).expand(-1, 3, -1, -1)
    out_rgb, out_depth = stem(torch.cat([rgb, depth])).chunk(2)
    shared = [F.conv2d(x, stem.weight, stride=2, padding=3) for x in (rgb, depth)]
    torch.testing.assert_close(out_rgb, shared[0])
    torch.testing.assert_close(out_depth, factor * shared[1], rtol=1e-5, atol=1e-6)


def test_each_stem_is_trained_by_its_modality():
    own = SharedBackbone("resnet18", MODALITIES, stems={"depth": "copy", "thermal": "sum"}).train()
    stem = own.network.conv1
    for present, trained in (
        (("rgb",), {"weight"}),
        (("depth",), {"stems.depth.weight"}),
        (MODALITIES, {"weight", "stems.depth.weight", "stems.thermal.weight"}),
    ):
        own.zero_grad()
        sum(x.square().mean() for x in own({m: inputs()[m] for m in present})).backward()
        assert {name for name, p in stem.named_parameters() if p.grad is not None} == trained
    unused = [name for name, p in own.named_parameters() if p.grad is None]
    assert not unused  # or distributed training would wait for them


@pytest.mark.parametrize("present", [("rgb",), ("thermal",), ("rgb", "thermal"), ("depth", "thermal")])
def test_any_subset(present):
    torch.manual_seed(0)
    plain, own = pair("resnet18", {"depth": "sum"}, fusion=AsymmetricFusion())
    batch = {m: inputs()[m] for m in present}
    with torch.no_grad():
        for a, b in zip(plain(batch), own(batch), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_private_parameters_and_copies():
    plain, own = pair("resnet18", {"depth": "sum"})
    private, before = (sum(p.numel() for n, p in x.named_parameters() if owner(n) is not None) for x in (own, plain))
    assert private - before == 64 * 49
    clone = copy.deepcopy(own)
    assert own.layout is not clone.network.conv1.layout is clone.layout


@pytest.fixture
def stem():
    """A stem of its own for the second of two modalities, and a stack of both."""
    torch.manual_seed(0)
    modalities = StackLayout(("rgb", "depth"))
    return ModalityStem(nn.Conv2d(3, 4, 3, stride=2), modalities, {"depth": "sum"}), torch.rand(4, 3, 9, 9)


def test_compiled(stem):
    module, stack = stem
    compiled = torch.compile(module, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(stack), module(stack))
    with module.layout.holding(["depth"]):
        torch.testing.assert_close(compiled(stack), module(stack))


def test_exported_with_a_dynamic_batch(stem):
    module, stack = stem
    samples = torch.export.Dim("n", min=1, max=8)
    exported = torch.export.export(module, (stack,), dynamic_shapes=({0: 2 * samples},)).module()
    larger = torch.cat([stack, stack])
    torch.testing.assert_close(exported(larger), module(larger))


@pytest.mark.parametrize(
    ("name", "stems", "message"),
    [
        ("resnet18", {"lidar": "sum"}, r"stems holds 'lidar'.*modalities of \['rgb', 'depth'\]"),
        ("resnet18", {"depth": "average"}, r"'average'.*modes of \('sum', 'mean', 'copy'\)"),
        ("resnet18", {"rgb": "copy", "depth": "sum"}, "stems names every modality"),
        ("resnetv2_50x1_bit", {"depth": "sum"}, r"'stem\.conv' is StdConv2d.*expected an ordinary convolution"),
    ],
)
def test_refusals(name, stems, message):
    with pytest.raises(ValueError, match=message):
        SharedBackbone(name, ("rgb", "depth"), stems=stems)


def test_three_channels_need_a_copy():
    own = SharedBackbone("resnet18", ("rgb", "depth"), stems={"depth": "sum"})
    with pytest.raises(ValueError, match=r"depth has 3 channels, but its stem 'sum' reads 1; use 'copy'"):
        own({"depth": torch.rand(1, 3, 64, 64)})
