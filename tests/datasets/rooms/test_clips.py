"""Recorded rooms: the path against its own turn, frames against stills of the same camera, stamps against the words."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from rgbx.datasets import CachedFrames, RoomClips, SampleKey
from rgbx.datasets.rooms import RoomRecording, Stream, render
from rgbx.datasets.rooms.clips import Motion
from rgbx.datasets.rooms.rendering import DECODERS, render_scene
from rgbx.maps import read_image
from rgbx.transforms import FramesAsMaps, NearestFrames, PackSample

SMALL = (24, 32)


def small_clips(**changes):
    return RoomClips(**{"num_frames": 3, "size": SMALL, **changes})


@pytest.mark.parametrize("speed", [5.0, 20.0])
def test_speed_is_the_mean_square_of_the_turn(speed):
    motion = Motion.draw(np.random.default_rng(3), speed)
    camera = RoomRecording(0, 0, SMALL, streams={}).scene.camera
    step = 1e-3
    period = 2 * np.pi / motion.yaw.frequency
    forward = [motion.camera(camera, t).rotation[:2, 2] for t in np.arange(0, period, step)]
    headings = np.unwrap([np.arctan2(y, x) for x, y in forward])
    turn = np.degrees(np.diff(headings)) / step
    assert np.sqrt((turn**2).mean()) == pytest.approx(speed, rel=0.02)
    assert np.degrees(np.ptp(headings)) < 24.1


def test_the_camera_stays_a_rotation_and_turns_as_said():
    motion = Motion.draw(np.random.default_rng(0), 20.0)
    still = RoomRecording(0, 0, SMALL, streams={}).scene.camera
    moved = motion.camera(still, 1.7)
    np.testing.assert_allclose(moved.rotation.T @ moved.rotation, np.eye(3), atol=1e-12)
    assert np.linalg.det(moved.rotation) == pytest.approx(1)
    assert np.linalg.norm(moved.position - still.position) <= 0.1
    assert moved.position[2] == still.position[2]


def test_a_camera_that_stands_still_shows_one_still():
    """That of the pose in which its path begins, turned here by OpenCV about the world's and the camera's own axis."""
    recording = RoomRecording(0, 6, SMALL, streams={"normal": Stream(), "edge": Stream(30.0, delay=0.2)}, speed=0.0)
    yaw, pitch, sway = (
        swing.amplitude * np.sin(swing.phase)
        for swing in (recording.motion.yaw, recording.motion.pitch, recording.motion.sway)
    )
    scene, right = recording.scene, recording.scene.camera.rotation[:, 0]
    about_up, about_right = (cv2.Rodrigues(turn)[0] for turn in (np.array([0, 0, yaw]), np.array([pitch, 0, 0])))
    camera = replace(
        scene.camera,
        position=scene.camera.position + sway * np.array([right[0], right[1], 0]),
        rotation=about_up @ scene.camera.rotation @ about_right,
    )
    still, _ = render_scene(replace(scene, camera=camera), (9, 9), SMALL)
    for time in (0.0, 3.21):
        np.testing.assert_array_equal(recording.label(time), still["label"])
    for k in (0, 41):
        np.testing.assert_array_equal(recording.raw("normal", k), still["normal"])
        np.testing.assert_array_equal(recording.raw("edge", k), still["edge"])
    assert (still["label"] != render(0, 6, SMALL)["label"]).mean() > 0.05  # it has not come to the scene's own camera


def test_some_maps_are_as_among_all():
    scene = RoomRecording(0, 1, SMALL, streams={}).scene
    whole, clean = render_scene(scene, (0, 1), SMALL)
    for name in DECODERS:
        part, same = render_scene(scene, (0, 1), SMALL, [name])
        assert list(part) == [name]
        np.testing.assert_array_equal(part[name], whole[name])
        np.testing.assert_array_equal(same, clean)


def test_a_lagging_sensor_shows_the_past():
    """A frame is the still of the camera at its stamp - delay; noise aside, edges have none."""
    streams = {"rgb": Stream(10.0), "edge": Stream(30.0, delay=0.25, phase=0.4), "normal": Stream(10.0)}
    recording = RoomRecording(1, 2, SMALL, streams=streams)
    assert recording.stamp("edge", 12) == pytest.approx(12.4 / 30)
    assert recording.shown("edge", 12) == pytest.approx(12.4 / 30 - 0.25)
    camera = recording.motion.camera(recording.scene.camera, 12.4 / 30 - 0.25)
    raw, _ = render_scene(replace(recording.scene, camera=camera), (9, 9), SMALL, ["edge"])
    np.testing.assert_array_equal(recording.frame("edge", 12), raw["edge"] / np.float32(255))
    other, _ = render_scene(recording.scene, (9, 9), SMALL, ["edge"])
    assert (raw["edge"] != other["edge"]).any()


def test_jitter_is_even_and_within_its_bound():
    recording = RoomRecording(0, 0, SMALL, streams={"depth": Stream(10.0, delay=0.1, jitter=0.03)})
    late = np.array([recording.stamp("depth", k) - recording.shown("depth", k) for k in range(400)]) - 0.1
    assert np.abs(late).max() <= 0.03 and np.abs(late).max() > 0.028
    assert abs(late.mean()) < 0.003
    assert late.std() == pytest.approx(0.03 / np.sqrt(3), rel=0.1)


def test_windows_lie_where_they_are_said_to():
    clips = small_clips(
        modalities=("rgb", "depth", "thermal"),
        rates={"depth": 30.0},
        frames={"depth": 6, "thermal": 3},
        offsets={"depth": -1},
    )
    sample = clips[0]  # validated
    assert sample["rgb"].shape == (1, *SMALL, 3) and sample["depth"].shape == (6, *SMALL)
    assert sample["thermal"].shape == (3, *SMALL)
    np.testing.assert_array_equal(sample["rgb_time"], [sample["time"]])
    apart = sample["depth_time"] - sample["time"]
    np.testing.assert_allclose(np.diff(apart), 1 / 30)
    assert np.abs(apart).argmin() == 1 and abs(apart[1]) <= 0.5 / 30 + 1e-9
    assert np.abs(sample["thermal_time"] - sample["time"]).argmin() == 1
    assert sample["label"].max() <= 10 and clips.num_classes == 11


def test_the_label_is_of_the_reference_frame():
    """Edges of the labels' own scene: the reference's frame has the label's outlines where they differ in normals."""
    clips = small_clips(modalities=("normal", "depth"), delays={"depth": 0.3})
    sample, recording = clips[1], clips.recording(1)
    camera = recording.motion.camera(recording.scene.camera, sample["time"])
    raw, _ = render_scene(replace(recording.scene, camera=camera), (0, 0), SMALL)
    np.testing.assert_array_equal(sample["label"], clips.seen_classes(raw["label"]))
    np.testing.assert_array_equal(sample["normal"][0], DECODERS["normal"](raw["normal"]))


