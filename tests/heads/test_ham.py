"""The decoder of a map of low rank, against loops over numbers."""

import math

import numpy as np
import pytest
import torch
from small_models import diverse

from rgbx.heads import build_decoder, output_stride
from rgbx.heads.ham import EVAL_STEPS, TRAIN_STEPS, LowRank
from rgbx.layers import StackLayout

NAMES, CHANNELS = ("rgb", "depth"), (4, 6, 8, 10)


def updated(values, bases, codes):
    """One update of the codes, number by number: codes * (Vᵀ B) / (codes (Bᵀ B) + ε)."""
    places, rank, channels = codes.shape[0], bases.shape[1], len(bases)
    found = np.empty_like(codes)
    for p in range(places):
        for r in range(rank):
            above = sum(values[c, p] * bases[c, r] for c in range(channels))
            below = sum(codes[p, q] * sum(bases[c, q] * bases[c, r] for c in range(channels)) for q in range(rank))
            found[p, r] = codes[p, r] * above / (below + 1e-6)
    return found


def low_rank(values, bases, steps):
    logits = values.T @ bases
    codes = np.array([[math.exp(x) for x in row] for row in logits])
    codes /= codes.sum(1, keepdims=True)
    for _ in range(steps):
        codes = updated(values, bases, codes)
        bases = updated(values.T, codes, bases)
    return bases @ updated(values, bases, codes).T


@pytest.mark.parametrize(("training", "steps"), [(True, TRAIN_STEPS), (False, EVAL_STEPS)])
def test_low_rank_against_loops(training, steps):
    torch.manual_seed(0)
    layer = LowRank(5, 2).train(training)
    x = torch.rand(2, 5, 3, 4)
    found = layer(x)
    for one, map_ in zip(found, x, strict=True):
        expected = low_rank(map_.flatten(1).double().numpy(), layer.bases.double().numpy(), steps)
        np.testing.assert_allclose(one.flatten(1).numpy(), expected, rtol=1e-4)
    assert torch.linalg.matrix_rank(found[0].flatten(1), rtol=1e-4) == 2


def test_low_rank_finds_what_has_a_low_rank():
    torch.manual_seed(0)
    x = (torch.rand(1, 8, 2) @ torch.rand(1, 2, 30)).view(1, 8, 5, 6)
    assert (LowRank(8, 2).eval()(x) - x).norm() < 0.05 * x.norm()
    assert not LowRank(8, 2).eval()(torch.zeros_like(x)).any()


def features(count, sizes=((12, 16), (6, 8), (3, 4), (2, 2)), **options):
    g = torch.Generator().manual_seed(1)
    return [torch.randn(count, c, *size, generator=g, **options) for c, size in zip(CHANNELS, sizes, strict=True)]


def test_a_modality_has_the_answer_that_it_has_alone():
    """And the same twice: the bases of the start are the model's."""
    torch.manual_seed(0)
    layout = StackLayout(NAMES)
    decoder = diverse(
        build_decoder({"name": "ham", "width": 16, "rank": 3}, CHANNELS, 5, layout, strides=(4, 8, 16, 32))
    )
    stack = features(4)
    found = decoder.eval()(stack)
    assert found.shape == (4, 5, 6, 8) and output_stride(decoder, (4, 8, 16, 32)) == 8
    assert torch.equal(decoder(stack), found)
    for i, name in enumerate(NAMES):
        with layout.holding([name]):
            torch.testing.assert_close(decoder([x[2 * i : 2 * i + 2] for x in stack]), found[2 * i : 2 * i + 2])
    assert {owner for key, _ in decoder.named_parameters() for owner in NAMES if f".{owner}." in key} == {*NAMES}


@pytest.mark.parametrize(("stages", "read"), [(None, {1, 2, 3}), ((1, 4), {0, 3})])
def test_the_stages_that_are_read(stages, read):
    options = {"name": "ham", "width": 16, "rank": 3, "stages": stages}
    decoder = build_decoder(options, CHANNELS, 5, StackLayout(NAMES), norm="shared")
    stages = features(2, requires_grad=True)
    decoder(stages).square().sum().backward()
    assert {i for i, x in enumerate(stages) if x.grad is not None and x.grad.abs().sum() > 0} == read


def test_a_stage_that_there_is_not():
    with pytest.raises(ValueError, match="decoder's stage 5 does not exist; this backbone has stages 1 to 4"):
        build_decoder({"name": "ham", "stages": (5,)}, CHANNELS, 5, StackLayout(NAMES))
