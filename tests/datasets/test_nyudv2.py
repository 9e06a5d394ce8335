"""NYUDv2 readers against raw values decoded by PIL, and on lists and labels that are wrong."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from PIL import Image

from rgbx.datasets import NYUDv2Folders, NYUDv2Lists
from rgbx.datasets.nyudv2 import NYUDV2_CLASSES, NYUDV2_PALETTE, bitwise_palette

RNG = np.random.default_rng(0)


@pytest.fixture
def lists(tmp_path):
    """Two 12x16 frames in the list layout; the second mask is smaller, 7x10."""
    lines = []
    for index, size in enumerate([(12, 16), (7, 10)]):
        arrays = {
            "rgb": RNG.integers(0, 256, (12, 16, 3), dtype=np.uint8),
            "masks": RNG.integers(0, 40, size, dtype=np.uint8),
            "depth": RNG.integers(300, 40000, (12, 16)).astype(np.uint16),
        }
        for name, array in arrays.items():
            (tmp_path / name).mkdir(exist_ok=True)
            Image.fromarray(array).save(tmp_path / name / f"{index}.png")
        lines.append("\t".join(f"{name}/{index}.png" for name in arrays))
    (tmp_path / "train.txt").write_text("\n".join(lines) + "\n\n")
    return tmp_path


def decoded(path):
    return np.asarray(Image.open(path))


def test_lists_on_real_frames(layouts):
    dataset = NYUDv2Lists(layouts / "nyudv2", "val.txt")
    assert len(dataset) == 4
    for index, stem in enumerate(("000001", "000009", "000015", "000017")):
        sample = dataset[index]
        root = layouts / "nyudv2"
        assert sample["sample_id"] == stem
        np.testing.assert_array_equal(sample["rgb"], decoded(root / "rgb" / f"{stem}.png"))
        np.testing.assert_array_equal(sample["label"], decoded(root / "masks" / f"{stem}.png"))
        np.testing.assert_allclose(sample["depth"], decoded(root / "depth" / f"{stem}.png") / 5000, rtol=1e-6)
        assert 0.3 < sample["depth"][sample["depth"] > 0].min() < sample["depth"].max() < 11


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


def test_encoded_labels_of_the_lists_are_the_masks(lists):
    dataset = NYUDv2Lists(lists)
    label = dataset.read(0)["label"]
    np.testing.assert_array_equal(dataset.encode_label(label), label)


def test_train_depth_statistics(nyuv2_320x240):
    """Published for all 795 frames: 2.845 / 1.418 m. Every third frame gives them within 3 %."""
    dataset = NYUDv2Folders(nyuv2_320x240, modalities=("depth",))
    depths = np.stack([dataset.read(i)["depth"][::4, ::4] for i in range(0, 795, 3)])
    assert depths.min() > 0
    assert depths.mean() == pytest.approx(2.845, rel=0.03)
    assert depths.std() == pytest.approx(1.418, rel=0.03)


def test_classes_are_the_published_ones(nyuv2_320x240):
    lines = (nyuv2_320x240 / "classes.txt").read_text().splitlines()
    published = dict(line.split(maxsplit=1) for line in lines)
    names = [published[str(k + 1)].replace("_", " ").replace("fridger", "friger") for k in range(40)]
    assert list(NYUDV2_CLASSES) == names


def test_palette_is_the_standard_one():
    assert bitwise_palette(9) == [
        [0, 0, 0],
        [128, 0, 0],
        [0, 128, 0],
        [128, 128, 0],
        [0, 0, 128],
        [128, 0, 128],
        [0, 128, 128],
        [128, 128, 128],
        [64, 0, 0],
    ]
    assert NYUDV2_PALETTE[0] == [128, 0, 0]
    assert len({tuple(colour) for colour in bitwise_palette(256)}) == 256


def test_smaller_mask_crops_the_images(lists):
    sample = NYUDv2Lists(lists)[1]
    rgb, depth = decoded(lists / "rgb" / "1.png"), decoded(lists / "depth" / "1.png")
    np.testing.assert_array_equal(sample["rgb"], rgb[2:9, 3:13])
    np.testing.assert_allclose(sample["depth"], depth[2:9, 3:13] / 5000, rtol=1e-6)
    np.testing.assert_array_equal(sample["label"], decoded(lists / "masks" / "1.png"))


def test_larger_mask_is_refused(lists):
    Image.fromarray(np.zeros((13, 16), np.uint8)).save(lists / "masks" / "1.png")
    with pytest.raises(ValueError, match=r"train\.txt:2:.*12x16 is smaller than its mask, 13x16"):
        NYUDv2Lists(lists)[1]


@pytest.mark.parametrize("order", [(0, 2, 1), (1, 0, 2), (2, 1, 0), (2, 0, 1), (1, 2, 0)])
def test_swapped_columns_name_the_line(lists, order):
    lines = (lists / "train.txt").read_text().splitlines()
    swapped = "\t".join(lines[0].split("\t")[k] for k in order)
    (lists / "train.txt").write_text(f"\n{swapped}\n")
    with pytest.raises(ValueError, match=r"train\.txt:2: .*columns must be rgb, masks, depth"):
        NYUDv2Lists(lists)
    (lists / "train.txt").write_text(f"{lines[0]}\n{swapped}\n")
    with pytest.raises(ValueError, match=r"train\.txt:2: "):
        NYUDv2Lists(lists)[1]


@pytest.mark.parametrize(
    "line", ["rgb/0.png\tmasks/0.png", "rgb/0.png masks/0.png depth/0.png", "rgb/0.png\t\tdepth/0.png"]
)
def test_missing_columns_name_the_line(lists, line):
    (lists / "train.txt").write_text(f"rgb/0.png\tmasks/0.png\tdepth/0.png\n{line}\n")
    with pytest.raises(ValueError, match=r"train\.txt:2: expected 3 tab-separated columns"):
        NYUDv2Lists(lists)


def test_labels_off_by_one_are_caught(lists):
    Image.fromarray(np.full((12, 16), 40, np.uint8)).save(lists / "masks" / "0.png")
    with pytest.raises(ValueError, match=r"masks.0\.png.*\[40\] are outside 0\.\.39.*offset of 1"):
        NYUDv2Lists(lists)[0]


def test_missing_files_name_the_line(lists):
    (lists / "depth" / "1.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"train\.txt:2: .*1\.png: no such file"):
        NYUDv2Lists(lists)[1]
    assert NYUDv2Lists(lists, modalities=("rgb",))[1]["rgb"].shape == (7, 10, 3)
    with pytest.raises(FileNotFoundError, match=r"val\.txt: no such list"):
        NYUDv2Lists(lists, "val.txt")


def test_folders_exceptions(lists, nyuv2_320x240, tmp_path):
    with pytest.raises(ValueError, match=r"'rgb' and 'depth', found \['hha'\]"):
        NYUDv2Folders(nyuv2_320x240, modalities=("rgb", "hha"))
    with pytest.raises(FileNotFoundError, match=r"val\.txt"):
        NYUDv2Folders(nyuv2_320x240, "val")
    (tmp_path / "label").mkdir()
    shutil.copy(tmp_path / "depth" / "0.png", tmp_path / "label" / "0.png")
    (tmp_path / "some.txt").write_text("0\n")
    with pytest.raises(ValueError, match=r"label.0\.png"):
        NYUDv2Folders(tmp_path, "some")


def test_holdout_parts_are_disjoint(nyuv2_320x240):
    training = NYUDv2Folders(nyuv2_320x240, holdout="exclude").stems
    held = NYUDv2Folders(nyuv2_320x240, holdout="only").stems
    assert not set(training) & set(held)
    assert len(training) + len(held) == 795
