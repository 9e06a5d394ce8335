"""Folders as people have them: what is proposed for each, written down here, and that it reads the images."""

from __future__ import annotations

import tomllib

import cv2
import numpy as np
import pytest
from PIL import Image

from rgbx.datasets import FolderDataset, build_dataset, propose
from rgbx.datasets.layouts.contents import depth_scale, is_stretched
from rgbx.datasets.layouts.pairing import find_groups

COUNT, SIZE = 6, (24, 32)


def images(index):
    """rgb with texture, depth in millimetres, ids 0..2 in even areas."""
    random = np.random.default_rng(index)
    label = np.kron(random.permutation(12).reshape(3, 4) % 3, np.ones((8, 8))).astype(np.uint8)
    rgb = random.integers(0, 255, (*SIZE, 3)).astype(np.uint8)
    return rgb, (1500 + 300 * label.astype(int) + random.integers(0, 99, SIZE)).astype(np.uint16), label


def save(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npy":
        np.save(path, array)
    else:
        assert cv2.imwrite(str(path), array[..., ::-1] if array.ndim == 3 else array)


def fill(root, *patterns, depth=lambda d: d, label=lambda ids: ids, count=COUNT):
    """Writes frames at patterns of rgb, depth and label; {i} is the frame's number, {part} its split."""
    for index in range(count):
        rgb, metres, ids = images(index)
        for pattern, array in zip(patterns, (rgb, depth(metres), label(ids)), strict=True):
            save(root / pattern.format(i=f"{index:04d}", part="train" if index < 4 else "test"), array)


def table(folder, prefix="", suffix=".png"):
    entry = {"folder": folder, "prefix": prefix, "suffix": suffix}
    return {key: value for key, value in entry.items() if value not in ("", ".png")}


ALL = {"train": "."}
PARTS = {"train": "train", "test": "test"}
LAYOUTS = {  # patterns of the files; tables of rgb, depth and label; splits
    "folders": (
        ("images/{i}.jpg", "depths/{i}.png", "masks/{i}.png"),
        (table("{split}/images", suffix=".jpg"), table("{split}/depths"), table("{split}/masks")),
        ALL,
    ),
    "nothing in the names": (
        ("a/{i}.png", "b/{i}.png", "c/{i}.png"),
        (table("{split}/a"), table("{split}/b"), table("{split}/c")),
        ALL,
    ),
    "prefixes and a folder": (
        ("rgb_{i}.png", "depth_{i}.png", "masks/{i}.png"),
        (table("{split}", "rgb_"), table("{split}", "depth_"), table("{split}/masks")),
        ALL,
    ),
    "prefixes without a mark": (
        ("color{i}.png", "depth{i}.png", "label{i}.png"),
        (table("{split}", "color"), table("{split}", "depth"), table("{split}", "label")),
        ALL,
    ),
    "prefixes in folders": (
        ("rgb/rgb_{i}.png", "depth/depth-{i}.png", "gt/{i}.png"),
        (table("{split}/rgb", "rgb_"), table("{split}/depth", "depth-"), table("{split}/gt")),
        ALL,
    ),
    "suffixes": (
        ("{i}_rgb.png", "{i}_depth.png", "{i}_seg.png"),
        tuple(table("{split}", suffix=f"_{word}.png") for word in ("rgb", "depth", "seg")),
        ALL,
    ),
    "scenes": (
        ("scene1/{i}_color.jpg", "scene1/{i}_depth.png", "scene1/{i}_labels40.png"),
        tuple(table("{split}/scene1", suffix=f"_{word}") for word in ("color.jpg", "depth.png", "labels40.png")),
        ALL,
    ),
    "dotted suffixes": (
        ("color/frame-{i}.color.jpg", "depth/frame-{i}.depth.png", "label/frame-{i}.label.png"),
        (
            table("{split}/color", suffix=".color.jpg"),
            table("{split}/depth", suffix=".depth.png"),
            table("{split}/label", suffix=".label.png"),
        ),
        ALL,
    ),
    "formats of one stem": (
        ("{i}.jpg", "{i}.png", "mask/{i}.png"),
        (table("{split}", suffix=".jpg"), table("{split}"), table("{split}/mask")),
        ALL,
    ),
    "splits outside": (
        ("{part}/image/{i}.png", "{part}/depth_raw/{i}.png", "{part}/semantic/{i}.png"),
        (table("{split}/image"), table("{split}/depth_raw"), table("{split}/semantic")),
        PARTS,
    ),
    "splits inside": (
        ("images/{part}/{i}.png", "depth/{part}/{i}.png", "labels/{part}/{i}.png"),
        (table("images/{split}"), table("depth/{split}"), table("labels/{split}")),
        PARTS,
    ),
    "splits in names": (
        ("rgb_{part}/{i}.png", "depth_{part}/{i}.png", "label_{part}/{i}.png"),
        (table("rgb_{split}"), table("depth_{split}"), table("label_{split}")),
        PARTS,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", LAYOUTS)
def test_layouts(tmp_path, name):
    patterns, tables, splits = LAYOUTS[name]
    fill(tmp_path, *patterns)
    proposal = propose(tmp_path)
    assert proposal.frames == COUNT and list(proposal.maps) == ["rgb", "depth", "label"]
    declared = tomllib.loads(proposal.text)
    assert declared["splits"] == splits
    assert declared["modalities"]["rgb"] == {**tables[0], "unit": "rgb8"}
    assert declared["modalities"]["depth"] == {**tables[1], "unit": "metre", "scale": 1000}
    assert declared["label"] == tables[2]
    assert declared["classes"]["names"] == ["class 0", "class 1", "class 2"]
    assert not [note for note in proposal.notes if "reading says" in note]
    (tmp_path / "dataset.toml").write_text(proposal.text)
    read = build_dataset(tmp_path)[1]
    rgb, depth, label = images(1)
    assert np.array_equal(read["depth"], depth / np.float32(1000)) and np.array_equal(read["label"], label)
    assert np.array_equal(read["rgb"], rgb) or ".jpg" in patterns[0]


@pytest.mark.parametrize(
    ("ids", "entry", "classes"),
    [
        (lambda ids: np.where(ids > 0, 255, 0), {"values": [0, 255]}, 2),
        (lambda ids: ids * 127, {"values": [0, 127, 254]}, 3),
        (lambda ids: np.array([38, 75, 113])[ids], {"values": [38, 75, 113]}, 3),
        (lambda ids: ids + 1, {"offset": 1, "void": [0]}, 3),
        (lambda ids: np.array([0, 1, 255])[ids], {}, 2),
        (lambda ids: np.array([0, 3, 7])[ids], {}, 8),
        (lambda ids: np.array([[0, 0, 0], [0, 128, 0], [128, 0, 0]])[ids], {"colours": True}, 3),
    ],
)
def test_classes_from_stored_values(tmp_path, ids, entry, classes):
    fill(tmp_path, "rgb/{i}.png", "depth/{i}.png", "mask/{i}.png", label=lambda stored: ids(stored).astype(np.uint8))
    declared = tomllib.loads(propose(tmp_path).text)
    assert declared["label"] == {"folder": "{split}/mask", **entry}
    assert len(declared["classes"]["names"]) == classes
    if "colours" in entry:
        assert declared["classes"]["palette"] == [[0, 0, 0], [0, 128, 0], [128, 0, 0]]


@pytest.mark.parametrize(
    ("stored", "suffix", "expected"),
    [
        (lambda d: d * 5, "png", {"unit": "metre", "scale": 5000}),
        (lambda d: d / np.float32(1000), "tiff", {"unit": "metre", "scale": 1}),
        (lambda d: d / np.float32(1000), "npy", {"unit": "metre", "scale": 1}),
        (lambda d: d.astype(np.float32), "npy", {"unit": "metre", "scale": 1000}),
        (lambda d: d // 10, "png", {"unit": "metre", "scale": 100}),
        (lambda d: (d // 10).astype(np.uint8), "png", {"unit": "relative"}),
    ],
)
def test_units_of_depth(tmp_path, stored, suffix, expected):
    fill(tmp_path, "rgb/{i}.png", f"depth/{{i}}.{suffix}", "mask/{i}.png", depth=stored)
    found = tomllib.loads(propose(tmp_path).text)["modalities"]["depth"]
    assert {key: found[key] for key in ("unit", "scale") if key in found} == expected


def test_units_far_from_rooms():
    """A lidar's sparse 1/256 m up to 70 m, and a median that millimetres would put at 12.5 m."""
    road = np.random.default_rng(0).uniform(5, 70, 4000)
    assert depth_scale(np.floor(road * 256), floats=False, holes=0.8)[0] == 256
    assert depth_scale(np.arange(12001.0, 13000), floats=False, holes=0.0)[0] == 5000
    assert depth_scale(np.zeros(0), floats=False, holes=1.0)[0] == 1000


def test_thermal_pairs(tmp_path):
    for index in range(COUNT):
        rgb, depth, _ = images(index)
        save(tmp_path / f"Vis/{index}.png", rgb)
        save(tmp_path / f"Ir/{index}.png", (28000 + depth // 2).astype(np.uint16))
    declared = tomllib.loads(propose(tmp_path).text)
    thermal = declared["modalities"]["thermal"]
    assert (thermal["unit"], thermal["scale"], thermal["add"]) == ("sensor", 100, -273.15)
    assert "classes" not in declared and "label" not in declared


def test_lists_are_found(tmp_path):
    fill(tmp_path, "rgb/{i}.jpg", "depth/{i}.png", "label/{i}.png")
    (tmp_path / "train.txt").write_text("0000\n0002\n")
    (tmp_path / "splits").mkdir()
    (tmp_path / "splits/val_list.txt").write_text("rgb/0001.jpg\n")
    (tmp_path / "test.txt").write_text("notes of a test, no list\n")
    proposal = propose(tmp_path)
    assert tomllib.loads(proposal.text)["splits"] == {"train": "train.txt", "val": "splits/val_list.txt"}
    (tmp_path / "dataset.toml").write_text(proposal.text)
    assert FolderDataset(tmp_path).stems == ["0000", "0002"] and FolderDataset(tmp_path, "val").stems == ["0001"]


def test_what_has_no_partner_is_told(tmp_path):
    fill(tmp_path, "rgb/{i}.png", "depth/{i}.png", "label/{i}.png")
    (tmp_path / "depth/0003.png").unlink()
    (tmp_path / "label/0000.png").unlink()
    save(tmp_path / "preview.png", images(0)[0])
    save(tmp_path / "depth_vis/0001.png", images(0)[0])
    proposal = propose(tmp_path)
    assert tomllib.loads(proposal.text)["splits"]["train"] == ["0001", "0002", "0004", "0005"]
    told = " ".join(proposal.notes)
    assert "depth_vis/*.png: left out, as depth/*.png is the depth" in told and "preview" not in proposal.maps.values()
    assert "rgb: 2 stems lack a file" in told and all(f"# Note: {note}" in proposal.text for note in proposal.notes)


def test_no_frames(tmp_path):
    assert propose(tmp_path).text is None and "no images" in propose(tmp_path).notes[0]
    for index in range(3):
        save(tmp_path / f"rgb/{1305031102 + index}.175304.png", images(index)[0])
        save(tmp_path / f"depth/{1305041102 + index}.160407.png", images(index)[1])
    proposal = propose(tmp_path)
    assert proposal.text is None and "time of recording" in proposal.notes[0]
    with pytest.raises(FileNotFoundError, match="nowhere"):
        propose(tmp_path / "nowhere")


@pytest.mark.parametrize("unit", ["seconds", "nanoseconds"])
def test_files_named_by_the_time_of_recording(tmp_path, unit):
    for index in range(6):
        times = [1305031102 + index / 5, 1305031102.04 + index / 10]
        names = [f"{time:.6f}" if unit == "seconds" else f"{round(time * 10**9)}" for time in times]
        save(tmp_path / f"rgb/{names[0]}.png", images(index)[0])
        save(tmp_path / f"depth/{names[1]}.png", images(index)[1])
    proposal = propose(tmp_path)
    assert proposal.frames == 4 and f"by their time in {unit};" in proposal.text
    assert any("2 rgb frames have no depth, 2 depth frames have no rgb" in note for note in proposal.notes)
    assert tomllib.loads(proposal.text)["splits"] == {"train": {"rgb": "rgb", "depth": "depth", "max_gap": 0.1}}
    (tmp_path / "dataset.toml").write_text(proposal.text)
    dataset = FolderDataset(tmp_path)
    assert len(dataset) == 4 and {name: len(items) for name, items in dataset.stamps.items()} == {"rgb": 6, "depth": 6}


def test_the_gap_of_a_recording_is_of_its_modalities(tmp_path):
    """Labels at 2.5 Hz do not widen it: RGB at 10 Hz has half a frame of 0.05 s. Two files of one time are told."""
    for index in range(12):
        save(tmp_path / f"rgb/{1305031102 + index / 10:.6f}.png", images(index)[0])
        save(tmp_path / f"depth/{1305031102.01 + index / 30:.6f}.png", images(index)[1])
    for index in range(3):
        save(tmp_path / f"label/{1305031102.02 + index / 2.5:.6f}.png", np.full((24, 32), index % 2, np.uint8))
    text = propose(tmp_path).text
    assert "\n[splits.train]\n" in text and tomllib.loads(text)["splits"]["train"]["max_gap"] == 0.05
    double = tmp_path / f"depth/{1305031102.01 + 1 / 30:.6f}0.png"
    save(double, images(0)[1])
    proposal = propose(tmp_path)
    assert "the timestamp 1305031102.043333 is there already" in proposal.notes[0] and double.name in proposal.notes[0]


def test_files_that_are_no_data(tmp_path):
    """Hidden and damaged files, a link to the folder above, and a name that no text can hold."""
    fill(tmp_path, "rgb/{i}.png", "depth/{i}.png", "label/{i}.png")
    (tmp_path / "label/._0000.png").write_bytes(b"\0\5\26\7")
    (tmp_path / "rgb/again").symlink_to(tmp_path)
    (tmp_path / "depth/0000.png").write_bytes(b"no image")
    assert {len(group.files) for group in find_groups(tmp_path)} == {COUNT}
    (tmp_path / "rgb/again").unlink()
    assert "damaged" in " ".join(propose(tmp_path).notes)
    save(tmp_path / "rgb/a\nb.png", images(0)[0])
    with pytest.raises(ValueError, match="rename it"):
        propose(tmp_path)


def test_an_unknown_folder_says_what_may_be_declared(tmp_path):
    fill(tmp_path, "images/{i}.png", "depths/{i}.png", "masks/{i}.png")
    with pytest.raises(ValueError, match=r"6 frames seem to lie there: rgb in images/\*\.png, .*\n.*--write-toml"):
        build_dataset(tmp_path)


@pytest.mark.parametrize(
    ("values", "expected"),
    [([0, 255], True), ([0, 127, 254], True), ([0, 128, 255], True), ([0, 10, 20, 30], True), ([0, 1, 2], False),
     ([0, 3, 7], False), ([0, 5, 10], False), ([1, 128, 255], False), ([], False), ([0], False)],
)  # fmt: skip
def test_stretched_ids(values, expected):
    assert is_stretched(values) is expected


@pytest.mark.parametrize("damage", ["empty", "archive", "grey"])
def test_odd_files_among_readable_ones(tmp_path, damage):
    """Arrays that are none are passed over; of labels in colours, the odd one is told by name."""
    random = np.random.default_rng(0)
    for index in range(10):
        rgb = random.integers(0, 256, (24, 32, 3)).astype(np.uint8)
        label = np.repeat(np.array([[[0, 0, 255]], [[255, 0, 0]]], np.uint8), 12, axis=0).repeat(32, axis=1)
        for name, array in (("images", rgb), ("masks", label)):
            (tmp_path / name).mkdir(exist_ok=True)
            cv2.imwrite(f"{tmp_path}/{name}/{index}.png", array)
        (tmp_path / "depth").mkdir(exist_ok=True)
        np.save(tmp_path / f"depth/{index}.npy", random.uniform(1, 4, (24, 32)).astype(np.float32))
    first = tmp_path / "depth/0.npy"
    if damage == "grey":
        cv2.imwrite(f"{tmp_path}/masks/9.png", np.full((24, 32), 7, np.uint8))
        (tmp_path / "masks/5.png").write_bytes(b"")
    elif damage == "empty":
        first.write_bytes(b"")
    else:
        with first.open("wb") as file:
            np.savez(file, a=np.zeros(3))
    proposal = propose(tmp_path)
    assert list(proposal.maps) == ["rgb", "depth", "label"] and "scale = 1 " in proposal.text
    told = "masks/5.png" if damage == "grey" else "depth/0.npy"
    assert any(told in note for note in proposal.notes)


@pytest.mark.parametrize("colours", [False, True])
def test_labels_that_reading_refuses_make_no_declaration(tmp_path, colours):
    """JPEG: whatever were declared for it would be refused, so nothing is, and the reason is told."""
    random = np.random.default_rng(0)
    for stem in "abc":
        for folder in ("images", "masks"):
            (tmp_path / folder).mkdir(exist_ok=True)
        Image.fromarray(random.integers(0, 255, (24, 32, 3), np.uint8)).save(tmp_path / f"images/{stem}.png")
        ids = np.kron(random.integers(0, 3, (3, 4)), np.ones((8, 8), int)).astype(np.uint8)
        palette = np.array([[200, 0, 0], [0, 200, 0], [0, 0, 200]], np.uint8)
        Image.fromarray(palette[ids] if colours else ids).save(tmp_path / f"masks/{stem}.jpg")
    proposal = propose(tmp_path)
    assert proposal.text is None and any("JPEG" in note for note in proposal.notes), proposal.notes


@pytest.mark.parametrize(
    ("text", "names", "label"),
    [
        ("0 void\n1 wall\n2 floor\n", ["wall", "floor"], {"offset": 1, "void": [0]}),
        ("wall\nfloor\nchair\n", ["wall", "floor", "chair"], {}),
        ("0: wall\n1: unlabelled\n2: chair\n", ["wall", "chair"], {"values": [0, 2], "void": [1]}),
        ("wall\nfloor\n", ["class 0", "class 1", "class 2"], {}),  # 2 has no name
        ("0 wall\nfloor\n2 chair\n", ["class 0", "class 1", "class 2"], {}),  # not clear
        ("a.png\nb.png\nc.png\n", ["class 0", "class 1", "class 2"], {}),  # frames
    ],
)
def test_lists_of_class_names(tmp_path, text, names, label):
    """Labels hold 0, 1 and 2."""
    fill(tmp_path, "images/{i}.png", "depth/{i}.png", "labels/{i}.png")
    (tmp_path / "classes.txt").write_text(text)
    (tmp_path / "dataset.toml").write_text(propose(tmp_path).text)
    declared = tomllib.loads((tmp_path / "dataset.toml").read_text())
    assert declared["classes"]["names"] == names
    assert {key: declared["label"][key] for key in ("offset", "void", "values") if key in declared["label"]} == label
    ids = images(0)[2]
    expected = np.full(ids.shape, 255, np.uint8)
    for index, value in enumerate(label.get("values", range(label.get("offset", 0), 3))):
        expected[ids == value] = index
    np.testing.assert_array_equal(FolderDataset(tmp_path).read(0)["label"], expected)
