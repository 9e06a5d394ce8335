"""The examination as a whole: what cannot be opened, what raises, what real data gives."""

from __future__ import annotations

import json
from functools import partial

import numpy as np
import pytest

from rgbx.datasets import Cityscapes, NYUDv2Folders, NYUDv2Lists, SyntheticRooms
from rgbx.doctor import diagnose, text_report
from rgbx.doctor.depth import DepthHoles


def test_real_frames_are_clean(nyuv2_320x240, doctor):
    builders = {split: partial(NYUDv2Folders, nyuv2_320x240, split) for split in ("train", "test")}
    diagnosis = diagnose(builders, samples=24)
    assert doctor.problems(diagnosis) == []
    assert [split.sampled for split in diagnosis.splits] == [24, 24]
    units = [item for item in diagnosis.findings if item.check == "depth-units"]
    assert all(2 < item.evidence["median_m"] < 3.5 for item in units) and len(units) == 2


def test_layout_frames_are_clean(layouts, doctor):
    builders = {
        "train": partial(NYUDv2Lists, layouts / "nyudv2"),
        "val": partial(NYUDv2Lists, layouts / "nyudv2", "val.txt"),
        "city": partial(Cityscapes, layouts / "cityscapes", "train", modalities=("rgb",)),
    }
    diagnosis = diagnose(builders)
    assert doctor.problems(diagnosis) == []
    assert [len(split) for split in diagnosis.splits] == [4, 4, 2]


def test_real_list_with_the_wrong_scale(layouts, doctor):
    diagnosis = diagnose({"train": partial(NYUDv2Lists, layouts / "nyudv2", depth_scale=1000.0)})
    assert doctor.problems(diagnosis) == ["depth-units warning"]
    assert "5000" in doctor.find(diagnosis, "depth-units").fix


def test_rooms_without_files(doctor):
    diagnosis = diagnose({"train": partial(SyntheticRooms, num_frames=10, modalities=("rgb", "depth", "thermal"))})
    assert doctor.problems(diagnosis) == []


def test_a_split_that_cannot_be_opened(rooms, doctor):
    def fail():
        raise RuntimeError("no such thing")

    diagnosis = diagnose({"train": partial(doctor.Rooms, rooms), "test": fail})
    assert doctor.problems(diagnosis) == ["open error"]
    assert "RuntimeError: no such thing" in doctor.find(diagnosis, "open").message
    assert [split.name for split in diagnosis.splits] == ["train"]
    assert diagnose({"x": lambda: [1, 2]}).exit_code == 2


def test_the_same_of_all_splits_is_said_once(tmp_path, doctor):
    diagnosis = diagnose({split: partial(doctor.Rooms, tmp_path, split) for split in ("train", "test")}, optional=True)
    assert doctor.find(diagnosis, "open").split == "train, test" and diagnosis.exit_code == 2


def test_absent_splits_are_a_fact_where_optional(rooms, doctor):
    builders = {split: partial(doctor.Rooms, rooms, split) for split in ("train", "val")}
    assert doctor.problems(diagnose(builders)) == ["open error"]
    assert doctor.problems(diagnose(builders, optional=True)) == []
    assert doctor.problems(diagnose({"val": builders["val"]}, optional=True)) == ["open error"]


@pytest.mark.parametrize("error", [RuntimeError, KeyError, ZeroDivisionError, MemoryError, ValueError])
def test_a_reader_that_raises_is_a_finding(rooms, doctor, error):
    class Angry(doctor.Rooms):
        def read_frame(self, frame, names):
            if frame.sample_id == "train/003":
                raise error("nobody expects this")
            return super().read_frame(frame, names)

    diagnosis = diagnose({"train": partial(Angry, rooms)})
    assert doctor.problems(diagnosis) == ["refused error"]
    found = doctor.find(diagnosis, "refused")
    assert found.frames == {"train/003"} and "nobody expects this" in found.message


def test_samples_that_break_the_contract_are_a_finding(rooms, doctor):
    class Odd(doctor.Rooms):
        def read_frame(self, frame, names):
            sample = super().read_frame(frame, names)
            return {**sample, "depth": sample["depth"] * np.float32("nan")} if "003" in frame.sample_id else sample

    diagnosis = diagnose({"train": partial(Odd, rooms)})
    assert doctor.problems(diagnosis) == ["refused error"]
    assert "NaN" in doctor.find(diagnosis, "refused").message


def test_a_check_that_raises_is_a_finding(rooms, doctor, monkeypatch):
    monkeypatch.setattr(DepthHoles, "see", lambda self, frame: 1 / 0)
    diagnosis = doctor.examine(rooms)
    assert doctor.problems(diagnosis) == ["depth-holes warning"]
    assert "stopped at train/000: ZeroDivisionError" in doctor.find(diagnosis, "depth-holes").message


def test_all_frames_broken(rooms, doctor):
    for path in (rooms / "train").rglob("*.png"):
        path.write_bytes(b"no image at all")
    diagnosis = doctor.examine(rooms)
    assert doctor.problems(diagnosis) == ["duplicates warning", "files error"]
    assert doctor.find(diagnosis, "files").evidence["files"] == 36


def test_sampling_is_seeded(rooms, doctor):
    split = doctor.examine(rooms).splits[0]
    assert split.pick(5, 0) == split.pick(5, 0) == sorted(set(split.pick(5, 0))) and len(split.pick(5, 0)) == 5
    assert split.pick(5, 0) != split.pick(5, 1)
    assert split.pick(0, 0) == split.pick(99, 0) == list(range(12))


def test_report_and_json(rooms, doctor):
    (rooms / "train/depth/004.png").write_bytes(b"")
    diagnosis = doctor.examine(rooms, ("train", "test"))
    text = text_report(diagnosis, width=100)
    assert max(len(line) for line in text.splitlines() if str(rooms) not in line) <= 100
    assert text.index("error ") < text.index("info ") and "004.png" in text and text.endswith("facts.")
    assert "1 error, no warnings" in text and "\033" not in text
    assert "\033[1;31merror" in text_report(diagnosis, colour=True)
    plain = json.loads(json.dumps(diagnosis.as_dict()))
    assert plain["exit_code"] == 2 and plain["findings"][0]["check"] == "files"
    assert plain["findings"][0]["frames"] == ["train/004"] and plain["splits"][1]["frames"] == 5
