"""Asynchronous fusion: windows, the frames that belong to the label, what missing modalities and stamps change."""

import copy
import math
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from rgbx.backbones import SharedBackbone
from rgbx.fusion import build_fusion
from rgbx.fusion.mea import AsynchronousFusion, StageStreams, TargetFrames, Windows, blend
from rgbx.layers import StackLayout, owner
from rgbx.models import multimodal_segmentor

NAMES = ("rgb", "depth", "thermal")
LENGTHS = {"rgb": 1, "depth": 4, "thermal": 3}
TIMES = {
    "rgb": torch.tensor([[0.0], [0.0]]),
    "depth": torch.tensor([[-0.1, 0.02, 0.1, 0.2], [-0.3, -0.2, -0.1, 0.2]]),
    "thermal": torch.tensor([[-0.2, -0.1, 0.3], [0.4, 0.5, 0.6]]),
}
NEAREST = {"rgb": [0, 0], "depth": [1, 2], "thermal": [1, 0]}


def options(**fields):
    return build_fusion({"name": "mea", "target": "nearest", "width": 8, "heads": 2, "code": 4, **fields})


def count_elements(kept, tensor):
    kept.append(tensor.numel())
    return tensor


def clips(channels=(6, 10), sizes=((9, 5), (5, 3)), names=NAMES, batch=2):
    """Features of two stages."""
    generator = torch.Generator().manual_seed(0)
    return [
        {name: torch.randn(batch, LENGTHS[name], c, *size, generator=generator) for name in names}
        for c, size in zip(channels, sizes, strict=True)
    ]


def fusion(layout, **fields):
    torch.manual_seed(0)
    return options(**fields).fuse_frames((6, 10), layout)


@pytest.mark.parametrize(("height", "width", "most"), [(9, 5, 4), (8, 8, 8), (1, 1, 8), (17, 3, 8), (30, 40, 8)])
def test_windows_hold_every_location_once(height, width, most):
    windows = Windows.of(height, width, most)
    assert max(windows.sides) <= most and windows.grid == (math.ceil(height / most), math.ceil(width / most))
    x = torch.arange(2.0 * 3 * height * width).view(2, 3, height, width, 1)
    cut = windows.cut(x)
    for i, j in np.ndindex(*windows.grid):
        for r, c in np.ndindex(*windows.sides):
            row, column = min(i * windows.sides[0] + r, height - 1), min(j * windows.sides[1] + c, width - 1)
            found = cut[:, i * windows.grid[1] + j, :, r * windows.sides[1] + c]
            assert torch.equal(found, x[:, :, row, column])
    torch.testing.assert_close(windows.map(cut[:, :, 0].flatten(0, 1), height, width), x[:, 0], rtol=0, atol=0)


def test_nearest_frames_are_taken_elsewhere_and_little_is_added_where_they_attend():
    layout = StackLayout(NAMES)
    module, features = fusion(layout, stages=[2]).eval(), clips()
    with layout.holding(NAMES, times=TIMES), torch.no_grad():
        shallow, deep = module(features)
    for i, name in enumerate(NAMES):
        for n in range(2):
            at = NEAREST[name][n]
            assert torch.equal(shallow[2 * i + n], features[0][name][n, at])
            change = (deep[2 * i + n] - features[1][name][n, at]).std()
            assert 0 < change < 0.15


