"""Gates on stacks of maps: which modality sees which, what the losses and beliefs of a call are, options."""

import math

import pytest
import torch
import torch.nn.functional as F

from rgbx.layers import Gated, Purification, StackLayout, StageGates, build_purification
from rgbx.layers.hard_concrete import OPENS_AT
from rgbx.layers.purification import SpatialGate, StageInput

NAMES = ("rgb", "depth", "thermal")
SUBSETS = [NAMES, ("rgb", "thermal"), ("depth",)]


def gate(names=NAMES, **options):
    """Of six channels, drawn anew so that masks differ."""
    torch.manual_seed(0)
    made = SpatialGate(StageInput(6, 4), 1, StackLayout(names), Purification(hidden=5, **options)).eval()
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            parameter.normal_(std=0.6)
            if name.endswith("3.bias"):
                parameter.fill_(OPENS_AT + 0.1)
    return made


def stack(names, seed=0):
    x = torch.randn(len(NAMES), 2, 6, 5, 7, generator=torch.Generator().manual_seed(seed))
    return x[[NAMES.index(name) for name in names]].flatten(0, 1)


def run(module, names, x=None):
    with module.layout.holding(names):
        y = module(stack(names) if x is None else x)
        return y, module.layout.gates


@pytest.mark.parametrize("context", ["cross", "own"])
@pytest.mark.parametrize("names", SUBSETS)
def test_logits_are_those_of_the_formula(context, names):
    module, x = gate(context=context), stack(names)
    parts = dict(zip(names, x.chunk(len(names)), strict=True))
    expected = []
    for name in names:
        hidden = F.conv2d(parts[name], module.own.copies[name].weight, module.own.copies[name].bias)
        others = [F.conv2d(parts[k], module.others.copies[k].weight) for k in names if k != name and context == "cross"]
        hidden = F.relu(hidden + sum(others) / max(len(others), 1))
        _, middle, _, last = module.decide.copies[name]
        hidden = F.relu(F.conv2d(hidden, middle.weight, middle.bias, padding=1))
        expected.append(F.conv2d(hidden, last.weight, last.bias))
    y, gates = run(module, names, x)
    assert [(found.stage, found.names) for found in gates] == [(1, names)]
    torch.testing.assert_close(gates[0].logits, torch.cat(expected), rtol=1e-5, atol=1e-5)
    mask = (gates[0].logits > OPENS_AT).float()
    assert names != NAMES or 0.1 < mask.mean() < 0.9
    assert torch.equal(y, x * mask)


@pytest.mark.parametrize(("context", "seen"), [("cross", True), ("own", False)])
def test_what_another_modality_shows_is_seen_or_not(context, seen):
    module, x = gate(context=context), stack(NAMES)
    changed = x.clone()
    changed[4:] += 1  # thermal
    before, after = (run(module, NAMES, each)[1][0].logits for each in (x, changed))
    assert torch.equal(before[:4], after[:4]) is not seen
    assert not torch.equal(before[4:], after[4:])


def test_alone_only_the_own_features_count():
    module = gate()
    alone = run(module, ("depth",))[1][0].logits
    both = run(module, ("rgb", "depth"))[1][0].logits[2:]
    assert not torch.allclose(alone, both)
    for parameter in module.others.parameters():
        torch.nn.init.zeros_(parameter)
    assert torch.equal(alone, run(module, ("rgb", "depth"))[1][0].logits[2:])
    assert SpatialGate(StageInput(6, 4), 1, StackLayout(("rgb",)), Purification()).others is None


@pytest.mark.parametrize(
    ("options", "training", "testing"),
    [
        ({}, False, False),
        ({"supervision": "literal"}, True, False),
        ({"noise": "training"}, True, False),
        ({"noise": "always"}, True, True),
        ({"supervision": "literal", "noise": "never"}, False, False),
    ],
)
def test_it_starts_open_and_draws_where_told_to(options, training, testing):
    """A draw closes 6 of 100 locations of an open gate all the same."""
    fresh = SpatialGate(StageInput(6, 4), 1, StackLayout(NAMES), Purification(**options))
    x = stack(NAMES).expand(6, 6, 5, 7).repeat(1, 1, 20, 20)
    for mode, draws in ((True, training), (False, testing)):
        closed = (fresh.train(mode)(x) == 0).float().mean()
        assert closed == pytest.approx((1 - 1 / (1 + math.exp(OPENS_AT))) * draws, abs=0.01)


def test_blocks_without_purification_leave_maps_as_they_are():
    module, x = gate(), stack(NAMES)
    with module.layout.holding(NAMES, purified=False):
        assert module(x) is x and module.layout.gates == []
        with module.layout.holding(NAMES):
            assert module(x) is x
        with module.layout.holding(NAMES, purified=True):
            assert module(x) is not x
        assert not module.layout.purified and len(module.layout.gates) == 1
    assert module.layout.purified
    with pytest.raises(RuntimeError, match="inside the block"):
        _ = module.layout.gates


def made(supervision="synthetic", strides=(4, 8), **options):
    inputs = {i: StageInput(3, stride) for i, stride in enumerate(strides, 1)}
    layout = StackLayout(("rgb", "depth"))
    return StageGates(inputs, layout, Purification(supervision=supervision, **options))


