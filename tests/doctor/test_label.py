"""Faults of labels."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from rgbx.datasets.families.nyudv2 import NYUDV2_CLASSES, NYUDV2_PALETTE
from rgbx.datasets.rooms import CLASSES

NYU = dict(bits=8, classes=NYUDV2_CLASSES, palette=NYUDV2_PALETTE)


def stamp(value):
    def change(label):
        label[10:14, 10:20] = value
        return label

    return change


@pytest.mark.parametrize(("value", "expected"), [(200, ["label-range error"]), (255, [])])
def test_ids_outside(rooms, doctor, value, expected):
    doctor.edit([rooms / "train/label/003.png"], stamp(value))
    diagnosis = doctor.examine(rooms)
    assert doctor.problems(diagnosis) == expected
    if expected:
        found = doctor.find(diagnosis, "label-range")
        assert found.evidence == {"ids": [200], "pixels": 40, "frames": 1} and found.frames == {"train/003"}


def test_labels_from_1_read_without_offset(nyu, doctor):
    diagnosis = doctor.examine(nyu, **NYU)
    assert doctor.problems(diagnosis) == ["label-range error"]
    assert "offset of 1" in doctor.find(diagnosis, "label-range").fix
    assert doctor.problems(doctor.examine(nyu, offset=1, **NYU)) == []


def test_labels_from_0_read_with_offset(rooms, doctor):
    diagnosis = doctor.examine(rooms, offset=1)
    assert doctor.problems(diagnosis) == ["label-offset warning"]
    assert doctor.find(diagnosis, "label-offset").certainty == "possible"


def test_labels_from_0_with_void_255_read_with_offset(nyu, doctor):
    """Real labels: 0..39 and 255, as the list layout has them, read as if 0 were void."""
    doctor.edit((nyu / "train/label").iterdir(), lambda label: label - np.uint8(1))
    assert doctor.problems(doctor.examine(nyu, **NYU)) == []
    diagnosis = doctor.examine(nyu, offset=1, **NYU)
    assert doctor.problems(diagnosis) == ["label-offset warning"]
    assert doctor.find(diagnosis, "label-offset").certainty == "likely"


def test_labels_from_1_whose_last_class_is_absent(rooms, doctor):
    doctor.edit((rooms / "train/label").iterdir(), lambda label: np.minimum(label, 8) + np.uint8(1))
    diagnosis = doctor.examine(rooms)
    assert doctor.problems(diagnosis) == ["label-offset warning"]
    assert "'floor'" in doctor.find(diagnosis, "label-offset").message


def test_void_0_trained_as_a_class(nyu, doctor):
    """Real void where class 0 should be, and no id beyond the last class."""
    doctor.edit((nyu / "train/label").iterdir(), lambda label: np.minimum(label, 39))
    diagnosis = doctor.examine(nyu, **NYU)
    assert doctor.problems(diagnosis) == ["label-void warning"]
    named = {**NYU, "classes": ("background", *NYUDV2_CLASSES[1:])}
    assert doctor.problems(doctor.examine(nyu, **named)) == []


def test_few_frames_suspect_nothing(rooms, doctor):
    for kind in ("rgb", "depth", "label"):
        for path in sorted((rooms / "train" / kind).iterdir())[6:]:
            path.unlink()
    assert doctor.problems(doctor.examine(rooms, offset=1)) == []


@pytest.mark.parametrize("kind", ["colours", "instances"])
def test_no_class_ids(rooms, doctor, kind):
    palette = np.random.default_rng(0).integers(0, 255, (256, 3), dtype=np.uint8)
    change = (
        (lambda label: palette[label]) if kind == "colours" else (lambda label: label.astype(np.uint16) * 1000 + 300)
    )
    doctor.edit([rooms / "train/label/003.png"], change)
    diagnosis = doctor.examine(rooms)
    assert doctor.problems(diagnosis) == ["label-format error"]
    assert doctor.find(diagnosis, "label-format").frames == {"train/003"}


def test_void_only(rooms, doctor):
    doctor.edit([rooms / "train/label/003.png"], lambda label: np.full_like(label, 255))
    assert doctor.problems(doctor.examine(rooms)) == ["label-range warning"]
    for split, expected in (("train", ["label-range error"]), ("test", [])):
        doctor.edit((rooms / split / "label").iterdir(), lambda label: np.full_like(label, 255))
        assert doctor.problems(doctor.examine(rooms, (split,))) == expected


def binary(label):
    return np.where(label > 1, 255, 0).astype(np.uint8)


@pytest.mark.parametrize(
    ("change", "classes", "expected", "words"),
    [
        (binary, 2, "label-classes warning", "values = [0, 255]"),
        (lambda label: np.where(label > 1, 255, 1).astype(np.uint8), 4, "label-classes warning", "values = [1, 255]"),
        (lambda label: np.zeros_like(label), 2, "label-classes warning", "this one answer"),
        (lambda label: np.minimum(label, 2) * np.uint8(127), 3, "label-range error", "values = [0, 127, 254]"),
        (lambda label: np.minimum(label, 3) * np.uint8(85), 4, "label-range error", "values = [0, 85, 170, 255]"),
        (lambda label: cv2.blur(binary(label), (3, 3)), 2, "label-range error", "resizing with interpolation"),
        (lambda label: np.minimum(label, 1), 2, None, ""),
        (lambda label: np.where(label > 2, 255, np.minimum(label, 1)).astype(np.uint8), 2, None, ""),
    ],
)
def test_stored_values_that_are_no_train_ids(rooms, doctor, change, classes, expected, words):
    doctor.edit((rooms / "train/label").iterdir(), change)
    names = tuple(f"class {k}" for k in range(classes))
    diagnosis = doctor.examine(rooms, classes=names, palette=[[k, 0, 0] for k in range(classes)])
    found = [item for item in diagnosis.findings if item.severity != "info"]
    assert [f"{item.check} {item.severity}" for item in found] == ([expected] if expected else [])
    assert all(words in item.fix for item in found)


def test_a_class_that_only_the_test_split_has(rooms, doctor):
    assert doctor.problems(doctor.examine(rooms, ("train", "test"))) == []
    doctor.edit((rooms / "train/label").iterdir(), lambda label: np.where(label == 1, 2, label).astype(np.uint8))
    diagnosis = doctor.examine(rooms, ("train", "test"))
    assert doctor.problems(diagnosis) == ["label-classes warning"]
    assert doctor.find(diagnosis, "label-classes").evidence == {"absent": ["wall"]}
    assert doctor.problems(doctor.examine(rooms, ("train", "test"), samples=4)) == []  # others may have it


def test_jpeg_labels_are_told_once(rooms, doctor):
    for path in list((rooms / "train/label").iterdir())[:3]:
        cv2.imwrite(str(path.with_suffix(".jpg")), cv2.imread(str(path), -1))
        path.write_bytes(path.with_suffix(".jpg").read_bytes())  # also where the name says otherwise
        path.with_suffix(".jpg").unlink()
    found = doctor.find(doctor.examine(rooms), "label-format")
    assert len(found.frames) == 3 and "JPEG" in found.message


def test_balance_names_each_class_once(rooms, doctor):
    def two(label):
        label[:] = 0
        label[0, 0] = 2
        return label

    doctor.edit(sorted(rooms.glob("*/label/*.png")), two)
    height, width = cv2.imread(str(rooms / "train/label/000.png"), -1).shape
    share = 100 / (height * width)
    message = doctor.find(doctor.examine(rooms), "label-balance").message
    assert f"occur: {CLASSES[0]} 100%, {CLASSES[2]} {share:.2g}%; as balanced as 1.0 equal" in message


def test_balance_counts_every_pixel(rooms, doctor):
    found = doctor.find(doctor.examine(rooms), "label-balance")
    labels = np.stack([cv2.imread(str(path), -1) for path in sorted((rooms / "train/label").iterdir())])
    for name, index in (("floor", 0), ("wall", 1), ("ball", 7)):
        assert found.evidence["share"][name] == pytest.approx((labels == index).mean())