def test_streams_of_one_stage_by_hand():
    """One window that is the whole map: tokens, their self-attention, the hierarchy, and back."""
    layout, names = StackLayout(NAMES[:2]), NAMES[:2]
    torch.manual_seed(1)
    module = StageStreams(6, layout, options(layers=1)).eval()
    for weigh in module.weigh:
        for parameter in weigh.parameters():
            nn.init.normal_(parameter, std=0.1)
    frames = {name: x[:1, :, :, :4, :2] for name, x in clips()[0].items() if name in names}
    weights = {"rgb": torch.ones(1, 1), "depth": torch.tensor([[0.0, 0.25, 0.75, 0.0]])}
    times = {name: x[:1] for name, x in TIMES.items()}
    with layout.holding(names, times=times), torch.no_grad():
        found = module(frames, weights)
        tokens = {}
        for name in names:
            rows = []
            for t in range(LENGTHS[name]):
                for row, column in np.ndindex(4, 2):
                    angles = [2 * math.pi * x * 2**k / 16 for x in (row, column) for k in range(3)]
                    parts = [[f(a) for a in angles[k : k + 3]] for k in (0, 3) for f in (math.sin, math.cos)]
                    clock = [2 * math.pi * float(times[name][0, t]) * 2**k / 4 for k in range(6)]
                    parts += [[f(a) for a in clock] for f in (math.sin, math.cos)]
                    code = module.place(torch.tensor([x for part in parts for x in part]))
                    rows.append(module.copies[name].read(frames[name][0, t, :, row, column]) + code)
            tokens[name] = module.copies[name].chain(torch.stack(rows)[None])
        tokens = module.weigh[0](tokens)
        targets = {"rgb": tokens["rgb"], "depth": 0.25 * tokens["depth"][:, 8:16] + 0.75 * tokens["depth"][:, 16:24]}
        targets = module.weigh[1]({n: module.copies[n].hierarchy(tokens, n, x) for n, x in targets.items()})
    for name in names:
        expected = module.copies[name].write(targets[name]).view(1, 4, 2, 6).permute(0, 3, 1, 2)
        torch.testing.assert_close(found.change[name], expected, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(found.own[name], tokens[name].mean(1))
        torch.testing.assert_close(found.joint[name], targets[name].mean(1))


def test_learned_frames_are_those_that_agree():
    """Depth shows at frame 2 what RGB does, at all stages."""
    layout = StackLayout(NAMES)
    features = clips(sizes=((12, 16), (6, 8)))
    for stage in features:
        stage["depth"][:, 2] = 3 * stage["rgb"][:, 0] + 1
    torch.manual_seed(0)
    module = TargetFrames((6, 10), layout, learned=True)
    for stage in module.common:
        stage.copies["depth"].load_state_dict(stage.copies["rgb"].state_dict())
    with layout.holding(NAMES, times=TIMES):
        weights = module(features)
    assert torch.equal(weights["rgb"], torch.ones(2, 1))
    assert (weights["depth"][:, 2] > 0.95).all()
    assert (weights["thermal"].sum(1) - 1).abs().max() < 1e-6
    moved = {name: x + 5.0 if name == "depth" else x for name, x in TIMES.items()}
    with layout.holding(NAMES, times=moved):
        assert torch.equal(module(features)["depth"], weights["depth"])  # whatever its clock says
    weights["depth"][:, 2].sum().backward()
    assert module.sharpness.grad.abs().sum() > 0


def test_learned_frames_without_a_reference_are_the_nearest():
    layout = StackLayout(NAMES)
    module, features = TargetFrames((6, 10), layout, learned=True), clips()
    with layout.holding(["depth"], times=TIMES):
        assert module(features)["depth"].argmax(1).tolist() == NEAREST["depth"]


def test_blend():
    x, weights = torch.randn(2, 3, 4, 5, 6), torch.tensor([[0.5, 0.5, 0], [0, 0, 1]])
    torch.testing.assert_close(blend(x, weights), torch.stack([(x[0, 0] + x[0, 1]) / 2, x[1, 2]]))
    assert torch.equal(blend(x[:, :1], weights[:, :1]), x[:, 0])


@pytest.mark.parametrize("present", [NAMES, ("rgb", "depth"), ("depth", "thermal"), ("depth",)], ids=str)
@pytest.mark.parametrize("target", ["nearest", "learned"])
def test_any_subset_of_clips_and_samples_do_not_mix(present, target):
    layout = StackLayout(NAMES)
    module, features = fusion(layout, target=target, window=4).eval(), clips(names=present)
    times = {name: TIMES[name] for name in present}
    with layout.holding(present, times=times), torch.no_grad():
        both = module(features)
    with layout.holding(present, times={k: x[1:] for k, x in times.items()}), torch.no_grad():
        alone = module([{k: x[1:] for k, x in stage.items()} for stage in features])
    for a, b, size in zip(both, alone, ((6, 9, 5), (10, 5, 3)), strict=True):
        assert a.shape == (2 * len(present), *size)
        torch.testing.assert_close(a[1::2], b, rtol=1e-4, atol=1e-5)


def test_what_a_modality_says_reaches_the_others_from_every_frame():
    layout = StackLayout(NAMES)
    module, features = fusion(layout), clips()
    given = features[-1]["depth"].requires_grad_()
    with layout.holding(NAMES, times=TIMES):
        out = module(features)[-1][:2]  # of RGB
    gradient = torch.autograd.grad(out.square().sum(), given)[0]
    assert (gradient.flatten(2).abs().sum(2) > 0).all()


def test_the_loss_on_codes_is_of_training_and_of_several_modalities():
    layout = StackLayout(NAMES)
    module, features = fusion(layout), clips()
    for present, training in ((NAMES, True), (NAMES, False), (("depth",), True)):
        module.train(training)
        with layout.holding(present, times=TIMES):
            module([{name: stage[name] for name in present} for stage in features])
            penalties = layout.penalties
        assert len(penalties) == training
        assert all((x.item() > 0) == (len(present) > 1) for x in penalties)
    doubled = copy.deepcopy(module)
    doubled.codes.alpha, doubled.codes.beta = 2 * module.codes.alpha, 2 * module.codes.beta
    found = []
    for each in (module.train(), doubled.train()):
        each.codes.layout = layout
        with layout.holding(NAMES, times=TIMES):
            each.codes(
                *({name: x[:, :, 0, 0, :8].mean(1) for name, x in clips((6, 10), ((9, 8), (5, 8)))[0].items()},) * 2
            )
            found += [x.item() for x in layout.penalties]
    assert found[1] == pytest.approx(2 * found[0])


def test_clips_need_times():
    layout = StackLayout(NAMES)
    with layout.holding(NAMES), pytest.raises(ValueError, match="depth is a clip of 4 frames without times"):
        fusion(layout)(clips())


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"target": "next"}, "target is 'next'; expected one of nearest"),
        ({"mu": "x"}, "mu is 'x'; expected a number"),
        ({"beta": float("inf")}, "beta is inf; expected a number"),
        ({"own_neighbour": "yes"}, "own_neighbour is 'yes'; expected True or False"),
        ({"attention": "plain"}, "attention is 'plain'"),
        ({"width": 10, "heads": 4}, "4 heads cannot share a width of 10"),
        ({"window": 0}, "window is 0"),
        ({"mu": 1.5}, "mu is 1.5"),
        ({"beta": -1.0}, "beta is -1.0"),
        ({"layers": 1.5}, "layers is 1.5"),
    ],
)
def test_fields_are_checked(fields, message):
    with pytest.raises(ValueError, match=message):
        options(**fields)


