"""The delay between two recordings: against the delay that they were made with, and what gives no answer."""

from __future__ import annotations

import json
import re
import tomllib

import numpy as np
import pytest

from rgbx.datasets import FolderDataset, SequenceDataset
from rgbx.datasets.declaration import stating_delays
from rgbx.datasets.rooms import RoomRecording, Stream
from rgbx.doctor import diagnose
from rgbx.doctor.delay import Track, estimate_delay
from rgbx.doctor.edges import small_plane
from rgbx.maps import STANDARD_MAPS

SIZE = (48, 64)
TOML = """
[modalities.rgb]
folder = "rgb"
unit = "rgb8"

[modalities.depth]
folder = "depth"
unit = "metre"
scale = 1000

[splits]
train = {rgb = "rgb", depth = "depth.txt", max_gap = 0.05DELAYS}
"""


def tracks(scene, delay, rate=10.0, jitter=0.0, speed=20.0, seconds=3.0, other=None):
    streams = {"rgb": Stream(10.0, phase=0.2), "depth": Stream(rate, delay, jitter, 0.7)}
    one = RoomRecording(0, scene, SIZE, streams=streams, speed=speed)
    two = one if other is None else RoomRecording(0, other, SIZE, streams=streams, speed=speed)
    found = []
    for name, recording in (("rgb", one), ("depth", two)):
        frames = [
            (recording.stamp(name, k), recording.frame(name, k)) for k in range(int(seconds * streams[name].rate))
        ]
        found.append(Track.of(frames, STANDARD_MAPS[name]))
    return found


@pytest.mark.parametrize(("delay", "jitter", "scene"), [(0.0, 0.0, 1), (0.17, 0.03, 3), (-0.23, 0.0, 5)])
def test_within_half_a_frame(delay, jitter, scene):
    found = estimate_delay(*tracks(scene, delay, jitter=jitter))
    assert found.decided and abs(found.seconds - delay) < 0.03
    assert found.low <= found.seconds <= found.high and found.high - found.low < 0.1


def test_several_rates():
    found = estimate_delay(*tracks(2, 0.1, rate=25.0), max_delay=0.4)
    assert found.decided and abs(found.seconds - 0.1) < 0.02


def test_a_row_of_bars_that_move():
    """Without rooms: a plane of bars at a place that is known at every time, half a frame apart."""

    def bars(time):
        rng = np.random.default_rng(0)
        signal = np.repeat(rng.normal(size=200), 8)
        at = 600 + 20 * np.sin(2.0 * time)
        row = np.interp(at + np.arange(160), np.arange(signal.size), signal)
        return small_plane(np.tile(row, (120, 1)).astype(np.float32))

    stamps = np.arange(60) / 10
    one = Track(stamps, np.stack([bars(t) for t in stamps]))
    other = Track(stamps, np.stack([bars(t - 0.15) for t in stamps]))
    assert estimate_delay(one, other).seconds == pytest.approx(0.15, abs=0.01)
    assert estimate_delay(other, one).seconds == pytest.approx(-0.15, abs=0.01)
    assert estimate_delay(one, one).seconds == pytest.approx(0, abs=0.01)
    assert estimate_delay(one, other, seed=1).low == pytest.approx(estimate_delay(one, other).low, abs=0.01)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"speed": 0.0}, "about as well at all times, as where nothing moves"),
        ({"other": 8}, "about as well at all times"),
        ({"seconds": 1.1}, "only 11 frames have edges; 12 are needed"),
        ({"seconds": 1.3}, "only 4 frames have the other recording 0.6 s before and behind"),
    ],
)
def test_undecided(options, reason):
    found = estimate_delay(*tracks(1, 0.1, **options))
    assert not found.decided and reason in found.reason


def test_a_delay_beyond_the_search():
    found = estimate_delay(*tracks(1, 0.4), max_delay=0.3)
    assert not found.decided
    with pytest.raises(ValueError, match="max_delay must be seconds > 0, found 0"):
        estimate_delay(*tracks(1, 0.4, seconds=0.2), max_delay=0)


def test_the_doctor_says_it(tmp_path):
    streams = {"rgb": Stream(10.0), "depth": Stream(12.0, 0.15, phase=0.5)}
    RoomRecording(0, 1, SIZE, streams=streams).write(tmp_path, 3.2)
    toml = tmp_path / "dataset.toml"
    toml.write_text(TOML.replace("DELAYS", ""))
    (found,) = [f for f in diagnose({"train": lambda: FolderDataset(tmp_path)}).findings if f.check == "delay"]
    assert (found.severity, found.certainty) == ("warning", "likely")
    late = found.evidence["delay_s"]
    assert late == pytest.approx(0.15, abs=0.03)
    assert found.message.startswith(f"depth lags by {1000 * late:.0f} ms behind rgb (")
    assert f"delays = {{depth = {late:.3f}}}" in found.fix
    toml.write_text(TOML.replace("DELAYS", f", delays = {{depth = {late}}}"))
    findings = diagnose({"train": lambda: SequenceDataset(tmp_path)}).findings  # clips, looked at frame by frame
    assert not [f for f in findings if f.check in ("refused", "sizes") or "stopped" in f.message]
    (found,) = [f for f in findings if f.check == "delay"]
    assert found.severity == "info" and abs(found.evidence["delay_s"]) < 0.03


