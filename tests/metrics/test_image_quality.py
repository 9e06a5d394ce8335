"""Image quality against scikit-image, naive loops and cases by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from rgbx.metrics import error_scores, error_sums, psnr, ssim

RNG = np.random.default_rng(0)


def images(channels=3, size=(24, 31), noise=20.0):
    target = RNG.integers(0, 256, (channels, *size)).astype(np.float32)
    target = (target + np.roll(target, 1, 1) + np.roll(target, 1, 2)) / 3
    prediction = np.clip(target + RNG.normal(0, noise, target.shape), 0, 255).astype(np.float32)
    return torch.from_numpy(prediction), torch.from_numpy(target)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("noise", [0.5, 20.0, 90.0])
def test_equals_scikit_image(channels, noise):
    metrics = pytest.importorskip("skimage.metrics")
    a, b = images(channels, noise=noise)
    expected = metrics.structural_similarity(
        a.double().numpy(),
        b.double().numpy(),
        data_range=255,
        channel_axis=0,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
    )
    assert ssim(a, b, data_range=255) == pytest.approx(expected, rel=1e-9)
    expected = metrics.peak_signal_noise_ratio(b.double().numpy(), a.double().numpy(), data_range=255)
    assert psnr(a, b, data_range=255) == pytest.approx(expected, rel=1e-9)


def test_ssim_equals_the_published_definition():
    """One window after another, of the weights of an 11x11 Gaussian."""
    a, b = images(1, (13, 12))
    offsets = np.arange(-5, 6)
    weights = np.exp(-(offsets[:, None] ** 2 + offsets**2) / (2 * 1.5**2))
    weights /= weights.sum()
    c1, c2, found = (0.01 * 255) ** 2, (0.03 * 255) ** 2, []
    for i in range(3):
        for j in range(2):
            x, y = (image[0, i : i + 11, j : j + 11].double().numpy() for image in (a, b))
            mx, my = (weights * x).sum(), (weights * y).sum()
            vx, vy = (weights * (x - mx) ** 2).sum(), (weights * (y - my) ** 2).sum()
            cov = (weights * (x - mx) * (y - my)).sum()
            found.append((2 * mx * my + c1) * (2 * cov + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2)))
    assert ssim(a, b, data_range=255) == pytest.approx(np.mean(found), rel=1e-9)
    valid = torch.ones(1, 13, 12, dtype=torch.bool)
    valid[0, 0, 0] = False  # only the first window sees it
    assert ssim(a, b, data_range=255, valid=valid) == pytest.approx(np.mean(found[1:]), rel=1e-9)
    assert math.isnan(ssim(a, b, data_range=255, valid=torch.zeros_like(valid)))


def test_equal_images():
    a, _ = images()
    assert ssim(a, a, data_range=255) == 1
    assert psnr(a, a, data_range=255) == math.inf
    assert error_scores(error_sums(a, a)) == {"MAE": 0, "RMSE": 0}


def test_psnr_by_hand():
    a, b = torch.zeros(1, 2, 2), torch.tensor([[[0.1, 0.1], [0.1, 0.1]]])
    assert psnr(a, b, data_range=1) == pytest.approx(20, rel=1e-6)
    assert psnr(a, b, data_range=10) == pytest.approx(40, rel=1e-6)
    valid = torch.tensor([[[True, False], [False, False]]])
    assert psnr(a, torch.tensor([[[0.01, 9.0], [9.0, 9.0]]]), data_range=1, valid=valid) == pytest.approx(40, rel=1e-6)
    assert math.isnan(psnr(a, b, data_range=1, valid=torch.zeros_like(valid)))


def test_errors_add_up():
    """Over images of different sizes with masks, as over all their counted values at once."""
    sums, errors = {"values": 0.0, "absolute": 0.0, "squared": 0.0}, []
    for size in ((5, 4), (7, 9), (2, 3)):
        a, b = images(3, size)
        valid = torch.from_numpy(RNG.random((1, *size)) < 0.6)
        for key, value in error_sums(a, b, valid).items():
            sums[key] += value
        for c in range(3):
            for i in range(size[0]):
                for j in range(size[1]):
                    if valid[0, i, j]:
                        errors.append(float(a[c, i, j]) - float(b[c, i, j]))
    found = error_scores(sums)
    assert found["MAE"] == pytest.approx(np.mean(np.abs(errors)), rel=1e-12)
    assert found["RMSE"] == pytest.approx(np.sqrt(np.mean(np.square(errors))), rel=1e-12)
    batch = images(2, (6, 6))
    assert error_sums(*(x[None] for x in batch)) == error_sums(*batch)
    assert math.isnan(error_scores(error_sums(*images(), torch.zeros(1, 24, 31, dtype=torch.bool)))["RMSE"])


def test_integers_do_not_wrap():
    a, b = torch.tensor([[[0]]], dtype=torch.uint8), torch.tensor([[[255]]], dtype=torch.uint8)
    assert error_sums(a, b) == {"values": 1, "absolute": 255, "squared": 255**2}


def test_exceptions():
    a, b = images()
    with pytest.raises(ValueError, match="of one shape"):
        psnr(a, b[:1], data_range=255)
    with pytest.raises(ValueError, match="data_range must be > 0"):
        psnr(a, b, data_range=0)
    with pytest.raises(ValueError, match="at least 11x11"):
        ssim(a[:, :10], b[:, :10], data_range=255)
    with pytest.raises(ValueError, match=r"mask of bool \(1, 24, 31\)"):
        error_sums(a, b, torch.ones(24, 31, dtype=torch.bool))


@pytest.mark.parametrize("spoilt", [math.nan, math.inf, -math.inf])
def test_targets_that_are_not_finite_do_not_count(spoilt):
    """As a mask of the other pixels, mask or not; one channel is enough."""
    a, b = images(size=(16, 30))
    hole = torch.zeros(1, 16, 30, dtype=torch.bool)
    hole[0, 0, :5] = hole[0, 9, 2] = True
    other = b.clone()
    other[1].masked_fill_(hole[0], spoilt)
    for valid in (None, torch.ones_like(hole), ~hole):
        assert error_sums(a, other, valid) == error_sums(a, b, ~hole)
        found = [ssim(a, x, data_range=255, valid=v) for x, v in ((other, valid), (b, ~hole))]
        assert found[0] == pytest.approx(found[1], rel=1e-12) and not math.isnan(found[0])
        assert psnr(a, other, data_range=255, valid=valid) == psnr(a, b, data_range=255, valid=~hole)
