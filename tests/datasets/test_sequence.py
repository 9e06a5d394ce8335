"""Sequences with times: clips against a naive search of all frames, in every form that recordings are written in."""

from __future__ import annotations

import logging
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from rgbx.datasets import CachedFrames, FolderDataset, SequenceDataset, build_dataset
from rgbx.datasets.rooms import CLASSES, RoomRecording, Stream
from rgbx.datasets.timestamps import PER_SECOND, named_stamps, nearest_of, window_at
from rgbx.transforms import NearestFrames, PackSample

SIZE = (16, 24)
STREAMS = {"rgb": Stream(10.0), "depth": Stream(15.0, delay=0.1, phase=0.3), "thermal": Stream(7.0, phase=0.6)}
MAPS = """
[modalities.rgb]
folder = "rgb"
unit = "rgb8"

[modalities.depth]
folder = "depth"
unit = "metre"
scale = 1000

[modalities.thermal]
folder = "thermal"
unit = "sensor"
scale = 100
add = -273.15

[splits]
"""
LABEL = f"[classes]\nnames = {list(CLASSES)}\n\n[label]\nfolder = 'label'\n".replace("'", '"')
LISTS = 'rgb = "rgb.txt", depth = "depth.txt", thermal = "thermal.txt"'
FOLDERS = 'rgb = "rgb", depth = "depth", thermal = "thermal"'


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recording")
    RoomRecording(0, 4, SIZE, streams=STREAMS).write(folder, 2.0, label_rate=2.5)
    return folder


@pytest.fixture
def recorded(written, tmp_path):
    return shutil.copytree(written, tmp_path / "data")


def declare(folder, split, label=False):
    (folder / "dataset.toml").write_text(f"{LABEL * label}{MAPS}train = {{{split}}}\n")
    return folder


def stamps_of(folder, name):
    return sorted((float(path.stem), path) for path in (folder / name).glob("*.png"))


def test_clips_of_lists(recorded, caplog):
    with caplog.at_level(logging.WARNING, "rgbx"):
        dataset = SequenceDataset(
            declare(recorded, f"{LISTS}, max_gap = 0.08"), frames={"rgb": 2, "depth": 4}, offsets={"thermal": -1}
        )
    assert dataset.metainfo["clips"] == {"rgb": 2, "depth": 4, "thermal": 5}
    frames = {name: stamps_of(recorded, name) for name in STREAMS}
    first = [time for time, _ in frames["rgb"]]
    assert 5 < len(dataset) < len(first)
    assert "samples are too near to an end for clips of {'rgb': 2, 'depth': 4, 'thermal': 5}" in caplog.text
    for index in range(len(dataset)):
        sample = dataset[index]
        assert sample["sample_id"] == f"{sample['time']:.6f}" and sample["time"] in first
        for name, before, count in (("rgb", 1, 2), ("depth", 2, 4), ("thermal", 1, 5)):
            times = [time for time, _ in frames[name]]
            at = min(range(len(times)), key=lambda k: abs(times[k] - sample["time"]))
            assert abs(times[at] - sample["time"]) <= 0.08
            np.testing.assert_allclose(sample[f"{name}_time"], times[at - before :][:count], rtol=0, atol=1e-12)
            assert sample[name].shape[0] == count
    recording = RoomRecording(0, 4, SIZE, streams=STREAMS)
    k = round(sample["depth_time"][1] * 15 - 0.3)
    np.testing.assert_array_equal(sample["depth"][1], recording.frame("depth", k))
    assert sample["paths"]["depth@1"].endswith(f"{sample['depth_time'][1]:.6f}.png")


