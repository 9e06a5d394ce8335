"""Faults of the files: each is found, alone, and what is close to it but right is not."""

from __future__ import annotations

import itertools

import cv2
import numpy as np
import pytest
from PIL import Image

from rgbx.doctor.columns import mixed_up
from rgbx.doctor.integrity import file_fault, png_fault


@pytest.mark.parametrize(("kind", "orientation"), [("rgb", 3), ("rgb", 6), ("depth", 8), ("label", 2)])
def test_exif_turns(rooms, doctor, kind, orientation):
    """Written by Pillow; what is read stays as stored, and orientation 1 is none."""
    path = rooms / "train" / kind / "003.png"
    for tag in (1, orientation):
        exif = Image.Exif()
        exif[0x0112] = tag
        with Image.open(path) as image:
            image.load()
        image.save(path, exif=exif)
        diagnosis = doctor.examine(rooms)
        assert doctor.problems(diagnosis) == (["orientation warning"] if tag > 1 else [])
    found = doctor.find(diagnosis, "orientation")
    assert found.evidence == {"map": kind, "orientation": orientation, "frames": 1} and str(path) in found.files


def test_clean_rooms(rooms, doctor):
    diagnosis = doctor.examine(rooms, ("train", "test"))
    assert doctor.problems(diagnosis) == []
    assert diagnosis.exit_code == 0
    assert {item.check for item in diagnosis.findings} >= {
        "depth-units",
        "depth-holes",
        "label-balance",
        "registration",
    }


