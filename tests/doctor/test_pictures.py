"""Colour order, duplicates and registration."""

from __future__ import annotations

import shutil
from functools import partial

import cv2
import numpy as np
import pytest

from rgbx.datasets import SyntheticRooms
from rgbx.datasets.families.nyudv2 import NYUDV2_CLASSES, NYUDV2_PALETTE
from rgbx.doctor.edges import correlate, peak

NYU = dict(bits=8, offset=1, classes=NYUDV2_CLASSES, palette=NYUDV2_PALETTE)


def moved(array, right, down, fill=0):
    """Content shifted, without wrapping round."""
    out = np.full_like(array, fill)
    height, width = array.shape[:2]
    out[max(down, 0) : height + min(down, 0), max(right, 0) : width + min(right, 0)] = array[
        max(-down, 0) : height - max(down, 0), max(-right, 0) : width - max(right, 0)
    ]
    return out


def test_red_and_blue_exchanged(nyu, doctor):
    diagnosis = doctor.examine(nyu, **NYU)
    assert doctor.problems(diagnosis) == []
    assert "look like RGB" in doctor.find(diagnosis, "colour-order").message
    doctor.edit((nyu / "train/rgb").iterdir(), lambda rgb: rgb[..., ::-1])
    diagnosis = doctor.examine(nyu, **NYU)
    assert doctor.problems(diagnosis) == ["colour-order warning"]
    assert doctor.find(diagnosis, "colour-order").certainty in ("likely", "possible")


def test_colour_order_is_mostly_undecided(rooms, doctor):
    assert doctor.find(doctor.examine(rooms), "colour-order").certainty == "undecided"
    doctor.edit((rooms / "train/rgb").iterdir(), lambda rgb: np.repeat(rgb[..., :1], 3, axis=2))
    assert doctor.find(doctor.examine(rooms), "colour-order").certainty == "undecided"


def test_blue_sky_decides(rooms, doctor):
    """Where "sky" is labelled its colour counts, against all orange elsewhere."""
    classes = ["sky", *"abcdefghij"]
    edits = {"blue": (90, 140, 220), "red": (220, 140, 90)}
    for name, colour in edits.items():
        for index in range(12):
            path = rooms / f"train/rgb/{index:03d}.png"
            label = cv2.imread(str(rooms / f"train/label/{index:03d}.png"), -1)
            doctor.edit([path], lambda rgb, label=label, c=colour: np.where(label[..., None] == 0, np.uint8(c), rgb))
        found = doctor.problems(doctor.examine(rooms, classes=classes))
        assert found == ([] if name == "blue" else ["colour-order warning"])


def test_same_file_twice(rooms, doctor):
    shutil.copy(rooms / "train/rgb/001.png", rooms / "train/rgb/007.png")
    diagnosis = doctor.examine(rooms, samples=1)  # all files are compared, whatever the sample
    assert doctor.problems(diagnosis) == ["duplicates warning"]
    found = doctor.find(diagnosis, "duplicates", "warning")
    assert found.frames == {"train/001", "train/007"} and found.certainty == "certain"


def test_leak_of_the_same_file(rooms, doctor):
    shutil.copy(rooms / "train/rgb/001.png", rooms / "test/rgb/002.png")
    diagnosis = doctor.examine(rooms, ("train", "test"), samples=1)
    assert doctor.problems(diagnosis) == ["leak error"]
    assert doctor.find(diagnosis, "leak").frames == {"train/001", "test/002"}


def test_leak_where_the_dataset_lists_no_files(tmp_path, doctor):
    """The files of the sampled frames are known from the samples."""
    builders = {split: partial(SyntheticRooms, root=tmp_path, split=split, num_frames=4) for split in ("train", "test")}
    assert doctor.problems(doctor.diagnose(builders)) == []
    shutil.copy(tmp_path / "train/rgb/000001.png", tmp_path / "test/rgb/000002.png")
    assert doctor.problems(doctor.diagnose(builders)) == ["leak error"]


@pytest.mark.parametrize("change", ["jpeg", "half", "brighter"])
def test_leak_of_a_changed_copy(rooms, doctor, change):
    rgb = cv2.imread(str(rooms / "train/rgb/001.png"))
    if change == "jpeg":
        rgb = cv2.imdecode(cv2.imencode(".jpg", rgb, [cv2.IMWRITE_JPEG_QUALITY, 40])[1], 1)
    elif change == "half":
        rgb = cv2.resize(cv2.resize(rgb, (80, 60), interpolation=cv2.INTER_AREA), (160, 120))
    else:
        rgb = np.clip(rgb * 1.1, 0, 255).astype(np.uint8)
    cv2.imwrite(str(rooms / "test/rgb/002.png"), rgb)
    diagnosis = doctor.examine(rooms, ("train", "test"), samples=2)
    assert "leak warning" in doctor.problems(diagnosis)
    found = doctor.find(diagnosis, "leak")
    assert found.frames == {"train/001", "test/002"} and found.certainty == "likely"


