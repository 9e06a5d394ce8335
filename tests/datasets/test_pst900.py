"""PST900 on images written in its format (no real frames were at hand), against PIL."""

from __future__ import annotations

import numpy as np
import pytest
from dataset_frames import decoded, write_pst900

from rgbx.datasets import PST900


@pytest.fixture
def root(tmp_path):
    return write_pst900(tmp_path, np.random.default_rng(0))


def test_frames(root):
    dataset = PST900(root)
    assert dataset.num_classes == 5
    sample = dataset[1]
    name = "31_bag1a_rect_rgb_frame0000000001"
    assert sample["sample_id"] == name
    for key, folder in (("rgb", "rgb"), ("thermal", "thermal"), ("label", "labels")):
        np.testing.assert_array_equal(sample[key], decoded(root / "train" / folder / f"{name}.png"))
    assert (sample["label"] == 0).any() and not (sample["label"] == 255).any()


def test_sixteen_bits_keep_their_values(root):
    sample = PST900(root, thermal_folder="thermal_raw")[0]
    raw = decoded(root / "train" / "thermal_raw" / f"{sample['sample_id']}.png")
    assert raw.max() > 255 and len(np.unique(raw)) > 100
    assert sample["thermal"].dtype == np.float32
    np.testing.assert_array_equal(sample["thermal"], raw)


def test_exceptions(root):
    with pytest.raises(ValueError, match=r"thermal_folder must be 'thermal' or 'thermal_raw', found 'thermal16'"):
        PST900(root, thermal_folder="thermal16")
    with pytest.raises(ValueError, match=r"found \['depth'\]"):
        PST900(root, modalities=("rgb", "depth"))
