"""Held-out depth: what is scored was measured and is gone from the input, through geometry and packing."""

from __future__ import annotations

import albumentations
import numpy as np
import pytest

from rgbx.datasets import SyntheticRooms
from rgbx.maps import MapSpec
from rgbx.transforms import (
    AlbumentationsGeometry,
    CenterCrop,
    HoldOutDepth,
    HorizontalFlip,
    PackSample,
    PadTo,
    RandomCrop,
    RandomScaleCrop,
    Resize,
)

SIZE = (60, 80)


def sample(seed=0):
    """Depth that is different at every pixel, so that its place can be told; a tenth is not measured."""
    rng = np.random.default_rng(seed)
    depth = 1 + np.arange(SIZE[0] * SIZE[1], dtype=np.float32).reshape(SIZE) / 1000
    depth[rng.random(SIZE) < 0.1] = 0
    rgb = rng.integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    return {"rgb": rgb, "depth": depth, "label": np.zeros(SIZE, np.uint8), "sample_id": "a", "paths": {}}


@pytest.mark.parametrize("block", [1, 7])
@pytest.mark.parametrize("keep", [0.2, 0.75])
def test_exactly_the_measured_pixels_that_are_gone_are_scored(keep, block):
    given = sample()
    found = HoldOutDepth(keep, block=block)(given, np.random.default_rng(1))
    np.testing.assert_array_equal(found["depth_dense"], given["depth"])
    scored = found["depth_dense_valid"] == 1
    for row, column in np.ndindex(SIZE):
        measured, kept = given["depth"][row, column] > 0, found["depth"][row, column] > 0
        assert scored[row, column] == (measured and not kept)
        assert found["depth"][row, column] in (0, given["depth"][row, column])
    share = (found["depth"] > 0).sum() / (given["depth"] > 0).sum()
    assert share == pytest.approx(keep, abs=0.04 if block == 1 else 0.2)


def test_damaged_depth_is_no_truth():
    given = sample()
    struck = np.random.default_rng(5).integers(0, 2, SIZE, dtype=np.uint8)
    plain, damaged = (
        HoldOutDepth()({**given, **more}, np.random.default_rng(1)) for more in ({}, {"depth_corrupted": struck})
    )
    np.testing.assert_array_equal(damaged["depth_dense_valid"], plain["depth_dense_valid"] * (1 - struck))
    np.testing.assert_array_equal(damaged["depth"], plain["depth"])
    assert damaged["depth_corrupted"] is struck


def test_blocks_are_squares_at_places_of_their_own():
    depth, corners = np.ones(SIZE, np.float32), set()
    for seed in range(40):
        held = HoldOutDepth(0.5, block=5)({"depth": depth}, np.random.default_rng(seed))["depth"] == 0
        down, right = (np.flatnonzero((held != np.roll(held, 1, axis)).any(axis=1 - axis)) % 5 for axis in (0, 1))
        ends = [set(down.tolist()) - {0}, set(right.tolist()) - {0}]
        assert all(len(end) <= 1 for end in ends)  # edges lie on one grid; 0 is where the roll wraps
        corners.add(tuple(map(tuple, ends)))
    assert len(corners) > 10


def test_one_key_one_pattern():
    first, again, other = (
        HoldOutDepth()(sample(), np.random.default_rng(seed))["depth_dense_valid"] for seed in (3, 3, 4)
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


GEOMETRY = {
    "flip": dict(type=HorizontalFlip, probability=1.0),
    "crop": dict(type=RandomCrop, size=(33, 41)),
    "centre": dict(type=CenterCrop, size=(31, 20)),
    "pad": dict(type=PadTo, multiple=64, centre=True),
    "resize": dict(type=Resize, size=(45, 30)),
    "scale": dict(type=RandomScaleCrop, size=(50, 50)),
    "rotate": dict(type=AlbumentationsGeometry, transforms=[dict(type=albumentations.Rotate, limit=30, p=1.0)]),
}


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("name", GEOMETRY)
def test_through_geometry_and_packing(name, before):
    hold = dict(type=HoldOutDepth, keep=0.5)
    order = [hold, GEOMETRY[name]] if before else [GEOMETRY[name], hold]
    dataset = SyntheticRooms(
        size=SIZE, num_frames=1, transforms=[*order, dict(type=PackSample)], targets=("depth_dense",)
    )
    assert (dataset.sources, dataset.targets) == (("rgb", "depth"), ("depth_dense",))
    assert dataset.metainfo["maps"]["depth_dense"] == MapSpec("depth_dense", 1, "float32", "metre", "nearest")
    packed = dataset[0]
    depth, whole, scored = (packed[name].numpy() for name in ("depth", "depth_dense", "depth_dense_valid"))
    assert scored.dtype == bool and scored.shape == depth.shape == whole.shape == packed["depth_valid"].shape
    np.testing.assert_array_equal(scored, (whole > 0) & (depth == 0))
    assert 0.3 < scored.sum() / (whole > 0).sum() < 0.7
    np.testing.assert_array_equal(depth[~scored], whole[~scored])


def test_other_maps():
    maps = {"lidar": MapSpec("lidar", 1, "float32", "relative", "nearest")}
    hold = HoldOutDepth(source="lidar", target="full", maps=maps)
    assert hold.adds == ("full",) and hold.added_maps["full"].unit == "relative"


def test_exceptions():
    for keep, block in ((0, 1), (1, 1), (0.5, 0)):
        with pytest.raises(ValueError, match="needs 0 < keep < 1 and block >= 1"):
            HoldOutDepth(keep, block=block)
    for source in ("rgb", "nir"):
        with pytest.raises(ValueError, match=f"one channel of float32, found '{source}'"):
            HoldOutDepth(source=source)
    with pytest.raises(ValueError, match="needs the array 'depth'"):
        HoldOutDepth()({"sample_id": "a"}, np.random.default_rng(0))
    with pytest.raises(ValueError, match="would replace the stored 'depth_dense'"):
        HoldOutDepth()({**sample(), "depth_dense": 0}, np.random.default_rng(0))


def test_a_mask_says_what_was_measured():
    """Of a map whose 0 is a value, such as a temperature."""
    rng = np.random.default_rng(0)
    valid = (rng.random(SIZE) < 0.7).astype(np.uint8)
    thermal = rng.normal(0, 5, SIZE).astype(np.float32)
    given = {"thermal": thermal, "thermal_valid": valid, "sample_id": "a", "paths": {}}
    found = HoldOutDepth(0.5, source="thermal", target="whole")(given, rng)
    left, scored = found["thermal_valid"] > 0, found["whole_valid"] > 0
    np.testing.assert_array_equal(left | scored, valid > 0)
    assert not (left & scored).any() and 0.2 < left.mean() < 0.5
    np.testing.assert_array_equal(found["thermal"][left], thermal[left])