LINE = 'train = {rgb = "rgb", depth = "depth.txt", max_gap = 0.05DELAYS}'
TABLE = '[splits.train]\nrgb = "rgb"\ndepth = "depth.txt"\nmax_gap = 0.05'


@pytest.mark.parametrize(
    ("entry", "told", "paste"),
    [
        (f"[splits]\n{LINE}  # {{paired}}", "line 12, write inside the braces, after a comma:", "insert"),
        (f"[splits]\n{LINE}".replace("DELAYS", ", delays = {depth = 0.1}"), "line 12, write in place of its", "swap"),
        (f"{TABLE}\n\n[label]\nfolder = 'no'", "below line 11, write:", "below"),
        (f"{TABLE}\ndelays = {{depth = 0.1}}", "line 15, write instead:", "line"),
        ("[splits]\ntrain.rgb = 'rgb'\ntrain.depth = 'depth'", "state for [splits.train]", ""),
    ],
)
def test_the_line_to_write_fits_the_declaration(tmp_path, entry, told, paste):
    """It is pasted as it says, and the file read."""
    file = tmp_path / "dataset.toml"
    file.write_text(TOML.partition("[splits]")[0].strip() + "\n\n\n" + entry.replace("DELAYS", ""))
    said = stating_delays(file, "train", {"depth": 0.1503, "rgb": -0.02})
    wanted = "delays = {depth = 0.150, rgb = -0.020}"
    assert said.startswith(f"In {file}, {told}") and said.endswith(f" {wanted}")
    lines, number = file.read_text().split("\n"), int(re.search(r"line (\d+)|$", said)[1] or 0) - 1
    match paste:
        case "insert":
            lines[number] = lines[number].replace("}", f", {wanted}}}", 1)
        case "swap":
            lines[number] = lines[number].replace("delays = {depth = 0.1}", wanted)
        case "below":
            lines.insert(number + 1, wanted)
        case "line":
            lines[number] = wanted
        case _:
            return
    read = tomllib.loads("\n".join(lines))
    assert read["splits"]["train"]["delays"] == {"depth": 0.15, "rgb": -0.02}
    assert read["splits"]["train"]["max_gap"] == 0.05


def test_a_missing_file_of_a_list_is_left_out(tmp_path):
    """One frame less changes no delay; the doctor names the list and the line."""
    streams = {"rgb": Stream(10.0), "depth": Stream(12.0, 0.15, phase=0.5)}
    RoomRecording(0, 1, SIZE, streams=streams).write(tmp_path, 3.2)
    (tmp_path / "dataset.toml").write_text(TOML.replace("DELAYS", ""))
    dataset = FolderDataset(tmp_path)
    used, stamps = [frame.files["depth"] for frame in dataset.frames], dataset.stamps["depth"]
    unused = next(item for item in stamps if tmp_path / item.path not in used)
    (tmp_path / unused.path).unlink()
    findings = diagnose({"train": lambda: FolderDataset(tmp_path)}).findings
    assert not [found for found in findings if "stopped" in found.message]
    told = [found for found in findings if found.check == "delay"]
    assert "1 of 39 files with times cannot be read" in told[0].message and unused.origin in told[0].message
    assert told[1].message.startswith("depth lags by ")
    votes = [found.message for found in findings if found.check == "colour-order"]
    assert votes and "one recording shows over and over" in votes[0]
    used = next(item for item in stamps if tmp_path / item.path == used[3])
    (tmp_path / used.path).unlink()
    with pytest.raises(FileNotFoundError, match=re.escape(f"{used.origin}: {tmp_path / used.path}: no such file")):
        FolderDataset(tmp_path)


def test_figures_that_there_are_not_are_null(tmp_path):
    """Other programs read the JSON, in which NaN is no number."""
    RoomRecording(0, 1, SIZE, streams={"rgb": Stream(10.0), "depth": Stream(10.0)}).write(tmp_path, 0.5)
    (tmp_path / "dataset.toml").write_text(TOML.replace("DELAYS", ""))
    diagnosis = diagnose({"train": lambda: FolderDataset(tmp_path)})
    written = json.loads(json.dumps(diagnosis.as_dict(), allow_nan=False))
    (found,) = [finding for finding in written["findings"] if finding["check"] == "delay"]
    assert found["certainty"] == "undecided" and found["evidence"]["delay_s"] is None
