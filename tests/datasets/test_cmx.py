"""The folders of CMX and DFormer: real frames against the same frames in other layouts, and lists of every kind."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from dataset_frames import decoded
from PIL import Image

from rgbx.datasets import SUNRGBD, NYUDv2CMX, NYUDv2Folders, NYUDv2Lists
from rgbx.datasets.families.nyudv2 import NYUDV2_CLASSES
from rgbx.models import Preprocessor

RNG = np.random.default_rng(0)


@pytest.fixture
def folders(tmp_path):
    """Frames 0, 1, a.b and den/2 of 4x5; rgb as PNG, Depth as 8 bits."""
    for name in ("0", "1", "a.b", "den/2"):
        arrays = {
            "RGB": RNG.integers(0, 256, (4, 5, 3), dtype=np.uint8),
            "Depth": RNG.integers(0, 256, (4, 5), dtype=np.uint8),
            "labels": RNG.integers(0, 41, (4, 5), dtype=np.uint8),
        }
        for folder, array in arrays.items():
            path = tmp_path / folder / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(array).save(path)
    return tmp_path


@pytest.mark.parametrize(("split", "other"), [("train", "train.txt"), ("test", "val.txt")])
def test_the_same_frames_in_two_layouts(layouts, split, other):
    """Names count from 0 here and from 1 there; labels must agree in every pixel, depth within half a step."""
    ours = NYUDv2CMX(layouts / "NYUDepthv2", split)
    theirs = NYUDv2Lists(layouts / "nyudv2", other)
    assert len(ours) == len(theirs) == 4
    for index in range(4):
        one, two = ours[index], theirs[index]
        assert int(one["sample_id"]) + 1 == int(two["sample_id"])
        np.testing.assert_array_equal(one["label"], two["label"])
        half_step, truncated = 0.5 * 9.99547 / 255, 0.001  # the 16-bit copy holds whole millimetres
        assert np.abs(one["depth"] - two["depth"]).max() < half_step + truncated
        assert np.abs(one["rgb"].astype(int) - two["rgb"]).mean() < 2.5  # a JPEG of the same picture, not BGR


def test_depth_is_the_320x240_copys(layouts, nyuv2_320x240):
    ours = NYUDv2CMX(layouts / "NYUDepthv2", modalities=("depth",))[0]
    theirs = NYUDv2Folders(nyuv2_320x240, modalities=("depth",))[0]
    assert np.median(np.abs(ours["depth"][::2, ::2] - theirs["depth"])) < 1 / 25.5


def test_hha_is_in_the_order_of_its_name(layouts):
    """Disparity is inverse depth; the floor is low; the angle with gravity tells floor from wall."""
    dataset = NYUDv2CMX(layouts / "NYUDepthv2", "test", modalities=("depth", "hha"))
    floor, wall = NYUDV2_CLASSES.index("floor"), NYUDV2_CLASSES.index("wall")
    for index in range(4):
        sample = dataset[index]
        np.testing.assert_array_equal(sample["hha"], decoded(sample["paths"]["hha"]))
        disparity, height, angle = np.moveaxis(sample["hha"].astype(float), 2, 0)
        assert np.corrcoef(disparity.ravel(), 1 / sample["depth"].ravel())[0, 1] > 0.98
        on_floor, on_wall = sample["label"] == floor, sample["label"] == wall
        assert height[on_floor].mean() < height[~on_floor].mean() - 20
        assert angle[on_floor].mean() < 80 < 120 < angle[on_wall].mean() < 140
    assert dataset.maps["hha"].dtype == "uint8" and dataset.maps["depth"].unit == "metre"


def test_default_statistics_normalise_hha(layouts):
    """Over the eight real frames, each channel has mean 0 and deviation 1."""
    preprocessor = Preprocessor(("hha",), {})
    pixels = [
        preprocessor({"hha": torch.from_numpy(dataset[index]["hha"]).permute(2, 0, 1)[None]})["inputs"]["hha"]
        for dataset in (NYUDv2CMX(layouts / "NYUDepthv2", split, modalities=("hha",)) for split in ("train", "test"))
        for index in range(4)
    ]
    stacked = torch.cat(pixels).double()
    assert stacked.mean((0, 2, 3)).abs().max() < 0.001
    assert (stacked.std((0, 2, 3)) - 1).abs().max() < 0.001


@pytest.mark.parametrize(
    "line",
    ["{0}", "{0}.png", "RGB/{0}.png", "RGB/{0}.jpg", "RGB/{0}.jpg labels/{0}.png", "RGB/{0}.png\tlabels/{0}.png"],
)
@pytest.mark.parametrize("name", ["0", "1", "a.b", "den/2"])
def test_lines_of_every_kind(folders, line, name):
    (folders / "train.txt").write_text(f"\n{line.format(name)}\n")
    sample = NYUDv2CMX(folders)[0]
    assert sample["sample_id"] == name
    np.testing.assert_array_equal(sample["rgb"], decoded(folders / "RGB" / f"{name}.png"))
    values = decoded(folders / "labels" / f"{name}.png").astype(int)
    np.testing.assert_array_equal(sample["label"], np.where(values == 0, 255, values - 1))


def test_depth_of_unknown_scale_is_relative(folders):
    (folders / "train.txt").write_text("0\n")
    dataset = NYUDv2CMX(folders, depth_levels=None)
    assert dataset.maps["depth"].unit == "relative"
    np.testing.assert_allclose(dataset[0]["depth"], decoded(folders / "Depth" / "0.png") / 255, rtol=1e-6)


def test_holdout(folders):
    for name in range(160):
        for folder in ("RGB", "Depth", "labels"):
            (folders / folder / f"{name}.png").touch()
    (folders / "train.txt").write_text("".join(f"{name}\n" for name in range(160)))
    parts = [len(NYUDv2CMX(folders, holdout=part)) for part in ("exclude", "only")]
    assert parts == [144, 16]


def test_exception(folders):
    with pytest.raises(FileNotFoundError, match=r"train\.txt: no such list file"):
        NYUDv2CMX(folders)
    (folders / "train.txt").write_text("\n")
    with pytest.raises(ValueError, match=r"train\.txt: the list is empty"):
        NYUDv2CMX(folders)
    (folders / "train.txt").write_text("0\n1 2 3\n")
    with pytest.raises(ValueError, match=r"train\.txt:2: .*found 3 columns"):
        NYUDv2CMX(folders)
    (folders / "train.txt").write_text("0\n7\n")
    with pytest.raises(FileNotFoundError, match=r"train\.txt:2: .*7\.png: no such file"):
        NYUDv2CMX(folders)[1]
    (folders / "train.txt").write_text("7\n")
    with pytest.raises(FileNotFoundError, match=r"train\.txt:1: .*7\.png: no such file"):
        NYUDv2CMX(folders)
    (folders / "train.txt").write_text("0\n")
    with pytest.raises(FileNotFoundError, match="no folder HHA or hha"):
        NYUDv2CMX(folders, modalities=("rgb", "hha"))
    with pytest.raises(ValueError, match=r"'rgb' and 'depth' and 'hha', found \['thermal'\]"):
        NYUDv2CMX(folders, modalities=("rgb", "thermal"))


@pytest.mark.parametrize("family", [NYUDv2CMX, SUNRGBD])
def test_arrays_in_depth_are_metres(folders, family):
    """As the authors of SA-Gate publish a sample: whatever the images of other copies mean, arrays have their unit."""
    (folders / "train.txt").write_text("0\n1\n")
    for path in (folders / "Depth").glob("*.png"):
        path.unlink()
        np.save(path.with_suffix(".npy"), RNG.random((4, 5), np.float32))
    dataset = family(folders)
    assert [frame.files["depth"].name for frame in dataset.frames] == ["0.npy", "1.npy"]
    assert dataset.maps["depth"].unit == "metre" and dataset.encodings["depth"].scale == 1
