"""Angles between normals: turned by known angles, by hand, and against arccos."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from rgbx.metrics import angles, normal_scores, normal_sums


def turned(degrees):
    """The z axis, and it turned by each angle about an axis of its own, as maps [3, 1, n]."""
    degrees = np.radians(np.asarray(degrees, float))
    around = np.random.default_rng(0).uniform(0, 2 * math.pi, len(degrees))
    vectors = np.stack([np.sin(degrees) * np.cos(around), np.sin(degrees) * np.sin(around), np.cos(degrees)])
    truth = np.zeros_like(vectors)
    truth[2] = 1
    return torch.from_numpy(vectors)[:, None], torch.from_numpy(truth)[:, None]


def test_known_angles():
    degrees = [0, 1e-6, 0.3, 11.25, 30, 90, 179.999, 180]
    prediction, truth = turned(degrees)
    np.testing.assert_allclose(angles(prediction, truth)[0], degrees, atol=1e-9)
    np.testing.assert_allclose(angles(7 * prediction, truth)[0], degrees, atol=1e-9)
    np.testing.assert_allclose(angles(truth, prediction)[0], degrees, atol=1e-9)


def test_equals_arccos():
    rng = np.random.default_rng(1)
    a, b = (torch.from_numpy(rng.normal(size=(3, 8, 9))) for _ in range(2))
    cosine = (a * b).sum(0) / (a.norm(dim=0) * b.norm(dim=0))
    np.testing.assert_allclose(angles(a, b), np.degrees(np.arccos(cosine)), atol=1e-7)


def test_scores_by_hand():
    prediction, truth = turned([1, 5, 11.25, 20, 25, 29, 100])
    found = normal_scores(normal_sums(prediction, truth))
    assert found["angle_mean"] == pytest.approx((1 + 5 + 11.25 + 20 + 25 + 29 + 100) / 7)
    assert found["angle_median"] == pytest.approx(20, abs=0.05)
    assert found["within_22.5"] == pytest.approx(4 / 7)
    assert found["within_30"] == pytest.approx(6 / 7)
    assert found["within_11.25"] in (pytest.approx(2 / 7), pytest.approx(3 / 7))  # the angle is the limit itself
    errors = (prediction - truth).numpy()
    assert found["MAE"] == pytest.approx(np.abs(errors).mean())
    assert found["RMSE"] == pytest.approx(np.sqrt((errors**2).mean()))


def test_median_over_images():
    """Of all pixels of all images, not the mean of their medians."""
    rng = np.random.default_rng(2)
    degrees = [rng.gamma(2, 8, count).clip(0, 180) for count in (500, 31, 2000)]
    parts = [normal_sums(*turned(values)) for values in degrees]
    sums = {key: sum(part[key] for part in parts) for key in parts[0]}
    found = normal_scores(sums)
    everything = np.concatenate(degrees)
    assert found["angle_median"] == pytest.approx(np.median(everything), abs=0.05)
    assert found["angle_mean"] == pytest.approx(everything.mean())
    assert found["within_11.25"] == pytest.approx((everything < 11.25).mean())


def test_what_does_not_count():
    prediction, truth = turned([10, 20, 30, 40])
    truth[:, 0, 1] = 0  # no normal there
    valid = torch.tensor([[[True, True, True, False]]])
    found = normal_scores(normal_sums(prediction, truth, valid))
    assert found["angle_mean"] == pytest.approx(20)
    nothing = normal_scores(normal_sums(prediction, torch.zeros_like(truth)))
    assert all(math.isnan(value) for value in nothing.values())
    prediction[:, 0, 0] = 0
    assert angles(prediction, truth)[0, 0] == 90


def test_exception():
    with pytest.raises(ValueError, match="three channels"):
        normal_sums(torch.ones(1, 2, 2), torch.ones(1, 2, 2))


@pytest.mark.parametrize("spoilt", [math.nan, math.inf])
def test_vectors_that_are_not_finite_do_not_count(spoilt):
    prediction, truth = turned([0, 20, 50, 90])
    truth[0, 0, 1] = spoilt
    found, expected = normal_sums(prediction, truth), normal_sums(prediction[..., [0, 2, 3]], truth[..., [0, 2, 3]])
    assert normal_scores(found) == normal_scores(expected) and found["pixels"] == 3
