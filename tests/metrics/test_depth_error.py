"""Depth scores by hand and by a naive loop."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from rgbx.metrics import depth_scores, depth_sums


def test_by_hand():
    """Ratios 1, 1.2, 1.5, 2.5 and one hole that does not count."""
    target = torch.tensor([[[1.0, 2.0, 2.0, 1.0, 0.0]]])
    prediction = torch.tensor([[[1.0, 2.4, 3.0, 2.5, 7.0]]])
    found = depth_scores(depth_sums(prediction, target))
    assert found["MAE"] == pytest.approx((0 + 0.4 + 1 + 1.5) / 4, rel=1e-6)
    assert found["RMSE"] == pytest.approx(math.sqrt((0.16 + 1 + 2.25) / 4), rel=1e-6)
    assert found["AbsRel"] == pytest.approx((0.2 + 0.5 + 1.5) / 4, rel=1e-6)
    assert [found[f"delta{k}"] for k in (1, 2, 3)] == [0.5, 0.75, 0.75]


def test_the_limit_itself_is_not_below_it():
    found = depth_scores(depth_sums(torch.full((1, 1, 1), 1.25), torch.ones(1, 1, 1)))
    assert (found["delta1"], found["delta2"]) == (0, 1)


def test_equals_a_naive_loop_over_images():
    rng, sums, rows = np.random.default_rng(0), {}, []
    for _ in range(3):
        target = torch.from_numpy(np.where(rng.random((1, 9, 7)) < 0.2, 0, rng.uniform(0.5, 9, (1, 9, 7))))
        prediction = torch.from_numpy(rng.uniform(0, 9, (1, 9, 7)))
        valid = torch.from_numpy(rng.random((1, 9, 7)) < 0.8)
        for key, value in depth_sums(prediction, target, valid).items():
            sums[key] = sums.get(key, 0) + value
        for i in range(9):
            for j in range(7):
                if valid[0, i, j] and target[0, i, j] > 0:
                    rows.append((float(prediction[0, i, j]), float(target[0, i, j])))
    found = depth_scores(sums)
    expected = {
        "MAE": np.mean([abs(p - t) for p, t in rows]),
        "RMSE": np.sqrt(np.mean([(p - t) ** 2 for p, t in rows])),
        "AbsRel": np.mean([abs(p - t) / t for p, t in rows]),
        **{f"delta{k}": np.mean([max(p / t, t / p) < 1.25**k for p, t in rows]) for k in (1, 2, 3)},
    }
    assert found == pytest.approx(expected, rel=1e-12)


def test_depth_that_is_not_there():
    assert depth_scores(depth_sums(-torch.ones(1, 1, 1), torch.ones(1, 1, 1)))["delta3"] == 0
    found = depth_scores(depth_sums(torch.ones(1, 2, 2), torch.zeros(1, 2, 2)))
    assert all(math.isnan(value) for value in found.values())
    with pytest.raises(ValueError, match="of one shape"):
        depth_sums(torch.ones(1, 2, 2), torch.ones(1, 2, 3))


@pytest.mark.parametrize("spoilt", [math.nan, math.inf])
def test_what_is_not_finite_was_not_measured(spoilt):
    target, prediction = torch.tensor([[[1.0, spoilt, 2.0, 0.0]]]), torch.tensor([[[1.5, 3.0, 2.0, 1.0]]])
    assert depth_sums(prediction, target) == depth_sums(prediction[..., ::2], target[..., ::2])