@pytest.mark.parametrize("kind", ["rgb", "depth", "label"])
@pytest.mark.parametrize("index", [0, 3])  # frame 0 also makes the constructor fail
@pytest.mark.parametrize("fault", ["missing", "truncated", "empty", "damaged"])
def test_broken_file(rooms, doctor, kind, index, fault):
    path = rooms / "train" / kind / f"{index:03d}.png"
    data = bytearray(path.read_bytes())
    if fault == "missing" and kind == "rgb":
        pytest.skip("the folder of images is the list")
    if fault == "missing":
        path.unlink()
    else:
        data[len(data) // 2] ^= 0xFF
        path.write_bytes({"truncated": data[: len(data) // 2], "empty": b"", "damaged": data}[fault])
    diagnosis = doctor.examine(rooms)
    assert doctor.problems(diagnosis) == ["files error"]
    found = doctor.find(diagnosis, "files")
    frames = len(diagnosis.splits[0])
    sets = {"sets": {"rgb+depth": frames - 1, "rgb": 1}} if (fault, kind) == ("missing", "depth") else {}
    assert found.evidence == {"files": 1, "kind": fault, **sets}
    assert ("frames by what they have: RGB + depth" in found.message) == ('missing="allow"' in found.fix) == bool(sets)
    assert found.files == (str(path),) and found.frames == {f"train/{index:03d}"}
    assert diagnosis.exit_code == 2


def test_truncation_is_found_outside_the_sample(rooms, doctor):
    drawn = doctor.examine(rooms, samples=1).splits[0].pick(1, 0)
    path = rooms / "train" / "depth" / f"{(drawn[0] + 1) % 12:03d}.png"
    path.write_bytes(path.read_bytes()[:-20])
    diagnosis = doctor.examine(rooms, samples=1)
    assert diagnosis.splits[0].sampled == len(drawn) == 1
    assert doctor.problems(diagnosis) == ["files error"]


def test_jpeg_with_data_behind_its_end_is_whole(tmp_path):
    picture = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    path = tmp_path / "a.jpg"
    cv2.imwrite(str(path), picture)
    data = path.read_bytes()
    path.write_bytes(data + b"x" * 5000)
    assert file_fault(path) == "" and png_fault(path) == ""
    path.write_bytes(data[:-100])
    assert file_fault(path) == f"truncated ({len(data) - 100} bytes)"


@pytest.mark.parametrize("order", list(itertools.permutations(("rgb", "depth", "label")))[1:])
def test_swapped_columns(rooms, doctor, order):
    diagnosis = doctor.examine(rooms, order=order)
    assert doctor.problems(diagnosis) == ["columns error"]
    found = doctor.find(diagnosis, "columns")
    moved = {a for a, b in zip(("rgb", "depth", "label"), order, strict=True) if a != b}
    assert set(found.evidence["swapped"]) == moved
    assert found.certainty == "certain" and len(found.frames) == 12 and found.files[0] == "train.txt:1"


def test_swapped_columns_where_depth_has_8_bits(nyu, doctor):
    options = dict(bits=8, offset=1, classes=[str(k) for k in range(40)], palette=[[0, 0, 0]] * 40)
    assert doctor.problems(doctor.examine(nyu, **options)) == []
    diagnosis = doctor.examine(nyu, order=("rgb", "label", "depth"), **options)
    found = doctor.find(diagnosis, "columns")
    assert set(found.evidence["swapped"]) == {"depth", "label"} and found.certainty == "likely"
    assert len(found.frames) >= 15


def test_grey_images_are_not_swapped_columns(rooms, doctor):
    doctor.edit((rooms / "train/rgb").iterdir(), lambda rgb: rgb[..., 1])
    assert doctor.problems(doctor.examine(rooms)) == []


def test_mixed_up_wants_a_fitting_order():
    colour = np.random.default_rng(0).integers(0, 255, (32, 32, 3), dtype=np.uint8)
    ids = np.zeros((32, 32), np.uint8)
    maps = {}
    assert mixed_up({"rgb": colour, "label": ids}, maps) == ()
    assert mixed_up({"rgb": ids, "label": colour}, maps) == ("rgb", "label")
    assert mixed_up({"rgb": colour, "label": colour}, maps) == ()  # coloured labels are another fault


def test_sizes(rooms, doctor):
    doctor.edit([rooms / "train/label/004.png"], lambda label: label[::2, ::2])
    diagnosis = doctor.examine(rooms)
    assert doctor.problems(diagnosis) == ["sizes error"]
    found = doctor.find(diagnosis, "sizes", "error")
    assert found.frames == {"train/004"} and "label 60x80" in found.message and "rgb 120x160" in found.message


def test_images_cut_while_reading_are_right(rooms, doctor):
    """A smaller mask is this layout's own; another fault of the frame does not make it one of size."""

    class Cut(doctor.Rooms):
        def read_frame(self, frame, names):
            sample = super().read_frame(frame, names)
            height, width = sample["label"].shape
            return {name: array[:height, :width] for name, array in sample.items()}

    doctor.edit([rooms / "train/label/004.png"], lambda label: label[:100, :140])
    assert doctor.problems(doctor.diagnose({"train": lambda: Cut(rooms)})) == []
    doctor.edit([rooms / "train/label/004.png"], lambda label: np.where(label == 1, np.uint8(99), label))
    assert doctor.problems(doctor.diagnose({"train": lambda: Cut(rooms)})) == ["label-range error"]


def test_frames_of_several_sizes_are_a_fact(rooms, doctor):
    for kind in ("rgb", "depth", "label"):
        doctor.edit([rooms / f"train/{kind}/004.png"], lambda array: array[:100, :120])
    diagnosis = doctor.examine(rooms)
    assert doctor.problems(diagnosis) == []
    assert doctor.find(diagnosis, "sizes").evidence["sizes"] == {"120x160": 11, "100x120": 1}


def test_blank(rooms, doctor):
    doctor.edit([rooms / "train/rgb/002.png"], lambda rgb: np.full_like(rgb, 90))
    diagnosis = doctor.examine(rooms)
    assert doctor.problems(diagnosis) == ["blank warning"]
    assert doctor.find(diagnosis, "blank").frames == {"train/002"}


@pytest.mark.parametrize("kind", ["depth", "label"])
def test_arrays_are_looked_at_like_images(rooms, doctor, kind):
    """Depth and labels as .npy: clean ones are, a cut one is named, and collapsed depth is found in them too."""
    for path in sorted((rooms / "train" / kind).iterdir()):
        np.save(path.with_suffix(".npy"), cv2.imread(str(path), cv2.IMREAD_UNCHANGED))
        path.unlink()
    assert doctor.problems(doctor.examine(rooms)) == []
    if kind == "depth":
        for path in (rooms / "train/depth").iterdir():
            np.save(path, np.load(path) // 256 * 256)
        assert doctor.problems(doctor.examine(rooms)) == ["depth-bits error"]
    else:
        cut = rooms / "train/label/004.npy"
        cut.write_bytes(cut.read_bytes()[:100])
        diagnosis = doctor.examine(rooms)
        assert doctor.problems(diagnosis) == ["files error"]
        assert str(cut) in doctor.find(diagnosis, "files").files


def test_frames_that_may_differ_in_what_they_have_are_counted(rooms, doctor):
    (rooms / "train" / "depth" / "003.png").unlink()
    diagnosis = doctor.examine(rooms, missing="allow")
    assert doctor.problems(diagnosis) == []
    found = doctor.find(diagnosis, "files")
    frames = len(diagnosis.splits[0])
    assert found.severity == "info" and found.evidence == {"sets": {"rgb+depth": frames - 1, "rgb": 1}}