def test_video_neighbours_are_a_fact(rooms, doctor):
    """The next frame of a video: the picture a pixel further, with other noise."""
    rgb = cv2.imread(str(rooms / "train/rgb/001.png"))
    noise = np.random.default_rng(0).normal(0, 2, rgb.shape)
    for kind in ("depth", "label"):
        shutil.copy(rooms / f"train/{kind}/001.png", rooms / f"train/{kind}/002.png")
    cv2.imwrite(str(rooms / "train/rgb/002.png"), np.clip(np.roll(rgb, 1, 1) + noise, 0, 255).astype(np.uint8))
    diagnosis = doctor.examine(rooms)
    assert doctor.problems(diagnosis) == []
    assert doctor.find(diagnosis, "duplicates").frames == {"train/001", "train/002"}


def test_no_two_real_frames_look_alike(nyu, doctor):
    assert "no two frames look alike" in doctor.find(doctor.examine(nyu, **NYU), "duplicates").message


@pytest.mark.parametrize("right, down", [(5, 0), (0, -4), (-6, 3)])
@pytest.mark.parametrize("kind", ["depth", "label"])
def test_shift_of_rooms(rooms, doctor, kind, right, down):
    fill = 0 if kind == "depth" else 255
    doctor.edit((rooms / "train" / kind).iterdir(), lambda array: moved(array, right, down, fill))
    diagnosis = doctor.examine(rooms)
    assert doctor.problems(diagnosis) == ["registration warning"]
    found = doctor.find(diagnosis, "registration", "warning")
    assert f"of {kind} lie" in found.message
    assert found.evidence["right_px"] == pytest.approx(right, abs=0.5)
    assert found.evidence["down_px"] == pytest.approx(down, abs=0.5)


def test_shift_of_real_frames(nyu, doctor):
    before = doctor.examine(nyu, **NYU)
    doctor.edit((nyu / "train/depth").iterdir(), lambda depth: np.roll(depth, (-3, 4), (0, 1)))
    after = doctor.examine(nyu, **NYU)
    assert doctor.problems(before) == [] and doctor.problems(after) == ["registration warning"]
    old, new = (
        next(f for f in d.findings if f.check == "registration" and "depth" in f.message).evidence
        for d in (before, after)
    )
    assert new["right_px"] - old["right_px"] == pytest.approx(4, abs=0.5)
    assert new["down_px"] - old["down_px"] == pytest.approx(-3, abs=0.5)


def test_a_pixel_is_no_warning(rooms, doctor):
    doctor.edit((rooms / "train/depth").iterdir(), lambda depth: moved(depth, 1, 0))
    assert doctor.problems(doctor.examine(rooms)) == []


def test_depth_of_other_frames_is_undecided(rooms, doctor):
    """No shift can be told, and none is claimed; that the files are misplaced is another check's to say."""
    depths = sorted((rooms / "train/depth").iterdir())
    contents = [path.read_bytes() for path in depths]
    for path, content in zip(depths, contents[3:] + contents[:3], strict=True):
        path.write_bytes(content)
    diagnosis = doctor.examine(rooms)
    assert doctor.problems(diagnosis) == ["pairing warning"]
    assert any(item.certainty == "undecided" and "depth against" in item.message for item in diagnosis.findings)


def test_correlate_against_loops():
    rng = np.random.default_rng(0)
    a, b = (rng.normal(size=(40, 48)).astype(np.float32) for _ in range(2))
    plane = correlate(a, b)
    reach = plane.shape[0] // 2
    for x, y in [(0, 0), (3, -2), (-5, 5), (reach, -reach)]:
        total = sum(
            float(a[r, c]) * float(b[r + y, c + x])
            for r in range(40)
            for c in range(48)
            if 0 <= r + y < 40 and 0 <= c + x < 48
        )
        assert plane[reach + y, reach + x] == pytest.approx(total, abs=1e-2)
    plane = correlate(a, moved(a, 2, -3))
    assert np.round(peak(plane)).tolist() == [2, -3]
