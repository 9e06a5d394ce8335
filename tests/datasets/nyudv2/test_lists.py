"""The lists of NYUDv2 against raw values decoded by PIL, and lists and labels that are wrong."""

from __future__ import annotations

import numpy as np
import pytest
from dataset_frames import decoded
from PIL import Image

from rgbx.datasets import NYUDv2Lists

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


@pytest.mark.parametrize("label_offset", [0, 1])
def test_encoded_labels_are_the_masks(lists, label_offset):
    """Void in these files is 255, or the values below the offset."""
    dataset = NYUDv2Lists(lists, label_offset=label_offset)
    label = dataset.read(0)["label"]
    np.testing.assert_array_equal(dataset.encode_label(label), decoded(lists / "masks" / "0.png"))


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
        NYUDv2Lists(lists)[0]
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