def test_folders_named_by_time_are_as_lists(recorded, caplog):
    listed = SequenceDataset(declare(recorded, f"{LISTS}, max_gap = 0.08"), frames={"depth": 3, "thermal": 1})
    with caplog.at_level(logging.INFO, "rgbx"):
        named = SequenceDataset(declare(recorded, f"{FOLDERS}, max_gap = 0.08"), frames={"depth": 3, "thermal": 1})
    assert "20 files of rgb are named by their time in seconds" in caplog.text
    assert not named.left_over
    assert [named.name_of(i) for i in range(len(named))] == [listed.name_of(i) for i in range(len(listed))]
    for key, value in named[2].items():
        np.testing.assert_array_equal(value, listed[2][key], err_msg=key)


@pytest.mark.parametrize("unit", ["ns", "us", "ms"])
def test_whole_numbers_are_told_their_unit(recorded, unit, caplog):
    """As recordings of ROS are exported: since 1970, in nanoseconds or less."""
    plain = SequenceDataset(declare(recorded, f"{LISTS}, max_gap = 0.08"))
    other = plain[1]
    for name in STREAMS:
        for time, path in stamps_of(recorded, name):
            path.rename(path.with_name(f"{round((1305031102 + time) * PER_SECOND[unit])}.png"))
    with caplog.at_level(logging.INFO, "rgbx"):
        dataset = SequenceDataset(declare(recorded, f"{FOLDERS}, max_gap = 0.08"))
    word = {"ns": "nanoseconds", "us": "microseconds", "ms": "milliseconds"}[unit]
    assert f"are named by their time in {word}" in caplog.text
    assert len(dataset) == len(plain)
    one = dataset[1]
    assert one["time"] - 1305031102 == pytest.approx(other["time"], abs=1e-3)
    np.testing.assert_array_equal(one["thermal"], other["thermal"])


def test_labels_have_times_of_their_own(recorded):
    entry = f'{LISTS}, label = "label.txt", max_gap = 0.08'
    dataset = SequenceDataset(declare(recorded, entry, label=True), frames={"depth": 3, "thermal": 3})
    recording = RoomRecording(0, 4, SIZE, streams=STREAMS)
    assert [dataset[i]["time"] for i in range(len(dataset))] == pytest.approx([0.4, 0.8, 1.2, 1.6])
    for i in range(len(dataset)):
        sample = dataset[i]
        np.testing.assert_array_equal(sample["label"], recording.label(sample["time"]))
        assert abs(sample["thermal_time"][1] - sample["time"]) <= 0.5 / 7 + 1e-6
    plain = FolderDataset(recorded)
    assert len(plain) == 4 and plain[1]["label"].shape == SIZE


def test_delays_are_taken_off(recorded):
    """Depth lags by 0.1 s; of its frames the right one is stamped so much later."""
    entry = f'{LISTS}, label = "label.txt", max_gap = 0.08'
    late = SequenceDataset(declare(recorded, entry, label=True), frames={"depth": 3, "thermal": 1})
    right = SequenceDataset(
        declare(recorded, f"{entry}, delays = {{depth = 0.1}}", label=True), frames={"depth": 3, "thermal": 1}
    )
    times = [time for time, _ in stamps_of(recorded, "depth")]
    one, other = right[1], late[1]
    at = min(range(len(times)), key=lambda k: abs(times[k] - 0.1 - one["time"]))
    np.testing.assert_allclose(one["depth_time"], np.array(times[at - 1 : at + 2]) - 0.1)
    assert (one["depth"] != other["depth"]).any()
    np.testing.assert_array_equal(FolderDataset(recorded)[1]["depth"], one["depth"][1])
    known = NearestFrames(delays={"depth": 0.1})(other, np.random.default_rng(0))
    np.testing.assert_array_equal(known["depth"], other["depth"][2])
    stated = NearestFrames()(one, np.random.default_rng(0))  # taken off already: nothing more is to be said
    np.testing.assert_array_equal(stated["depth"], known["depth"])
    twice = NearestFrames(delays={"depth": 0.1})(one, np.random.default_rng(0))
    np.testing.assert_array_equal(twice["depth"], one["depth"][2])