def test_checkpoints_are_told_of_clips():
    """But where a transform makes stills of them."""
    assert small_clips(frames={"depth": 3}).metainfo["clips"] == {"rgb": 1, "depth": 3}
    for transform in (NearestFrames(), FramesAsMaps({"depth": 5})):
        assert "clips" not in small_clips(transforms=[transform, PackSample()]).metainfo


def test_delays_are_drawn_once_for_a_clip():
    clips = small_clips(num_frames=40, delays={"depth": (0.0, 0.2)})
    delays = [clips.streams_of(i)["depth"].delay for i in range(40)]
    assert min(delays) >= 0 and max(delays) <= 0.2 and np.std(delays) > 0.04
    assert delays == [clips.streams_of(i)["depth"].delay for i in range(40)]
    streams = small_clips(delays={"depth": 0.3}).streams_of(2)
    assert {name: stream.delay for name, stream in streams.items()} == {"rgb": 0.0, "depth": 0.3}


def test_a_clip_depends_on_its_key_alone():
    one, other = small_clips(), small_clips(num_frames=7)
    for key in one[2]:
        np.testing.assert_array_equal(one[SampleKey(2, 5)][key], other[SampleKey(2, 8)][key])
    assert (one[0]["depth"] != one[1]["depth"]).any()
    frames = one[0]["depth"]
    assert (frames[0] != frames[1]).any()


def test_clips_are_kept_as_they_are():
    clips = small_clips()
    kept = CachedFrames(clips)
    for _ in range(2):
        sample = kept[1]
        assert sample["time"] == clips[1]["time"]
        for key in ("rgb", "depth", "depth_time", "label"):
            np.testing.assert_array_equal(sample[key], clips[1][key])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"delays": {"rgb": 0.1}}, "rgb is the reference"),
        ({"delays": {"thermal": 0.1}}, "delays names the modality 'thermal'"),
        ({"delays": {"depth": (0.2, 0.1)}}, "delays of depth must be seconds or"),
        ({"rates": {"depth": 0.0}}, "a rate > 0"),
        ({"jitter": {"depth": -0.1}}, "jitter >= 0"),
        ({"frames": {"depth": 0}}, "frames of depth: expected a whole number >= 1, found 0"),
        ({"frames": {"depth": 2.0}}, "frames of depth: expected a whole number >= 1, found 2.0"),
        ({"offsets": {"depth": 0.5}}, "offsets of depth: expected a whole number, found 0.5"),
        ({"offsets": {"depth": -200}}, "offsets of depth: expected a frame of the recording, .* found -200"),
        ({"speed": float("nan")}, "degrees per second"),
    ],
)
def test_numbers_that_make_no_sense(changes, message):
    with pytest.raises(ValueError, match=message):
        small_clips(**changes)


def test_a_written_recording(tmp_path):
    recording = RoomRecording(0, 0, SMALL, streams={"rgb": Stream(5.0), "depth": Stream(10.0, 0.05, phase=0.5)})
    recording.write(tmp_path, 0.8, label_rate=2.5)
    lines = [line for line in (tmp_path / "depth.txt").read_text().splitlines() if not line.startswith("#")]
    assert lines[1] == "0.150000 depth/0.150000.png" and len(lines) == 8
    assert len(list((tmp_path / "rgb").iterdir())) == 4
    assert sorted(path.name for path in (tmp_path / "label").iterdir()) == ["0.000000.png", "0.400000.png"]
    depth = read_image(tmp_path / "depth" / "0.150000.png") / np.float32(1000)
    np.testing.assert_array_equal(depth, recording.frame("depth", 1))
    np.testing.assert_array_equal(read_image(tmp_path / "label" / "0.400000.png"), recording.label(0.4))
