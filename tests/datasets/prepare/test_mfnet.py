"""MFNet's real images split: every channel as PIL decodes it."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from dataset_frames import decoded
from PIL import Image

from rgbx.datasets import MFNet
from rgbx.datasets.prepare import Summary, mfnet_preparation, write_preparation

STEMS = ("01234N", "01477D")


@pytest.fixture
def root(layouts, tmp_path):
    """Two real images; their labels are not at hand, so two are made up."""
    folder = tmp_path / "in"
    shutil.copytree(layouts / "mfnet" / "images", folder / "images")
    (folder / "labels").mkdir()
    for stem in STEMS:
        label = np.random.default_rng(0).integers(0, 9, (480, 640), dtype=np.uint8)
        Image.fromarray(label).save(folder / "labels" / f"{stem}.png")
    (folder / "train.txt").write_text("01477D\n")
    (folder / "test.txt").write_text("01234N\r\n01477D\r\n")
    return folder


def test_channels(root, tmp_path):
    out = tmp_path / "out"
    assert write_preparation(out, mfnet_preparation(root)) == Summary(8, 0)
    for stem in STEMS:
        four = decoded(root / "images" / f"{stem}.png")
        assert four.shape == (480, 640, 4)
        np.testing.assert_array_equal(decoded(out / "rgb" / f"{stem}.png"), four[..., :3])
        np.testing.assert_array_equal(decoded(out / "ther" / f"{stem}.png"), four[..., 3])
        assert (out / "labels" / f"{stem}.png").read_bytes() == (root / "labels" / f"{stem}.png").read_bytes()
    for name in ("train.txt", "test.txt"):
        assert (out / name).read_bytes() == (root / name).read_bytes()


def test_read_back(root, tmp_path):
    """What is prepared reads as the four-channel images do, mirrored copies that have no files among them."""
    (root / "train.txt").write_text("01477D\n01234N_flip\n01477D_flip\n")
    write_preparation(tmp_path / "out", mfnet_preparation(root))
    before, after = MFNet(root), MFNet(tmp_path / "out")
    assert (before.variant, after.variant) == ("images/labels", "rgb/ther/labels")
    assert len(before) == len(after) == 3
    for index in range(3):
        one, two = before[index], after[index]
        assert one["sample_id"] == two["sample_id"]
        for name in ("rgb", "thermal", "label"):
            np.testing.assert_array_equal(one[name], two[name])
    mirrored = decoded(root / "images" / "01234N.png")[:, ::-1]
    np.testing.assert_array_equal(after[1]["thermal"], mirrored[..., 3])


def test_labels_of_another_size_are_refused(root, tmp_path):
    label = root / "labels" / "01477D.png"
    Image.fromarray(np.zeros((480, 320), np.uint8)).save(label)
    with pytest.raises(ValueError, match=rf"{label}: 480 × 320 pixels, but .*01477D\.png .* has 480 × 640; all maps"):
        write_preparation(tmp_path / "out", mfnet_preparation(root))
    assert not list((tmp_path / "out").rglob("*01477D.png"))


def test_exception(root, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none of the lists train\.txt"):
        mfnet_preparation(tmp_path)
    (root / "train.txt").write_text("01477D\n09999D\n")
    with pytest.raises(FileNotFoundError, match=r"train\.txt:2: .*09999D\.png: no such file"):
        write_preparation(tmp_path / "out", mfnet_preparation(root))
    (root / "train.txt").write_text("01477D\n")
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(root / "images" / "01234N.png")
    with pytest.raises(ValueError, match=r"01234N\.png: expected 4 channels of 8 bits .*, found uint8 of shape"):
        write_preparation(tmp_path / "other", mfnet_preparation(root))
