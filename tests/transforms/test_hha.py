"""ComputeHHA in a sample, and what geometry leaves of it."""

from __future__ import annotations

import numpy as np
import pytest

from rgbx.maps.hha import hha
from rgbx.transforms import ComputeHHA, HorizontalFlip, PackSample, RandomScaleCrop

CAMERA = {"fx": 60.0, "fy": 60.0, "cx": 31.5, "cy": 23.5}
RNG = np.random.default_rng(0)


def sample():
    depth = (2 + np.arange(48)[:, None] / 50 + np.arange(64) / 70).astype(np.float32)
    depth[10:14, 5:9] = 0
    return {"depth": depth, "label": np.zeros((48, 64), np.uint8), "sample_id": "a", "paths": {}}


def test_smoke():
    found = ComputeHHA(**CAMERA)(sample(), RNG)
    np.testing.assert_array_equal(found["hha"], hha(sample()["depth"], **CAMERA))
    np.testing.assert_array_equal(found["depth"], sample()["depth"])
    without = ComputeHHA(**CAMERA, keep_depth=False)(sample(), RNG)
    assert set(without) == {"hha", "label", "sample_id", "paths"}
    for transform in (RandomScaleCrop((40, 40)), PackSample(require=("hha", "label"))):
        without = transform(without, RNG)
    assert without["hha"].shape == (3, 40, 40)


def test_a_flip_afterwards_equals_a_flip_before():
    """The principal point lies in the middle of these columns, so both ways see one camera."""
    flip = HorizontalFlip(1.0)
    one = flip(ComputeHHA(**CAMERA)(sample(), RNG), RNG)["hha"].astype(int)
    other = ComputeHHA(**CAMERA)(flip(sample(), RNG), RNG)["hha"]
    assert np.abs(one - other).max() <= 1


def test_exception():
    with pytest.raises(ValueError, match=r"'depth'.*sample 'a' has"):
        ComputeHHA(**CAMERA)({"sample_id": "a"}, RNG)
    with pytest.raises(ValueError, match="focal lengths"):
        ComputeHHA(**{**CAMERA, "fy": -1})


def test_a_camera_of_another_image_and_a_stored_hha_are_refused():
    with pytest.raises(ValueError, match=r"principal point \(320, 24\) lies outside the 64x48 image of sample 'a'"):
        ComputeHHA(fx=500, fy=500, cx=320, cy=24)(sample(), RNG)
    with pytest.raises(ValueError, match="would replace the stored 'hha' of sample 'a'"):
        ComputeHHA(**CAMERA)({**sample(), "hha": np.zeros((48, 64, 3), np.uint8)}, RNG)
