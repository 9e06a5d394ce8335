"""The 320x240 copy of NYUDv2 against raw values decoded by PIL, and against the list layout."""

from __future__ import annotations

import numpy as np
import pytest
from dataset_frames import decoded, save

from rgbx.datasets import NYUDv2Folders, NYUDv2Lists


def test_both_layouts_show_the_same_frame(layouts, nyuv2_320x240):
    """000003 lies in both; half-size labels agree almost everywhere, depths within a level."""
    large = NYUDv2Lists(layouts / "nyudv2")[0]
    folders = NYUDv2Folders(nyuv2_320x240)
    small = folders[0]
    assert large["sample_id"] == small["sample_id"] == "000003"
    agree = large["label"][::2, ::2] == small["label"]
    assert agree.mean() > 0.95
    assert np.median(np.abs(large["depth"][::2, ::2] - small["depth"])) < 1 / 25.5


def test_folders_against_raw_values(nyuv2_320x240):
    dataset = NYUDv2Folders(nyuv2_320x240)
    assert len(dataset) == 795 and len(NYUDv2Folders(nyuv2_320x240, "test")) == 654
    sample = dataset[100]
    stem = sample["sample_id"]
    assert stem == (nyuv2_320x240 / "train.txt").read_text().split()[100]
    np.testing.assert_array_equal(sample["rgb"], decoded(nyuv2_320x240 / "rgb" / f"{stem}.jpg"))
    raw = decoded(nyuv2_320x240 / "label" / f"{stem}.png").astype(int)
    np.testing.assert_array_equal(sample["label"], np.where(raw == 0, 255, raw - 1))
    depth = decoded(nyuv2_320x240 / "depth" / f"{stem}.png")
    np.testing.assert_allclose(sample["depth"], (depth + 0.5) / 25.5, rtol=1e-6)


def test_encoded_labels_are_the_stored_ones(nyuv2_320x240):
    dataset = NYUDv2Folders(nyuv2_320x240, "test")
    sample = dataset.read(7)
    encoded = dataset.encode_label(sample["label"])
    assert encoded.dtype == np.uint8
    np.testing.assert_array_equal(encoded, decoded(nyuv2_320x240 / "label" / f"{sample['sample_id']}.png"))
    assert dataset.prediction_name(sample["sample_id"]) == f"{sample['sample_id']}.png"


def test_train_depth_statistics(nyuv2_320x240):
    """Published for all 795 frames: 2.845 / 1.418 m. Every third frame gives them within 3 %."""
    dataset = NYUDv2Folders(nyuv2_320x240, modalities=("depth",))
    depths = np.stack([dataset.read(i)["depth"][::4, ::4] for i in range(0, 795, 3)])
    assert depths.min() > 0
    assert depths.mean() == pytest.approx(2.845, rel=0.03)
    assert depths.std() == pytest.approx(1.418, rel=0.03)


def test_folders_exceptions(nyuv2_320x240, tmp_path):
    with pytest.raises(ValueError, match=r"'rgb' and 'depth', found \['hha'\]"):
        NYUDv2Folders(nyuv2_320x240, modalities=("rgb", "hha"))
    with pytest.raises(FileNotFoundError, match=r"val\.txt"):
        NYUDv2Folders(nyuv2_320x240, "val")
    (tmp_path / "some.txt").write_text("0\n")
    with pytest.raises(FileNotFoundError, match=r"some\.txt:1: .*label.0\.png: no such file"):
        NYUDv2Folders(tmp_path, "some")
    for name in ("rgb", "depth", "label"):
        save(tmp_path / name / "0.png", np.zeros((12, 16), np.uint16) + 300)
    with pytest.raises(ValueError, match=r"label.*0\.png: ids must be 0\.\.255, found 300"):
        NYUDv2Folders(tmp_path, "some")[0]


def test_holdout_parts_are_disjoint(nyuv2_320x240):
    training = NYUDv2Folders(nyuv2_320x240, holdout="exclude").stems
    held = NYUDv2Folders(nyuv2_320x240, holdout="only").stems
    assert not set(training) & set(held)
    assert len(training) + len(held) == 795