def test_associations(recorded):
    rgb, depth = ([f"{t:.6f} {name}/{path.name}" for t, path in stamps_of(recorded, name)] for name in ("rgb", "depth"))
    lines = [f"{line} {depth[round(1.5 * k - 0.3)]}" for k, line in enumerate(rgb[:8])]
    (recorded / "associations.txt").write_text("\n".join(lines))
    text = MAPS.replace("[splits]", "XX").split("[modalities.thermal]")[0]
    (recorded / "dataset.toml").write_text(f'{text}[splits]\ntrain = "associations.txt"\n')
    dataset = SequenceDataset(recorded, frames={"depth": 2}, offsets={"depth": 0})
    assert len(dataset) == 7
    stated = [float(line.split()[2]) for line in lines]
    np.testing.assert_allclose(dataset[3]["depth_time"], stated[3:5])
    np.testing.assert_array_equal(dataset[3]["depth"][0], FolderDataset(recorded)[3]["depth"])


def associate(folder, lines):
    (folder / "associations.txt").write_text("\n".join(lines))
    (folder / "dataset.toml").write_text(f'{MAPS}train = "associations.txt"\n')


def test_associations_may_name_a_file_twice(recorded):
    """A slow sensor goes with several frames of a fast one; maps may be missing in some lines, also in the first."""
    rgb, depth, thermal = (
        [f"{t:.6f} {name}/{path.name}" for t, path in stamps_of(recorded, name)] for name in ("rgb", "depth", "thermal")
    )
    lines = [f"{rgb[k]} {thermal[k // 2]}{f' {depth[k // 3]}' if k else ''}" for k in range(8)]
    associate(recorded, lines)
    frames = FolderDataset(recorded, modalities=("rgb", "thermal"))
    assert [Path(frames[k]["paths"]["thermal"]) for k in range(8)] == [
        recorded / thermal[k // 2].split()[1] for k in range(8)
    ]
    assert [item.path for item in frames.stamps["thermal"]] == [line.split()[1] for line in thermal[:4]]
    assert [item.path for item in frames.stamps["depth"]] == [line.split()[1] for line in depth[:3]]
    clips = SequenceDataset(recorded, modalities=("rgb", "thermal"), frames={"thermal": 2}, offsets={"thermal": 0})
    np.testing.assert_allclose(clips[0]["thermal_time"], [float(line.split()[0]) for line in thermal[:2]])
    associate(recorded, [*lines[:3], f"{rgb[3]} {thermal[0].split()[0]} {thermal[5].split()[1]}"])
    with pytest.raises(ValueError, match=r"associations\.txt:4: the timestamp 0\.\d+ is there already, at .*txt:1"):
        FolderDataset(recorded, modalities=("rgb", "thermal"))


def test_parts_share_no_frame(recorded, caplog):
    """Clips of neighbours overlap, so that some beside the part held out belong to neither."""
    declare(recorded, f"{LISTS}, max_gap = 0.08")
    options = {"frames": {"rgb": 3, "depth": 3, "thermal": 1}}
    with caplog.at_level(logging.WARNING, "rgbx"):
        every, held, rest = (SequenceDataset(recorded, holdout=part, **options) for part in (None, "only", "exclude"))
    files, held_files, rest_files = (
        [{path for key, path in part[i]["paths"].items() if "@" in key} for i in range(len(part))]
        for part in (every, held, rest)
    )
    shown = set().union(*held_files)
    assert held_files and not shown & set().union(*rest_files)
    lost = [paths for paths in files if paths not in held_files and shown & paths]
    assert lost and len(held_files) + len(rest_files) + len(lost) == len(files)
    assert f"{len(lost)} of {len(rest) + len(lost)} samples share frames with the part held out" in caplog.text
    with pytest.raises(ValueError, match="which leaves none to train on"):
        SequenceDataset(recorded, holdout="exclude", frames={"rgb": 9, "depth": 9, "thermal": 1})


def test_they_are_kept_and_packed(recorded, tmp_path):
    dataset = SequenceDataset(
        declare(recorded, f"{LISTS}, max_gap = 0.08"), frames={"depth": 3}, transforms=[PackSample()]
    )
    kept = CachedFrames(dataset, folder=tmp_path / "kept")
    for _ in range(2):
        sample = kept[3]
        assert sample["depth"].shape == (3, 1, *SIZE) and sample["depth_time"].shape == (3,)
        assert (sample["depth"] == dataset[3]["depth"]).all()
    changed = CachedFrames(dataset, folder=tmp_path / "kept")
    path = dataset[3]["paths"]["depth@2"]
    shutil.copy(dataset[3]["paths"]["depth@0"], path)
    assert (changed[3]["depth"][2] == changed[3]["depth"][0]).all()


def test_clips_need_times(recorded):
    (recorded / "dataset.toml").write_text(f'{MAPS}train = ["0.000000"]\n')
    with pytest.raises(
        ValueError, match=r"clips need times of every modality, found none of .'rgb', 'depth', 'thermal'"
    ):
        SequenceDataset(recorded)
    with pytest.raises(ValueError, match=r"found none of \['thermal'\]"):
        SequenceDataset(declare(recorded, 'rgb = "rgb.txt", depth = "depth.txt"'))


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (
            f"{LISTS}, max_gap = 0.0001",
            r"no depth was recorded within 0.0001 s .* the closest two are 0.013333 s apart",
        ),
        (f"{LISTS}, delays = {{lidar = 1.0}}", "lidar: no such key"),
        (f'{LISTS}, delays = {{depth = "late"}}', "depth: expected seconds by which it lags, found 'late'"),
        (f'{LISTS}, time_unit = "h"', "time_unit: expected one of"),
        ('rgb = "rgb", depth = "nowhere"', r"nowhere: no files; expected some that are named by their time"),
        ('rgb = "rgb.txt", depth = "gone.txt"', "gone.txt: no such list file"),
    ],
)
def test_mistakes_are_named(recorded, entry, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        SequenceDataset(declare(recorded, entry))


def test_files_that_are_missing_or_named_otherwise(recorded):
    declare(recorded, f"{FOLDERS}, max_gap = 0.08")
    (recorded / "depth" / "calibration.png").write_bytes(b"")
    with pytest.raises(ValueError, match=r"calibration\.png: expected a name that is a time, .* found 'calibration'"):
        SequenceDataset(recorded)
    declare(recorded, f"{LISTS}, max_gap = 0.08")
    stamps_of(recorded, "thermal")[-1][1].unlink()
    with pytest.raises(FileNotFoundError, match=r"thermal\.txt:\d+.*: no such file; thermal of 1 of 14 frames"):
        SequenceDataset(recorded)


def test_a_clip_of_several_sizes(recorded):
    dataset = SequenceDataset(declare(recorded, f"{LISTS}, max_gap = 0.08"), frames={"depth": 3})
    wide = RoomRecording(0, 4, (16, 32), streams=STREAMS)
    path = dataset[0]["paths"]["depth@2"]
    wide.write(recorded.parent / "wide", 0.1)
    shutil.copy(next((recorded.parent / "wide" / "depth").iterdir()), path)
    with pytest.raises(ValueError, match=r"expected the size of the clip's other frames, \(16, 24\)"):
        dataset[0]


def test_too_long_clips(recorded):
    with pytest.raises(ValueError, match=r"14 of 14 samples are too near to an end .* a longer recording"):
        SequenceDataset(declare(recorded, f"{LISTS}, max_gap = 0.08"), frames={"thermal": 30})
    with pytest.raises(ValueError, match="frames of depth: expected a whole number >= 1, found 0"):
        SequenceDataset(recorded, frames={"depth": 0})
    with pytest.raises(ValueError, match=r"offsets of depth: expected a whole number, found 0\.5"):
        SequenceDataset(recorded, offsets={"depth": 0.5})


def test_one_number_of_frames_is_of_all_but_the_first(recorded):
    folder = declare(recorded, f"{LISTS}, max_gap = 0.08")
    dataset = SequenceDataset(folder, frames=3, offsets=-1)
    assert dataset.clip_lengths == {"rgb": 1, "depth": 3, "thermal": 3}
    by_name = SequenceDataset(folder, frames={"depth": 3, "thermal": 3}, offsets={"depth": -1, "thermal": -1})
    assert dataset.windows == by_name.windows
    with pytest.raises(
        ValueError, match=r"frames: expected whole numbers by modality, .* or one for all but 'rgb', found"
    ):
        SequenceDataset(folder, frames=5.0)


def test_what_is_left_out_is_told_once(recorded, caplog):
    declare(recorded, f'{LISTS}, label = "label.txt", max_gap = 0.08', label=True)
    for _ in range(2):
        FolderDataset(recorded)
    told = [message for message in caplog.messages if "within" in message]
    assert len(told) == 1 and re.search(
        r"within 0\.08 s, (\d+) rgb frames have no label, .*: they are left out$", told[0]
    )


def test_a_time_that_is_there_twice_is_shown_in_full(tmp_path):
    files = ["1700000000.1.png", "1700000000.100.png"]
    with pytest.raises(ValueError, match=r"the timestamp 1700000000\.1 is there already, at .*1700000000\.1"):
        named_stamps(tmp_path, files, [file.removesuffix(".png") for file in files])


def named(folder, name):
    return name, f"{folder}/{name}"


def test_units_of_names(tmp_path):
    with pytest.raises(ValueError, match=r"whole numbers from 7 to 40, in which no unit .* say time_unit"):
        named_stamps(tmp_path, ["7.png", "40.png"], ["7", "40"])
    stamps, unit = named_stamps(tmp_path, ["b/40.png", "7.png"], ["b/40", "7"], "ms")
    assert unit == "ms" and [(item.time, item.path) for item in stamps] == [(0.007, "7.png"), (0.04, "b/40.png")]
    stamps, unit = named_stamps(tmp_path, ["12.533.png", "13.png"], ["12.533", "13"], "ms")
    assert unit == "ms" and [item.time for item in stamps] == [0.013, 12.533]  # a decimal point means seconds
    assert named_stamps(tmp_path, ["12.533.png"], ["12.533"], "ns") == ([(12.533, *named(tmp_path, "12.533.png"))], "s")
    assert [item.time for item in named_stamps(tmp_path, ["1.5.png", "2.png"], ["1.5", "2"])[0]] == [1.5, 2.0]
    with pytest.raises(ValueError, match=r"7\.png: the timestamp 7 is there already, at .*7\.0\.png"):
        named_stamps(tmp_path, ["7.png", "7.0.png"], ["7", "7.0"])


def test_windows():
    times = [0.0, 1.0, 2.5, 3.0]
    assert [nearest_of(times, t) for t in (-5, 0.5, 0.6, 2.75, 2.8, 9)] == [0, 0, 1, 2, 3, 3]
    assert window_at(times, 1.1, -1, 3) == range(3) and window_at(times, 1.1, 0, 3) == range(1, 4)
    assert window_at(times, 1.1, -2, 3) is None and window_at(times, 1.1, 1, 3) is None


def test_an_ordinary_dataset_of_the_same_folder(recorded):
    declare(recorded, f"{FOLDERS}, max_gap = 0.04")
    dataset = build_dataset(recorded, "train")
    assert type(dataset) is FolderDataset
    for i in range(len(dataset)):
        stamps = [float(path.rpartition("/")[2].removesuffix(".png")) for path in dataset[i]["paths"].values()]
        assert abs(stamps[1] - stamps[0]) <= 0.04 and abs(stamps[2] - stamps[0]) <= 0.04
