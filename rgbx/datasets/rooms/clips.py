"""Rooms seen from a moving camera by sensors that are not synchronised: recordings, and clips cut from them.

A recording is one scene, a smooth path of the camera, and for each sensor a rate, a delay and a jitter. A sensor that
lags by d shows at stamp s the scene at s - d. A lifted board keeps the outline of its footprint from wherever it is
seen, so that its class stays a matter of depth.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, Unpack

import numpy as np

from rgbx.datasets.clip import per_modality, windows_around
from rgbx.datasets.rooms.dataset import SyntheticRooms
from rgbx.datasets.rooms.rendering import DECODERS, MAPS, make_scene, render_scene
from rgbx.datasets.rooms.scene import Camera
from rgbx.datasets.sample import Common, Sample
from rgbx.maps import TIMES
from rgbx.maps.files import encode_png, replace_file

START_S = 10.0  # where on a recording's clock the frame with the label lies, about
_MOTION, _NOISE, _JITTER, _CLOCK = range(4, 8)  # random streams of a scene beside the renderer's

Seconds = float | Sequence[float]


class Swing(NamedTuple):
    """`amplitude` sin(`frequency` t + `phase`), with t in seconds and the frequency in radians per second."""

    amplitude: float
    frequency: float
    phase: float

    def at(self, time: float) -> float:
        return self.amplitude * math.sin(self.frequency * time + self.phase)


@dataclass(frozen=True)
class Motion:
    """A camera that looks around where it stands.

    Attributes:
        yaw, pitch: in radians, against the scene's camera.
        sway: in metres, to its right.
    """

    yaw: Swing
    pitch: Swing
    sway: Swing

    @classmethod
    def draw(cls, rng: np.random.Generator, speed: float) -> Motion:
        """A path whose yaw turns by `speed` degrees per second, as the root of the mean square over time.

        It stays within 12 degrees to either side, 4 up and down, and a tenth of a metre.
        """
        reach, nod = np.radians(rng.uniform((6.0, 2.0), (12.0, 4.0))).tolist()
        frequency = math.radians(speed) * math.sqrt(2) / reach
        swings = zip((reach, nod, rng.uniform(0.05, 0.1)), (1.0, *rng.uniform(0.6, 1.4, 2).tolist()), strict=True)
        return cls(*(Swing(size, frequency * share, rng.uniform(0, 2 * math.pi)) for size, share in swings))

    def camera(self, still: Camera, time: float) -> Camera:
        """Where a camera that stood still has got to at a time in seconds."""
        yaw, pitch = self.yaw.at(time), self.pitch.at(time)
        c, s = math.cos(yaw), math.sin(yaw)
        about_up = np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])
        c, s = math.cos(pitch), math.sin(pitch)
        about_right = np.array([[1.0, 0.0, 0.0], [0.0, c, -s], [0.0, s, c]])
        position = still.position + self.sway.at(time) * still.rotation[:, 0] * (1.0, 1.0, 0.0)
        return replace(still, position=position, rotation=about_up @ still.rotation @ about_right)


@dataclass(frozen=True)
class Stream:
    """How one sensor records.

    Attributes:
        rate: frames per second.
        delay: seconds by which what a frame shows is older than its stamp.
        jitter: seconds by which that differs from frame to frame, evenly spread to both sides.
        phase: 0..1, which part of a frame's time after the clock's zero its first stamp comes.
    """

    rate: float = 10.0
    delay: float = 0.0
    jitter: float = 0.0
    phase: float = 0.0


class RoomRecording:
    """One scene, recorded: frame k of a sensor has a stamp, and shows the scene at another time.

    Args:
        seed, index, size, paints: of the scene, see `rgbx.datasets.rooms.render`.
        streams: by map, of rgb, depth, thermal, normal, edge.
        speed: see `Motion.draw`; 0 stands still.

    Attributes:
        motion: the camera's path.
    """

    def __init__(
        self,
        seed: int,
        index: int,
        size: tuple[int, int] = (120, 160),
        *,
        streams: Mapping[str, Stream],
        speed: float = 20.0,
        paints: str = "random",
    ) -> None:
        self.key, self.size, self.streams = (seed, index), size, dict(streams)
        self.scene = make_scene(seed, index, size, paints)
        self.motion = Motion.draw(np.random.default_rng((seed, index, _MOTION)), speed)

    def stamp(self, name: str, frame: int) -> float:
        """Seconds on the recording's clock."""
        stream = self.streams[name]
        return (frame + stream.phase) / stream.rate

    def shown(self, name: str, frame: int) -> float:
        """The time of the scene that a frame shows."""
        stream, rng = self.streams[name], np.random.default_rng((*self.key, _JITTER, MAPS.index(name) + 1, frame))
        return self.stamp(name, frame) - stream.delay - stream.jitter * float(rng.uniform(-1, 1))

    def nearest(self, name: str, time: float) -> int:
        """The frame whose stamp is nearest to a time."""
        stream = self.streams[name]
        return max(round(time * stream.rate - stream.phase), 0)

    def frame(self, name: str, frame: int) -> np.ndarray:
        """A map [H, W, ...] in its unit, see `rgbx.datasets.rooms.render`."""
        return DECODERS[name](self.raw(name, frame))

    def raw(self, name: str, frame: int) -> np.ndarray:
        """The same as files hold it."""
        noise = (*self.key, _NOISE, MAPS.index(name) + 1, frame)
        return self.seen(self.shown(name, frame), noise, [name])[name]

    def label(self, time: float) -> np.ndarray:
        """Class ids of all 11 classes at a time of the scene, uint8 [H, W]."""
        return self.seen(time, self.key, ["label"])["label"]

    def seen(self, time: float, noise: tuple[int, ...], maps: Collection[str]) -> dict[str, np.ndarray]:
        """Maps at a time of the scene, as files hold them."""
        scene = replace(self.scene, camera=self.motion.camera(self.scene.camera, time))
        return render_scene(scene, noise, self.size, maps)[0]

    def write(self, folder: str | Path, seconds: float, *, label_rate: float = 0.0) -> None:
        """Writes the recording's first seconds as TUM RGB-D has them: `NAME/STAMP.png` and `NAME.txt` of each map.

        Args:
            folder: made if it does not exist.
            seconds: how long.
            label_rate: label files per second, in `label/` and `label.txt`, at times of their own; 0 for none.
        """
        rates = {**{name: stream.rate for name, stream in self.streams.items()}, "label": label_rate}
        for name, rate in rates.items():
            lines = [f"# {name} of rendered rooms", "# timestamp filename"]
            for k in range(math.ceil(seconds * rate)):
                time = k / rate if name == "label" else self.stamp(name, k)
                raw = self.label(time) if name == "label" else self.raw(name, k)
                replace_file(Path(folder, name, f"{time:.6f}.png"), encode_png(raw), many=True)
                lines.append(f"{time:.6f} {name}/{time:.6f}.png")
            if len(lines) > 2:
                replace_file(Path(folder, f"{name}.txt"), ("\n".join(lines) + "\n").encode())


