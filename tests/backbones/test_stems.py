"""First convolutions of a modality's own: what they compute at the start, and that they are trained apart."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from rgbx.backbones import SharedBackbone
from rgbx.backbones._timm import timm
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
        ("resnet18", {"depth": "average"}, r"'average'.*modes of \('sum', 'mean', 'copy', 'random'\)"),
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


# what a stem of n channels is ------------------------------------------------


def naive_stem(weight, mode, channels):
    """One filter after the other, by the table of `rgbx.backbones.stems`."""
    count = weight.shape[1]
    found = torch.zeros(len(weight), channels, *weight.shape[2:])
    for out in range(len(weight)):
        for j in range(channels):
            total = sum(weight[out, c] for c in range(count))
            found[out, j] = {
                "sum": total / channels,
                "mean": total / (channels * count),
                "copy": weight[out, j % count] * count / channels,
            }[mode]
    return found


@pytest.mark.parametrize("channels", [1, 2, 3, 5, 13, 64])
@pytest.mark.parametrize("mode", ["sum", "mean", "copy"])
def test_weights_of_several_channels(mode, channels):
    weight = torch.randn(4, 3, 3, 3, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(stem_weight(weight, mode, channels), naive_stem(weight, mode, channels))
    if mode == "copy" and channels > 1:  # timm's rule, which sums for one
        torch.testing.assert_close(stem_weight(weight, mode, channels), timm.models.adapt_input_conv(channels, weight))
    grey = torch.rand(1, 1, 8, 8)
    whole = F.conv2d(grey.expand(-1, 3, -1, -1), weight)
    own = F.conv2d(grey.expand(-1, channels, -1, -1), stem_weight(weight, mode, channels))
    if mode != "copy" or channels % 3 == 0:
        torch.testing.assert_close(own, whole / 3 if mode == "mean" else whole, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("channels", [1, 5, 64])
def test_random_weights_are_as_large_as_the_shared(channels):
    torch.manual_seed(0)
    weight = 0.03 * torch.randn(64, 3, 7, 7) + 0.01
    own = stem_weight(weight, "random", channels)
    assert own.shape == (64, channels, 7, 7) and not torch.equal(own, stem_weight(weight, "random", channels))
    assert own.square().sum() == pytest.approx(float(weight.square().sum()), rel=0.1)
    assert float(own.mean()) == pytest.approx(0, abs=4 * float(own.std()) / own.numel() ** 0.5)


SIX = {"rgb": 3, "depth": 1, "events": 5, "polarisation": 2, "bands": 13, "cube": 64}
SIX_STEMS = {"events": "mean", "polarisation": "sum", "bands": "copy", "cube": "random", "depth": "sum"}


def six(names=SIX, batch=2):
    return {name: torch.randn(batch, SIX[name], 64, 64) for name in names}


@pytest.fixture(scope="module")
def backbone_of_six():
    torch.manual_seed(0)
    channels = {name: count for name, count in SIX.items() if count > 1}
    return SharedBackbone("resnet18", tuple(SIX), stems=SIX_STEMS, input_channels=channels, fusion=AsymmetricFusion())


@pytest.mark.parametrize(
    "present", [tuple(SIX), ("rgb",), ("depth",), ("bands",), ("events", "depth"), ("rgb", "cube")]
)
def test_six_modalities(backbone_of_six, present):
    """Each is read by its stem alone, and all of its channels count."""
    batch = six(present)
    stem = backbone_of_six.network.conv1
    seen = []
    hook = stem.register_forward_hook(lambda *given: seen.append(given[-1]))
    features = backbone_of_six.eval()(batch)
    hook.remove()
    assert len(features[0]) == 2 * len(present)
    for name, found in zip(backbone_of_six.layout.order(present), seen[0].split(2), strict=True):
        own = stem.stems[name].weight if name in SIX_STEMS else stem.weight
        x = batch[name]
        torch.testing.assert_close(found, F.conv2d(x, own, stride=2, padding=3), rtol=1e-4, atol=1e-4)


def test_six_modalities_are_trained_apart(backbone_of_six):
    backbone_of_six.train().zero_grad()
    sum(x.square().mean() for x in backbone_of_six(six())).backward()
    assert not [name for name, p in backbone_of_six.named_parameters() if p.grad is None]
    grads = {name: backbone_of_six.network.conv1.stems[name].weight.grad for name in SIX_STEMS}
    assert all((grad.abs().sum((0, 2, 3)) > 0).all() for grad in grads.values())


def test_no_shared_stem_where_none_can_read():
    own = SharedBackbone(
        "resnet18",
        ("bands", "events"),
        stems={"bands": "copy", "events": "sum"},
        input_channels={"bands": 13, "events": 5},
    )
    own.train()(six(("bands", "events")))[-1].sum().backward()
    assert own.network.conv1.weight is None and not [n for n, p in own.named_parameters() if p.grad is None]
    alone = SharedBackbone("convnext_atto", ("bands",), stems={"bands": "mean"}, input_channels={"bands": 13})
    assert alone(six(("bands",)))[0].shape == (2, 40, 16, 16)


def test_a_stem_of_many_channels_is_compiled_and_exported():
    torch.manual_seed(0)
    layout = StackLayout(("rgb", "bands"))
    module = ModalityStem(nn.Conv2d(3, 4, 3, stride=2), layout, {"bands": "copy"}, {"bands": 13})
    stack = torch.rand(4, 13, 9, 9)
    compiled = torch.compile(module, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(stack), module(stack))
    samples = torch.export.Dim("n", min=1, max=8)
    exported = torch.export.export(module, (stack,), dynamic_shapes=({0: 2 * samples},)).module()
    torch.testing.assert_close(exported(torch.cat([stack, stack])), module(torch.cat([stack, stack])))


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"bands": 12}, r"bands has 12 channels, but its stem 'copy' reads 13; its statistics say how many"),
        ({"rgb": 5}, r"rgb has 5 channels, but the shared stem reads 3; its statistics"),
        ({"depth": 13}, r"depth has 13 channels, but its stem 'sum' reads 1; its statistics"),
    ],
)
def test_maps_of_other_channels(backbone_of_six, inputs, message):
    with pytest.raises(ValueError, match=message):
        backbone_of_six({name: torch.rand(1, count, 64, 64) for name, count in inputs.items()})


def test_bands_without_a_stem():
    with pytest.raises(ValueError, match=r"bands has 13 channels, by its statistics, .*stems={\"bands\": MODE}"):
        SharedBackbone("resnet18", ("rgb", "bands"), input_channels={"rgb": 3, "bands": 13})