def gated(strides=(4, 8), size=(16, 24), count=2, seed=0):
    """Logits of two modalities about the opening."""
    g = torch.Generator().manual_seed(seed)
    return [
        Gated(i, ("rgb", "depth"), OPENS_AT + torch.randn(2 * count, 1, size[0] // s, size[1] // s, generator=g))
        for i, s in enumerate(strides, 1)
    ]


def test_the_literal_loss_is_the_mean_penalty():
    gates = gated()
    expected = []
    for found in gates:
        values = found.logits.flatten().tolist()
        expected.append(sum(1 / (1 + math.exp(-(x + 3 - math.log(0.2) / 3))) for x in values) / len(values))
    loss = made("literal", weight=2.0).losses(gates)
    assert loss.keys() == {"loss_purification"}
    assert float(loss["loss_purification"]) == pytest.approx(2 * sum(expected) / 2, rel=1e-5)
    assert made("literal").losses([]) == {}


@pytest.mark.parametrize("size", [(16, 24), (13, 21)])
def test_the_synthetic_loss_is_a_loop_over_locations(size):
    """Images of 13x21 were padded to 16x24; the padding counts as little as it covers of a location."""
    gates = gated()
    damage = {"depth": torch.rand(2, 1, *size, generator=torch.Generator().manual_seed(1)) > 0.6}
    total = []
    for found, stride in zip(gates, (4, 8), strict=True):
        loss, weights = 0.0, 0.0
        for m in range(2):
            for n in range(2):
                for i in range(16 // stride):
                    for j in range(24 // stride):
                        cell = (slice(i * stride, (i + 1) * stride), slice(j * stride, (j + 1) * stride))
                        pixels = torch.ones(size)[cell] if m == 0 else 1 - damage["depth"][n, 0].float()[cell]
                        if not pixels.numel():
                            continue
                        weight, truth = pixels.numel() / stride**2, float(pixels.mean())
                        belief = 1 / (1 + math.exp(-(float(found.logits[2 * m + n, 0, i, j]) - OPENS_AT)))
                        loss -= weight * (truth * math.log(belief) + 1.5 * (1 - truth) * math.log(1 - belief))
                        weights += weight
        total.append(loss / weights)
    found = made(weight=3.0).losses(gates, damage)["loss_purification"]
    assert float(found) == pytest.approx(3 * sum(total) / 2, rel=1e-4)


def test_a_batch_that_says_nothing_of_damage_is_refused_by_synthetic_supervision():
    with pytest.raises(ValueError, match=r"rgb_corrupted or depth_corrupted: add the transform DamageBlocks"):
        made().losses(gated())
    with pytest.raises(ValueError, match="DamageBlocks"):
        made().losses(gated(), {})
    assert made().losses([], None) == {}


def test_damage_of_what_is_absent_leaves_the_others_clean():
    """As modality dropout does of a batch in which depth alone was damaged."""
    gates = [Gated(1, ("rgb",), gated()[0].logits[:2])]
    clean = made().losses(gates, {"rgb": torch.zeros(2, 1, 16, 24)})
    assert made().losses(gates, {"depth": torch.ones(2, 1, 16, 24)}) == clean


def test_beliefs_are_below_one_half_where_a_stage_masks():
    gates, module = gated(strides=(2, 2)), made(strides=(2, 2))
    found = module.beliefs(gates, (15, 23))
    assert list(found) == ["rgb", "depth"] and found["rgb"].shape == (2, 1, 15, 23)
    lowest = torch.minimum(gates[0].logits, gates[1].logits)
    for m, belief in enumerate(found.values()):
        assert belief.dtype == torch.float32 and belief.min() > 0 and belief.max() < 1
        corners = belief[:, 0, 0, 0]  # bilinear up-sampling leaves the corners as they are
        expected = 1 / (1 + (OPENS_AT - lowest[2 * m : 2 * m + 2, 0, 0, 0]).exp())
        torch.testing.assert_close(corners, expected)
    assert module.beliefs([], (15, 23)) == {}


def test_a_closed_block_is_closed_in_the_belief():
    logits = torch.zeros(1, 1, 4, 4)
    logits[..., 1:3, 1:3] = -6
    module = StageGates({1: StageInput(3, 4)}, StackLayout(("depth",)), Purification())
    belief = module.beliefs([Gated(1, ("depth",), logits)], (16, 16))["depth"][0, 0]
    assert (belief[6:10, 6:10] < 0.5).all() and (belief[[0, 0, 15, 15], [0, 15, 0, 15]] > 0.9).all()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"context": "crossed"}, "context is 'crossed'; expected one of cross, own; did you mean 'cross'"),
        ("crss", "context is 'crss'; expected one of cross, own; did you mean 'cross'"),
        ({"supervision": "literally"}, "supervision is 'literally'; .*did you mean 'literal'"),
        ({"stages": (1, 1)}, r"stages is \(1, 1\); expected distinct"),
        ({"weight": -1}, "weight is -1"),
        ({"weight": True}, "weight is True"),
        ({"weight": 10**400}, "weight is 10"),
        ({"hidden": 0}, "hidden is 0"),
        ({"hidden": 10**9}, "hidden is 1000000000; expected 1 to 4096"),
        ({"noise": "trainin"}, "noise is 'trainin'; .*did you mean 'training'"),
        ({"contxt": "own"}, "no option 'contxt'; .*did you mean 'context'"),
        (["cross"], r"purification is \['cross'\]"),
    ],
)
def test_options_that_make_no_sense(given, message):
    with pytest.raises(ValueError, match=message):
        build_purification(given)


def test_options_are_read():
    assert build_purification(None) is None
    assert build_purification("own") == Purification(context="own", weight=1.0)
    assert build_purification({"supervision": "literal"}).weight == 0.5
    assert build_purification({"stages": [1, 3]}).stages == (1, 3)
