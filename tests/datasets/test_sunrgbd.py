"""SUN RGB-D: a real frame, the CMX layout made of real NYU frames, and lists whose masks count void as 0."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from dataset_frames import decoded
from PIL import Image

from rgbx.cli.config import load_config
from rgbx.datasets import SUNRGBD, NYUDv2Lists, SUNRGBDFolders, SUNRGBDLists
from rgbx.datasets.families.nyudv2 import NYUDV2_CLASSES
from rgbx.datasets.families.sunrgbd import SUNRGBD_CLASSES, SunDepth
from rgbx.datasets.sample import build_from
from rgbx.maps import STANDARD_MAPS

CONFIGS = Path(__file__).parents[2] / "configs"
RNG = np.random.default_rng(0)


@pytest.fixture
def folders(tmp_path):
    """Train frame 0 and test frame 0 of 6x8 with 16-bit Depth and labels 0..37."""
    for split in ("train", "test"):
        arrays = {
            "RGB": RNG.integers(0, 256, (6, 8, 3), dtype=np.uint8),
            "Depth": RNG.integers(0, 65536, (6, 8)).astype(np.uint16),
            "labels": RNG.integers(0, 38, (6, 8), dtype=np.uint8),
        }
        for folder, array in arrays.items():
            (tmp_path / folder).mkdir(exist_ok=True)
            Image.fromarray(array).save(tmp_path / folder / f"{split}_0.{'jpg' if folder == 'RGB' else 'png'}")
        (tmp_path / f"{split}.txt").write_text(f"RGB/{split}_0.jpg labels/{split}_0.png\n")
    return tmp_path


def test_classes_are_the_first_37_of_nyu():
    """Song et al. took 37 of Gupta's 40 names, two of them abbreviated."""
    names = [name.replace("fridge", "refrigerator").replace("tv", "television") for name in SUNRGBD_CLASSES]
    assert names == list(NYUDV2_CLASSES[:37])


def test_a_real_frame(layouts):
    """A bedroom: checked by eye where its things are. The bed's depth is filled, the raw one has holes."""
    root = layouts / "sunrgbd"
    sample = SUNRGBDFolders(root)[0]
    np.testing.assert_array_equal(sample["label"], decoded(root / "label37" / "000001.png"))
    seen = {SUNRGBD_CLASSES[k] for k in np.unique(sample["label"]) if k != 255}
    assert seen == {"wall", "floor", "bed", "dresser", "pillow", "mirror", "ceiling", "night stand", "lamp"}
    for (row, column), name in {
        (20, 600): "ceiling",
        (500, 100): "floor",
        (300, 100): "dresser",
        (60, 240): "mirror",
    }.items():
        assert SUNRGBD_CLASSES[sample["label"][row, column]] == name
    raw = decoded(root / "depth_bfx" / "000001.png").astype(np.int64)
    np.testing.assert_allclose(sample["depth"], (raw // 8 + raw % 8 * 2**13) / 1000, rtol=1e-6)
    assert 1.1 < sample["depth"].min() < sample["depth"].max() < 8.1
    measured = SUNRGBDFolders(root, depth_kind="depth")[0]["depth"]
    both = measured > 0
    assert 0.5 < both.mean() < 0.8
    assert np.median(np.abs(measured[both] - sample["depth"][both])) < 0.05


def test_depth_beyond_8_metres_is_unrotated(tmp_path):
    """By the bits: 9000 mm = 0b0010001100101000 rotated left by three is 0b0001100101000001."""
    Image.fromarray(np.array([[0, 0b0001100101000001, 8 * 1500]], np.uint16)).save(tmp_path / "a.png")
    np.testing.assert_allclose(SunDepth(STANDARD_MAPS["depth"]).read(tmp_path / "a.png"), [[0, 9.0, 1.5]], rtol=1e-6)
    Image.fromarray(np.zeros((2, 2), np.uint8)).save(tmp_path / "8.png")
    with pytest.raises(ValueError, match=r"8\.png: expected one channel of 16 bits, found 1 channel of 8"):
        SunDepth(STANDARD_MAPS["depth"]).read(tmp_path / "8.png")


def test_cmx_layout(folders):
    for split in ("train", "test"):
        sample = SUNRGBD(folders, split)[0]
        assert sample["sample_id"] == f"{split}_0"
        values = decoded(folders / "labels" / f"{split}_0.png").astype(int)
        np.testing.assert_array_equal(sample["label"], np.where(values == 0, 255, values - 1))
        raw = decoded(folders / "Depth" / f"{split}_0.png")
        np.testing.assert_allclose(sample["depth"], raw / 65535, rtol=1e-6)
    assert SUNRGBD(folders).maps["depth"].unit == "relative"
    metric = SUNRGBD(folders, "test", depth_scale=8000)
    assert metric.maps["depth"].unit == "metre"
    np.testing.assert_allclose(metric[0]["depth"], raw / 8000, rtol=1e-6)


def test_lists_with_offset(folders):
    (folders / "all.txt").write_text("RGB/test_0.jpg\tlabels/test_0.png\tDepth/test_0.png\n")
    values = decoded(folders / "labels" / "test_0.png").astype(int)
    expected = np.where(values == 0, 255, values - 1)
    sample = SUNRGBDLists(folders, "all.txt", depth_scale=1000)[0]
    np.testing.assert_array_equal(sample["label"], expected)
    np.testing.assert_allclose(sample["depth"], decoded(folders / "Depth" / "test_0.png") / 1000, rtol=1e-6)
    np.testing.assert_array_equal(NYUDv2Lists(folders, "all.txt", label_offset=1)[0]["label"], expected)
    np.testing.assert_array_equal(NYUDv2Lists(folders, "all.txt")[0]["label"], values)
    with pytest.raises(ValueError, match=r"\[37\] are outside 0\.\.36.*offset of 1"):
        Image.fromarray(np.full((6, 8), 37, np.uint8)).save(folders / "labels" / "test_0.png")
        SUNRGBDLists(folders, "all.txt", label_offset=0)[0]


def test_the_configs_datasets_build(folders):
    config = load_config(CONFIGS / "sunrgbd/asymfusion_r50_sunrgbd.py", data_root=str(folders))
    config.train_dataloader.dataset.holdout = None
    sample = build_from(config.train_dataloader.dataset)[0]
    assert sample["rgb"].shape == (3, 480, 480) and sample["depth"].shape == (1, 480, 480)
    assert config.model.num_classes == len(SUNRGBD_CLASSES)


def test_exception(folders, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"image: no such folder"):
        SUNRGBDFolders(tmp_path)
    with pytest.raises(ValueError, match="depth_kind"):
        SUNRGBDFolders(tmp_path, depth_kind="hha")
    with pytest.raises(FileNotFoundError, match=r"val\.txt: no such list"):
        SUNRGBD(folders, "val")
