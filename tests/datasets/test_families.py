"""Families that are declarations: the same in a file, their choices, and constructors that open no frame."""

from __future__ import annotations

import numpy as np
import pytest
from dataset_frames import decoded, naive_labels, save, write_deliver, write_fmb, write_pst900

from rgbx.datasets import DELIVER, FMB, PST900, FolderDataset, SyntheticRooms
from rgbx.datasets.families.fmb import FMB_CLASSES, FMB_PALETTE
from rgbx.datasets.sample import build_from
from rgbx.transforms import PackSample

WRITTEN = {FMB: write_fmb, PST900: write_pst900, DELIVER: write_deliver}
TOML = """
[classes]
names = {names}
palette = {palette}
[label]
folder = "{{split}}/{label}"
suffix = "*"
{offset}
[modalities.rgb]
folder = "{{split}}/{rgb}"
suffix = "*"
unit = "rgb8"
[modalities.thermal]
folder = "{{split}}/{thermal}"
suffix = "*"
unit = "sensor"
[splits]
train = "train"
"""
FOLDERS = {
    FMB: {"rgb": "Visible", "thermal": "Infrared", "label": "Label", "offset": "offset = 1\nvoid = [0]"},
    PST900: {"rgb": "rgb", "thermal": "thermal", "label": "labels", "offset": ""},
}


@pytest.mark.parametrize(
    ("family", "folders", "options", "classes"),
    [
        (FMB, ("Visible", "Infrared", "Label"), {}, 14),
        (PST900, ("rgb", "thermal", "labels"), {}, 5),
        (PST900, ("rgb", "thermal_raw", "labels"), {"thermal_folder": "thermal_raw"}, 5),
    ],
)
def test_frames(tmp_path, family, folders, options, classes):
    """Images written in the format (no real frames were at hand), against PIL and a loop over pixels."""
    dataset = family(WRITTEN[family](tmp_path, np.random.default_rng(0)), **options)
    assert len(dataset) == 2 and dataset.num_classes == classes
    sample = dataset[1]
    rgb, thermal, raw = (decoded(tmp_path / "train" / name / f"{sample['sample_id']}.png") for name in folders)
    np.testing.assert_array_equal(sample["rgb"], rgb)
    assert sample["thermal"].dtype == np.float32
    np.testing.assert_array_equal(sample["thermal"], thermal)
    void = {0} if family is FMB else set()
    assert {0, classes if void else classes - 1} <= set(raw.flat)
    np.testing.assert_array_equal(sample["label"], naive_labels(raw, len(void), void))


def test_classes_of_fmb_are_those_of_the_paper():
    """Section 4 of arXiv 2308.02097, in the order of the label values."""
    paper = "Road, Sidewalk, Building, Traffic Light, Traffic Sign, Vegetation, Sky, Person, Car, Truck, Bus, "
    paper += "Motorcycle, Bicycle, Pole"
    assert ", ".join(FMB_CLASSES) == paper.lower()
    assert len({tuple(colour) for colour in FMB_PALETTE}) == 14


def test_what_is_missing_is_found_when_it_is_built(tmp_path):
    write_fmb(tmp_path, np.random.default_rng(0))
    with pytest.raises(ValueError, match=r"FMB has the modalities 'rgb' and 'thermal', found \['depth'\]"):
        FMB(tmp_path, modalities=("rgb", "depth"))
    (tmp_path / "train" / "Infrared" / "00001.png").unlink()
    with pytest.raises(
        FileNotFoundError,
        match=r"Infrared.00001\.png: no such file; thermal of 1 of 2 frames is missing, such as \['00001'\]",
    ):
        FMB(tmp_path)
    assert len(FMB(tmp_path, modalities=("rgb",))) == 2
    with pytest.raises(FileNotFoundError, match=r"test.Visible: no such folder"):
        FMB(tmp_path, "test")


def test_wrong_labels_are_named(tmp_path):
    save(write_fmb(tmp_path, np.random.default_rng(0)) / "train/Label/00000.png", np.full((12, 16), 15, np.uint8))
    with pytest.raises(ValueError, match=r"00000\.png.*ids \[14\] are outside 0\.\.13"):
        FMB(tmp_path)[0]


@pytest.mark.parametrize("family", FOLDERS)
def test_the_same_declaration_in_a_file(tmp_path, family):
    theirs = family(WRITTEN[family](tmp_path, np.random.default_rng(0)))
    names = [str(name) for name in theirs.classes]
    (tmp_path / "dataset.toml").write_text(TOML.format(names=names, palette=theirs.palette, **FOLDERS[family]))
    ours = FolderDataset(tmp_path)
    assert ours.frames == theirs.frames
    one, other = ours.metainfo, theirs.metainfo
    assert one.pop("stored") == {"thermal": {"scale": 1.0, "add": 0.0}} and other.pop("stored") == {"thermal": {}}
    assert one == other
    for mine, its in zip(ours, theirs, strict=True):
        assert mine.keys() == its.keys() and mine["paths"] == its["paths"]
        for name in ("rgb", "thermal", "label"):
            np.testing.assert_array_equal(mine[name], its[name])


@pytest.mark.parametrize("family", WRITTEN)
def test_constructors_open_no_frame(tmp_path, family):
    WRITTEN[family](tmp_path, np.random.default_rng(0))
    for path in tmp_path.rglob("*.png"):
        path.write_bytes(b"")
    dataset = family(tmp_path)
    with pytest.raises(ValueError, match="is truncated"):
        dataset[0]


def test_a_missing_file_names_a_folder_and_a_suffix_of_its_own(tmp_path):
    write_fmb(tmp_path, np.random.default_rng(0), count=3)
    (tmp_path / "train" / "Visible" / "00001.png").rename(tmp_path / "train" / "Visible" / "00001.jpg")
    assert [frame.files["rgb"].suffix for frame in FMB(tmp_path).frames] == [".png", ".jpg", ".png"]
    (tmp_path / "train" / "Label" / "00002.png").unlink()
    with pytest.raises(
        FileNotFoundError,
        match=r"Label.00002\.png: no such file; label of 1 of 3 frames is missing, such as \['00002'\]",
    ):
        FMB(tmp_path)


def test_unknown_choices(tmp_path):
    write_pst900(tmp_path, np.random.default_rng(0))
    with pytest.raises(ValueError, match=r"thermal_folder must be 'thermal' or 'thermal_raw', found 'thermal16'"):
        PST900(tmp_path, thermal_folder="thermal16")
    with pytest.raises(TypeError, match="PST900 got an unexpected keyword argument 'depth_kind'"):
        PST900(tmp_path, depth_kind="depth")


@pytest.mark.parametrize("kind", [SyntheticRooms, "rgbx.datasets.rooms.dataset.SyntheticRooms"])
@pytest.mark.parametrize("pack", [PackSample, "rgbx.transforms.packing.PackSample"])
def test_building_from_a_config(kind, pack):
    """Dumped configs name classes in full."""
    built = build_from({"type": kind, "num_frames": 3, "size": (24, 32), "transforms": [{"type": pack}]})
    assert isinstance(built, SyntheticRooms) and len(built) == 3
    assert isinstance(built.transforms[0], PackSample) and built.transforms[0].maps == built.maps


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"type": "SyntheticRooms"}, r"expected dict\(type=Class, \*\*arguments\) .*found type='SyntheticRooms'"),
        ({"split": "train"}, "found type=None"),
        ({"type": "rgbx.datasets.Room"}, "type='rgbx.datasets.Room' cannot be imported"),
    ],
)
def test_what_cannot_be_built(config, message):
    with pytest.raises(ValueError, match=message):
        build_from(config)
