"""ComputeEdges against OpenCV's own Canny, steps by hand, and the true edges of rooms."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from rgbx.datasets.rooms import render
from rgbx.transforms import ComputeEdges, PackSample

RNG = np.random.default_rng(0)


def edges(sample, **options):
    found = ComputeEdges(**options)({"sample_id": "a", "paths": {}, **sample}, RNG)["edge"]
    assert found.dtype == np.float32 and found.min() >= 0 and found.max() <= 1
    return found


def test_canny_of_rgb_is_that_of_opencv():
    rgb = render(0, 1, (60, 80))["rgb"]
    expected = cv2.Canny(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), 100, 200, L2gradient=True) / 255
    assert 0.01 < expected.mean() < 0.3
    np.testing.assert_array_equal(edges({"rgb": rgb}), expected)
    assert edges({"rgb": rgb}, low=5, high=10).sum() > expected.sum()


def test_sobel_by_hand():
    """A step of 20 levels: half of it per pixel on both sides; a step of 200 is cut at 1."""
    rgb = np.zeros((5, 10, 3), np.uint8)
    rgb[:, 5:] = 20
    expected = np.zeros((5, 10))
    expected[:, 4:6] = 10 / 25
    np.testing.assert_allclose(edges({"rgb": rgb}, method="sobel"), expected, atol=1e-6)
    assert edges({"rgb": rgb * 10}, method="sobel").max() == 1
    assert edges({"rgb": rgb}, method="sobel", high=40).max() == pytest.approx(10 / 40)
    turned = edges({"rgb": rgb.transpose(1, 0, 2)}, method="sobel")
    np.testing.assert_allclose(turned, expected.T, atol=1e-6)


def test_depth_counts_relative_steps_and_no_holes():
    depth = np.full((20, 40), 2.0, np.float32)
    depth[:, 20:] = 2.0 * 1.2
    near, far = edges({"depth": depth}, source="depth"), edges({"depth": 3 * depth}, source="depth")
    np.testing.assert_array_equal(near, far)
    assert near[10].sum() == 1 and near[10, 19:21].sum() == 1
    sobel = edges({"depth": depth}, source="depth", method="sobel")
    np.testing.assert_allclose(sobel[10, 19:21], 1)
    np.testing.assert_allclose(sobel[10, :19], 0, atol=1e-6)
    hole = np.full((20, 40), 2.0, np.float32)
    hole[5:9, 5:9] = 0
    for method in ("canny", "sobel"):
        assert edges({"depth": hole}, source="depth", method=method).max() == 0


def test_edges_of_rooms_lie_on_the_true_ones():
    frame = render(0, 4, (120, 160))
    true = cv2.dilate((frame["edge"] > 0).astype(np.uint8), np.ones((5, 5))) > 0
    found = edges({"depth": frame["depth_clean"]}, source="depth") > 0
    assert found.sum() > 50
    assert true[found].mean() > 0.95 > true.mean() + 0.3


def test_in_a_sample():
    rgb = RNG.integers(0, 256, (8, 9, 3), dtype=np.uint8)
    sample = {"rgb": rgb, "sample_id": "a", "paths": {}}
    packed = PackSample()(ComputeEdges()(sample, RNG), RNG)
    assert packed["edge"].shape == (1, 8, 9)
    np.testing.assert_array_equal(sample["rgb"], rgb)


def test_exceptions():
    with pytest.raises(ValueError, match="found 'thermal' and 'canny'"):
        ComputeEdges(source="thermal")
    with pytest.raises(ValueError, match="found 30 and 25"):
        ComputeEdges(low=30)
    with pytest.raises(ValueError, match="needs the array 'depth'"):
        ComputeEdges(source="depth")({"sample_id": "a"}, RNG)
    with pytest.raises(ValueError, match="would replace the stored 'edge'"):
        ComputeEdges()({"sample_id": "a", "rgb": np.zeros((4, 4, 3), np.uint8), "edge": 0}, RNG)
