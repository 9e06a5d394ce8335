"""Packing: dtypes, axes and valid masks of design, and that batches collate."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.utils.data import default_collate

from rgbx.datasets import MapSpec
from rgbx.transforms import PackSample, collate

RNG = np.random.default_rng(0)


def sample(**more):
    depth = RNG.random((4, 6)).astype(np.float32)
    depth[1, 2] = 0
    return {
        "rgb": RNG.integers(0, 256, (4, 6, 3), dtype=np.uint8),
        "depth": depth,
        "label": RNG.integers(0, 256, (4, 6), dtype=np.uint8),
        "sample_id": "a",
        "paths": {"rgb": "x"},
    } | more


def test_shapes_dtypes_and_values():
    read = sample(thermal=np.full((4, 6), -3, np.float32), normal=RNG.random((4, 6, 3)).astype(np.float32))
    read["normal"][2, 5] = 0
    packed = PackSample()(read, RNG)
    expected = {
        "rgb": (torch.uint8, (3, 4, 6)),
        "depth": (torch.float32, (1, 4, 6)),
        "depth_valid": (torch.bool, (1, 4, 6)),
        "thermal": (torch.float32, (1, 4, 6)),
        "normal": (torch.float32, (3, 4, 6)),
        "normal_valid": (torch.bool, (1, 4, 6)),
        "label": (torch.int64, (4, 6)),
    }
    assert {k: (v.dtype, tuple(v.shape)) for k, v in packed.items() if isinstance(v, torch.Tensor)} == expected
    assert all(v.is_contiguous() for v in packed.values() if isinstance(v, torch.Tensor))
    for channel in range(3):
        np.testing.assert_array_equal(packed["rgb"][channel], read["rgb"][:, :, channel])
        np.testing.assert_array_equal(packed["normal"][channel], read["normal"][:, :, channel])
    np.testing.assert_array_equal(packed["label"], read["label"])
    assert not packed["depth_valid"][0, 1, 2] and packed["depth_valid"].sum() == 23
    assert not packed["normal_valid"][0, 2, 5] and packed["normal_valid"].sum() == 23
    assert packed["sample_id"] == "a" and packed["paths"] == {"rgb": "x"}


def test_tensors_do_not_share_the_samples_memory():
    read = sample()
    packed = PackSample()(read, RNG)
    read["depth"][:] = 7
    assert packed["depth"].max() < 7


def test_collates():
    batch = default_collate([PackSample()(sample(), RNG) for _ in range(2)])
    assert batch["rgb"].shape == (2, 3, 4, 6) and batch["label"].shape == (2, 4, 6)
    assert batch["sample_id"] == ["a", "a"] and batch["paths"] == {"rgb": ["x", "x"]}


def test_no_label_no_key():
    read = sample()
    del read["label"]
    assert "label" not in PackSample()(read, RNG)
    with pytest.raises(ValueError, match=r"'a' lacks \['label'\]"):
        PackSample(require=("rgb", "label"))(read, RNG)


def test_every_map_in_metres_gets_a_mask():
    maps = {"lidar": MapSpec("lidar", 1, "float32", "metre", "nearest")}
    packed = PackSample(maps=maps)(sample(lidar=np.eye(4, 6, dtype=np.float32)), RNG)
    np.testing.assert_array_equal(packed["lidar_valid"][0], np.eye(4, 6) > 0)


def test_exception():
    with pytest.raises(ValueError, match=r"depth of sample 'a' must be float32.*uint16"):
        PackSample()(sample(depth=np.ones((4, 6), np.uint16)), RNG)
    with pytest.raises(ValueError, match="no MapSpec"):
        PackSample()(sample(lidar=np.ones((4, 6))), RNG)


@pytest.mark.parametrize("first", [True, False])
def test_a_mask_of_damage_is_packed_and_false_for_samples_without_one(first):
    struck = RNG.integers(0, 2, (4, 6), dtype=np.uint8)
    plain, damaged = (PackSample()(sample(**more), RNG) for more in ({}, {"depth_corrupted": struck}))
    assert damaged["depth_corrupted"].dtype == torch.bool and damaged["depth_corrupted"].shape == (1, 4, 6)
    np.testing.assert_array_equal(damaged["depth_corrupted"][0], struck > 0)
    batch = collate([damaged, plain] if first else [plain, damaged])
    assert batch["depth_corrupted"].shape == (2, 1, 4, 6) and batch["depth_corrupted"].dtype == torch.bool
    np.testing.assert_array_equal(batch["depth_corrupted"][0 if first else 1, 0], struck > 0)
    assert not batch["depth_corrupted"][1 if first else 0].any() and batch["depth_valid"].any()
    assert "depth_corrupted" not in collate([plain, plain])


@pytest.mark.parametrize("first", [True, False])
def test_a_mask_that_some_samples_have_is_filled(first):
    thermal = np.ones((4, 6), np.float32)
    valid = RNG.integers(0, 2, (4, 6), dtype=np.uint8)
    plain, masked = (PackSample()(sample(thermal=thermal, **more), RNG) for more in ({}, {"thermal_valid": valid}))
    batch = collate([masked, plain] if first else [plain, masked])
    assert batch["thermal_valid"].shape == (2, 1, 4, 6) and batch["thermal_valid"].dtype == torch.bool
    np.testing.assert_array_equal(batch["thermal_valid"][0 if first else 1, 0], valid > 0)
    assert batch["thermal_valid"][1 if first else 0].all()
    assert "thermal_valid" not in plain
    without = default_collate([plain, plain])
    assert collate([plain, plain]).keys() == without.keys()
    del plain["thermal"]
    with pytest.raises(ValueError, match="'a' has neither 'thermal_valid' nor 'thermal'"):
        collate([masked, plain])