def test_the_two_deepest_stages_by_default_and_modalities_own_their_layers():
    backbone = SharedBackbone("test_resnet", NAMES[:2], fusion=build_fusion("mea"))
    assert isinstance(backbone.frames, AsynchronousFusion)
    assert list(backbone.frames.streams) == [str(len(backbone.channels) - 1), str(len(backbone.channels))]
    owners = {owner(name) for name, _ in backbone.frames.named_parameters()}
    assert owners == {"rgb", "depth", None}


def test_cost_grows_with_the_map_and_not_with_its_square():
    layout = StackLayout(NAMES[:2])
    module, sizes = StageStreams(6, layout, options(layers=2)), []
    for side in (16, 32):
        frames = {name: torch.randn(1, 2, 6, side, side) for name in NAMES[:2]}
        kept = []
        keep = partial(count_elements, kept)
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
            module(frames, {name: torch.tensor([[1.0, 0.0]]) for name in frames})
        sizes.append(sum(kept))
    assert sizes[1] < 4.2 * sizes[0]


def test_a_single_sample_trains_and_leaves_statistics_as_they_are():
    layout = StackLayout(NAMES)
    module, features = fusion(layout), clips(batch=1)
    before = copy.deepcopy([dict(norm.named_buffers()) for norm in module.codes.standard])
    with layout.holding(NAMES, times={name: x[:1] for name, x in TIMES.items()}):
        sum(x.square().mean() for x in module(features)).backward()
    for norm, buffers in zip(module.codes.standard, before, strict=True):
        assert all(torch.equal(x, buffers[name]) for name, x in norm.named_buffers())


def test_statistics_are_counted_once_a_step():
    layout = StackLayout(NAMES)
    module = fusion(layout)
    with layout.holding(NAMES, times=TIMES):
        module(clips())
    counts = [x for name, x in module.codes.named_buffers() if name.endswith("num_batches_tracked")]
    assert len(counts) == 3 * len(NAMES) and all(count == 1 for count in counts)


@pytest.mark.parametrize("target", ["nearest", "learned"])
def test_bfloat16_on_clips(target):
    layout = StackLayout(NAMES)
    module, features = fusion(layout, target=target).eval(), clips()
    with layout.holding(NAMES, times=TIMES), torch.no_grad():
        expected = module(features)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = module(features)
            module.train()(features)
            assert all(x.dtype == torch.float32 and x.isfinite() for x in layout.penalties)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a.float(), b, rtol=0.05, atol=0.1)


def test_a_model_predicts_clips_and_what_is_left_of_them():
    torch.manual_seed(0)
    model = multimodal_segmentor(
        modalities=NAMES[:2],
        num_classes=3,
        backbone="test_resnet",
        fusion={"name": "mea", "target": "learned", "width": 16},
        decoder={"width": 8, "dropout": 0.0},
    ).eval()
    inputs = {name: torch.randn(2, LENGTHS[name], 1, 40, 48) for name in NAMES[:2]}
    times = {name: TIMES[name] for name in inputs}
    with torch.no_grad():
        both = model(inputs, times=times)
        assert {name: tuple(x.shape) for name, x in both.items()} == dict.fromkeys(
            ("rgb", "depth", "ensemble"), (2, 3, 40, 48)
        )
        alone = model({"depth": inputs["depth"]}, times={"depth": times["depth"]})
        assert list(alone) == ["depth", "ensemble"] and not torch.equal(alone["depth"], both["depth"])
        still = model({name: x[:, 0] for name, x in inputs.items()})
        assert still["ensemble"].isfinite().all()
