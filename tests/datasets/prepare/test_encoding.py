"""PNG files against PIL's decoder."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from rgbx.datasets.prepare import DepthEncoder
from rgbx.maps.files import encode_png

RNG = np.random.default_rng(0)


def decoded(content):
    return np.asarray(Image.open(io.BytesIO(content)))


@pytest.mark.parametrize(
    "array",
    [
        RNG.integers(0, 256, (5, 7), dtype=np.uint8),
        RNG.integers(0, 256, (5, 7, 3), dtype=np.uint8),
        RNG.integers(0, 65536, (5, 7)).astype(np.uint16),
    ],
)
def test_nothing_is_lost(array):
    np.testing.assert_array_equal(decoded(encode_png(array)), array)


@pytest.mark.parametrize("scale", [256, 1000, 5000])
def test_depth_rounds_and_counts_like_a_loop(scale):
    limit = 65535 / scale
    near = limit + np.array([-1, -0.6, -0.4, 0, 0.4, 0.6, 1, 100]) / scale
    metres = np.concatenate([[0], RNG.uniform(0, 1.2 * limit, 400), RNG.uniform(0, 3 / scale, 60), near])
    metres = metres.astype(np.float32)[None]
    raw, saturated = [], 0
    for depth in metres[0].tolist():
        step = round(depth * scale)
        saturated += step > 65535
        raw.append(0 if depth == 0 else min(max(step, 1), 65535))
    encode = DepthEncoder(scale)
    content = encode(metres)
    np.testing.assert_array_equal(decoded(content.data)[0], raw)
    assert content.saturated == saturated > 50


def test_depth():
    """0 stays 0, what is measured stays above it, and what is too far is counted."""
    encode = DepthEncoder(5000)
    metres = np.array([[0, 1e-5, 0.0002, 1.23456], [9.99547, 13.107, 13.2, 1e6]], np.float32)
    content = encode(metres)
    np.testing.assert_array_equal(decoded(content.data), [[0, 1, 1, 6173], [49977, 65535, 65535, 65535]])
    assert content.saturated == 2
    assert encode.limit == pytest.approx(13.107)
