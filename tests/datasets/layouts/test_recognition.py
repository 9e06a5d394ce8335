"""Layouts are recognised from real frames and from images in the format of a dataset, and never guessed."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from dataset_frames import colours, grey, save, write_deliver, write_fmb, write_pst900

from rgbx.datasets import (
    FMB,
    PST900,
    Cityscapes,
    FolderDataset,
    NYUDv2Lists,
    SyntheticRooms,
    Taskonomy,
    build_dataset,
    recognise,
    split_names,
)

RNG = np.random.default_rng(0)


def write_mfnet(root, folders):
    for folder in folders:
        save(root / folder / "00001D.png", grey(RNG, 0, 9))


def write_pix2pix(root):
    save(root / "train" / "1.png", colours(RNG, 3, (8, 16)))


def write_declared(root):
    write_fmb(root, RNG)
    (root / "dataset.toml").write_text(
        'modalities.rgb = {folder = "{split}/Visible", unit = "rgb8"}\nsplits.train = "train"\n'
    )


def write_cmx(root, label, stem):
    for folder in ("RGB", "Depth", label):
        save(root / folder / f"{stem}.png", grey(RNG, 0, 38))
    (root / "train.txt").write_text(f"RGB/{stem}.png {label}/{stem}.png\n")


def write_lists(root, void):
    save(root / "masks" / "1.png", np.append(grey(RNG, 1, 38), np.full((1, 16), void, np.uint8), axis=0))
    (root / "train.txt").write_text("rgb/1.png\tmasks/1.png\tdepth/1.png\n")


def write_esanet(root):
    for folder in ("rgb", "depth", "depth_raw", "labels_40"):
        save(root / "train" / folder / "0001.png", grey(RNG, 0, 41))


def write_rooms(root):
    SyntheticRooms(root=root, split="test", num_frames=1, size=(24, 32), seed=5)[0]


WRITTEN = {
    "NYUDv2CMX": lambda root: write_cmx(root, "Label", "0"),
    "SUNRGBD": lambda root: write_cmx(root, "labels", "train_0"),
    "NYUDv2Lists": lambda root: write_lists(root, 255),
    "SUNRGBDLists": lambda root: write_lists(root, 0),
    "NYUDv2ESANet": write_esanet,
    "NYUDv2Mat": lambda root: (root / "nyu_depth_v2_labeled.mat").touch(),
    "FMB": lambda root: write_fmb(root, RNG),
    "PST900": lambda root: write_pst900(root, RNG, "test"),
    "DELIVER": lambda root: write_deliver(root, RNG),
    "MFNet": lambda root: write_mfnet(root, ("RGB", "Modal", "Label")),
    "SyntheticRooms": write_rooms,
    "SideBySide": write_pix2pix,
    "your own dataset": write_declared,
}


@pytest.fixture
def logged(caplog):
    caplog.set_level("INFO", "rgbx")
    return caplog


@pytest.mark.parametrize("name", WRITTEN)
def test_written_layouts(tmp_path, name):
    WRITTEN[name](tmp_path)
    assert [candidate.layout.name for candidate in recognise(tmp_path)] == [name]


@pytest.mark.parametrize(
    ("folder", "name", "evidence"),
    [
        ("NYUDepthv2", "NYUDv2CMX", "it has RGB/, Depth/, Label/"),
        ("sunrgbd", "SUNRGBDFolders", "it has image/, label37/"),
        ("nyudv2", "NYUDv2Lists", "train.txt begins with three tab-separated columns"),
        ("cityscapes", "Cityscapes", "it has leftImg8bit/, gtFine/"),
        ("mfnet", "MFNet", ".png has four channels"),
        ("taskonomy", "Taskonomy", "it holds reshading/point_"),
    ],
)
def test_real_layouts(layouts, folder, name, evidence):
    (candidate,) = recognise(layouts / folder)
    assert candidate.layout.name == name and candidate.root == layouts / folder
    assert any(evidence in text for text in candidate.evidence)


def test_real_folders(nyuv2_320x240):
    assert [candidate.layout.name for candidate in recognise(nyuv2_320x240)] == ["NYUDv2Folders"]


def test_builds_what_the_class_builds(layouts, logged):
    dataset = build_dataset(layouts / "nyudv2", "val", modalities=("depth",))
    assert type(dataset) is NYUDv2Lists
    own = NYUDv2Lists(layouts / "nyudv2", "val.txt", modalities=("depth",))
    np.testing.assert_array_equal(dataset[1]["depth"], own[1]["depth"])
    assert dataset.provenance.startswith("NYUDv2Lists ({train,val}.txt")
    assert logged.messages == [f"{layouts / 'nyudv2'} is {dataset.provenance}"]
    views = build_dataset(layouts / "taskonomy", "val", sources=("depth",), targets=("normal",))
    assert type(views) is Taskonomy and views.targets == ("normal",)
    streets = build_dataset(layouts / "cityscapes", "val", modalities=("rgb",), label_kind="labelTrainIds")
    assert type(streets) is Cityscapes and streets.label_kind == "labelTrainIds"


@pytest.mark.parametrize(("name", "kind"), [("FMB", FMB), ("your own dataset", FolderDataset)])
def test_builds_written_layouts(tmp_path, logged, name, kind):
    WRITTEN[name](tmp_path)
    assert type(build_dataset(tmp_path)) is kind


def test_lists_without_masks_may_be_either(tmp_path):
    write_lists(tmp_path, 255)
    (tmp_path / "masks" / "1.png").unlink()
    with pytest.raises(ValueError, match="several known layouts") as error:
        build_dataset(tmp_path)
    assert "- NYUDv2Lists" in str(error.value) and "- SUNRGBDLists" in str(error.value)


def test_swapped_columns_are_named_with_list_and_line(layouts, tmp_path):
    shutil.copytree(layouts / "nyudv2", tmp_path / "nyudv2")
    for name in ("train.txt", "val.txt"):
        lines = [line.split("\t") for line in (layouts / "nyudv2" / name).read_text().splitlines()]
        swapped = "".join(f"{rgb}\t{depth}\t{masks}\n" for rgb, masks, depth in lines)
        (tmp_path / "nyudv2" / name).write_text(swapped)
    with pytest.raises(ValueError, match=r"train\.txt:1: label .*depth.*columns must be rgb, masks, depth"):
        build_dataset(tmp_path / "nyudv2", "train")[0]


def test_two_layouts_are_an_error_with_both(tmp_path, logged):
    write_fmb(tmp_path, RNG)
    write_pst900(tmp_path, RNG)
    with pytest.raises(ValueError, match="has several known layouts; name the class") as error:
        build_dataset(tmp_path)
    text = str(error.value)
    assert "- FMB ({train,test}/{Visible,Infrared,Label}/): it has train/Visible/" in text
    assert "- PST900 ({train,test}/{rgb,thermal,labels}/): it has train/rgb/" in text
    assert not logged.messages
    assert type(PST900(tmp_path)) is PST900


def test_nothing_tells_what_was_looked_for_and_found(tmp_path):
    save(tmp_path / "images" / "1.png", colours(RNG))
    (tmp_path / "notes.md").touch()
    with pytest.raises(ValueError, match=r"has no known layout. Found: images/, notes\.md") as error:
        build_dataset(tmp_path)
    for name in ("Cityscapes: {leftImg8bit", "DELIVER: {img", "your own dataset: a dataset.toml"):
        assert f"- {name}" in str(error.value)
    assert "A folder in it" not in str(error.value)


def test_one_level_too_high_is_told(tmp_path):
    write_fmb(tmp_path / "FMB", RNG)
    with pytest.raises(ValueError, match=r"A folder in it has one:\n- FMB/ is FMB"):
        build_dataset(tmp_path)


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such folder"):
        recognise(tmp_path / "nowhere")


def test_rooms_are_built_as_they_were_rendered(tmp_path, logged):
    write_rooms(tmp_path)
    rooms = build_dataset(tmp_path, "test", modalities=("rgb", "thermal"))
    assert (len(rooms), rooms.size, rooms.seed, rooms.num_classes) == (1, (24, 32), 5, 11)
    with pytest.raises(ValueError, match=r"found split 'train'; expected one of test"):
        build_dataset(tmp_path, "train")
    assert [path.name for path in tmp_path.glob("*") if path.is_dir()] == ["test"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("NYUDv2Lists", ("train",)),
        ("SyntheticRooms", ("test",)),
        ("your own dataset", ("train",)),
        ("FMB", ("train", "val", "test")),
    ],
)
def test_split_names(tmp_path, name, expected):
    WRITTEN[name](tmp_path)
    (tmp_path / "trainval.txt").write_text("rgb/1.png\tmasks/1.png\tdepth/1.png\n")
    assert split_names(tmp_path) == expected


def test_split_names_of_other_folders(tmp_path, layouts):
    assert split_names(tmp_path) == ("train", "val", "test")
    assert split_names(layouts / "sunrgbd") == ("all",)


def test_a_file_and_modalities_of_a_translation_set_are_refused(layouts, monkeypatch):
    with pytest.raises(FileNotFoundError, match=r"train\.txt is a file; expected the folder"):
        build_dataset(layouts / "nyudv2" / "train.txt")
    with pytest.raises(ValueError, match="Taskonomy, for translation: give sources= and targets="):
        build_dataset(layouts / "taskonomy", "train", modalities=("rgb",))
    monkeypatch.setenv("HOME", str(layouts))
    assert len(build_dataset("~/nyudv2", "train")) > 0


def test_a_part_is_held_out_of_every_class_of_files(tmp_path):
    """SideBySide takes no holdout itself; rooms are no files."""
    for index in range(6):
        save(tmp_path / "pairs" / "train" / f"{index}.png", colours(RNG, 3, (8, 16)))
    parts = [build_dataset(tmp_path / "pairs", holdout=part) for part in ("exclude", "only", None)]
    names = [[frame.sample_id for frame in part.frames] for part in parts]
    assert names == [["0", "1", "2", "4", "5"], ["3"], ["0", "1", "2", "3", "4", "5"]]
    write_rooms(tmp_path / "rooms")
    with pytest.raises(ValueError, match="SyntheticRooms, of which no part can be held out"):
        build_dataset(tmp_path / "rooms", "test", holdout="only")