class RoomClips(SyntheticRooms):
    """Clips of rendered rooms: of each modality some frames with stamps, around the time of the label.

    The first modality is the reference: it has no delay, and the frame of it that is nearest to `time` shows what the
    label does. Sensors are not triggered together: where in a frame's time their stamps fall is drawn for each clip. A
    sample depends on its key alone, so that a clip has the same delays in each epoch.

    Args:
        split, num_frames, size, modalities, seed, paints: see `SyntheticRooms`; `num_frames` counts clips.
        rates: frames per second, of all modalities or of each that is named (10).
        delays: seconds by modality, a number, or (low, high) of which each clip draws; none for those not named.
        jitter: seconds by modality, by which the delay differs from frame to frame, evenly spread to both sides.
        frames: how many frames of each modality; 1 of the first, and 5 of others that are not named. One number
            is of all but the first, also as `offsets`.
        offsets: which frame the window begins with, counted from the one nearest to the label's time; by default the
            window lies around it: -2 of 5. A sensor that lags needs frames after the label's time.
        speed: how fast the camera turns, degrees per second; about 1.8 * speed pixels per second on images of 160.
        common: `transforms` and `targets`, see `DenseDataset`.

    Raises:
        ValueError: as of `SyntheticRooms`, and numbers that make no sense or of a modality that there is not.
    """

    def __init__(
        self,
        *,
        split: str = "train",
        num_frames: int | None = None,
        size: tuple[int, int] = (120, 160),
        modalities: Sequence[str] = ("rgb", "depth"),
        seed: int = 0,
        paints: str = "random",
        rates: float | Mapping[str, float] = 10.0,
        delays: Mapping[str, Seconds] | None = None,
        jitter: Mapping[str, float] | None = None,
        frames: Mapping[str, int] | int | None = None,
        offsets: Mapping[str, int] | int | None = None,
        speed: float = 20.0,
        **common: Unpack[Common],
    ) -> None:
        super().__init__(
            split=split, num_frames=num_frames, size=size, modalities=modalities, seed=seed, paints=paints, **common
        )
        names = self.modalities
        self.rates = per_modality("rates", rates, names, 10.0)
        spans = {name: _range(name, value) for name, value in (delays or {}).items()}
        self.delays = per_modality("delays", spans, names, (0.0, 0.0))
        self.jitter = per_modality("jitter", jitter, names, 0.0)
        self.frames, self.offsets = windows_around(names, frames, offsets)
        self.speed = speed
        self._check()

    def _check(self) -> None:
        first = self.modalities[0]
        for name in self.modalities:
            rate, jitter, begin = self.rates[name], self.jitter[name], self.offsets[name]
            if not 0 < rate < math.inf or not 0 <= jitter < math.inf:
                raise ValueError(
                    f"RoomClips needs of {name} a rate > 0 in Hz and jitter >= 0 in seconds, found {rate!r} and "
                    f"{jitter!r}"
                )
            if begin + START_S * rate < 0:
                raise ValueError(
                    f"offsets of {name}: expected a frame of the recording, which begins {START_S:g} s before the "
                    f"label, found {begin!r}"
                )
        if self.delays[first] != (0, 0) or self.jitter[first]:
            raise ValueError(
                f"RoomClips: {first} is the reference, as the first modality, and has neither delay nor jitter; found "
                f"{self.delays[first]} and {self.jitter[first]}"
            )
        if not 0 <= self.speed < math.inf:
            raise ValueError(f"RoomClips speed must be degrees per second >= 0, found {self.speed!r}")

    @property
    def clip_lengths(self) -> dict[str, int]:
        """See `DenseDataset.clip_lengths`."""
        return dict(self.frames)

    def recording(self, index: int) -> RoomRecording:
        """What clip `index` is cut from."""
        key, streams = (self.seed, self.scene_index(index)), self.streams_of(index)
        return RoomRecording(*key, self.size, streams=streams, speed=self.speed, paints=self.paints)

    def streams_of(self, index: int) -> dict[str, Stream]:
        """How the sensors record clip `index`, with the delays that it drew."""
        rng = np.random.default_rng((self.seed, self.scene_index(index), _CLOCK))
        drawn = {name: rng.random(2).tolist() for name in self.modalities}
        return {
            name: Stream(self.rates[name], low + drawn[name][1] * (high - low), self.jitter[name], drawn[name][0])
            for name, (low, high) in self.delays.items()
        }

    def read(self, index: int) -> Sample:
        """See `DenseDataset.read`; of each modality [T, H, W, ...] and `NAME_time` float64 [T]."""
        recording, first = self.recording(index), self.modalities[0]
        time = recording.stamp(first, recording.nearest(first, START_S))
        sample: dict[str, Any] = {"sample_id": self.name_of(index), "paths": {}, "time": time}
        for name in self.modalities:
            begin = recording.nearest(name, time) + self.offsets[name]
            window = range(begin, begin + self.frames[name])
            sample[name] = np.stack([recording.frame(name, k) for k in window])
            sample[f"{name}{TIMES}"] = np.array([recording.stamp(name, k) for k in window])
        return {**sample, "label": self.seen_classes(recording.label(time))}


def _range(name: str, delay: Seconds) -> tuple[float, float]:
    """(low, high) in seconds."""
    low, high = (delay, delay) if isinstance(delay, (int, float)) else tuple(delay) if len(delay) == 2 else (1.0, 0.0)
    if not -math.inf < low <= high < math.inf:
        raise ValueError(f"delays of {name} must be seconds or (low, high), found {delay!r}")
    return float(low), float(high)
