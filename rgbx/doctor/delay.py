"""By how much one sensor lags behind another, from when the edges of their pictures fit best; nothing is trained.

The edges of every frame of one recording are correlated with those of every frame of the other within `max_delay`.
While the camera moves, they fit best where both show the same moment: at a difference of stamps that is the delay. The
mean over the recording, as a function of that difference, is smoothed by parabolas and its top taken, also between
frames; of slow cameras with coarser edges. How far the top moves when other parts of the recording count says how sure
it is. A camera before which nothing moves gives no answer. The maps should be registered: a shift of p pixels between
them reads as p / v seconds to a camera that only turns one way, by v pixels per second; one that turns back and forth
is not misled.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from rgbx.datasets.declaration import stating_delays
from rgbx.datasets.folder import FolderDataset
from rgbx.datasets.timestamps import Stamped
from rgbx.doctor.check import Check
from rgbx.doctor.edges import image_edges, map_edges, small_plane
from rgbx.doctor.finding import Finding
from rgbx.doctor.inspection import one_line
from rgbx.maps import MapSpec

_BLOCKS = 12  # of the recording, of which parts are drawn to see how sure the answer is
_DRAWS = 200
_FEWEST = 12  # frames of either recording that see anything
_SURE = 4.0  # standard deviations by which the top must stand out
_SLOW = 2.5  # frames of the faster recording, in which little moves where the top is wider
_COARSE = 3.0  # cells by which edges are blurred there
_UNSEEN = 0.25  # of the widest gap between lags, in which no curve can be seen
_TIGHT = 0.7  # frames of the slower recording, in which the top of drawn parts must lie
_STEP = 0.05  # of the grid, in widths of the smoothing
_PIECES, _PIECE_S = 4, 4.0  # what of a long recording the doctor reads


@dataclass(frozen=True)
class Track:
    """A recording as edges.

    Attributes:
        times: float64 [n], stamps in seconds, ascending.
        planes: int8 [n, rows, columns], see `rgbx.doctor.edges.small_plane`.
    """

    times: np.ndarray
    planes: np.ndarray

    @classmethod
    def of(cls, frames: Iterable[tuple[float, np.ndarray]], spec: MapSpec) -> Track:
        """The track of a map.

        Args:
            frames: stamp in seconds and map [H, W, ...] in its unit, in the order of time; those without edges are
                left out.
            spec: of the map.
        """
        found = [(time, small_plane(_edges(array, spec))) for time, array in frames]
        kept = [(time, plane) for time, plane in found if plane is not None]
        planes = np.stack([plane for _, plane in kept]) if kept else np.zeros((0, 1, 1), np.int8)
        return cls(np.array([time for time, _ in kept], np.float64), planes)

    @property
    def frame_s(self) -> float:
        """Seconds from one frame to the next, usually."""
        return float(np.median(np.diff(self.times))) if len(self.times) > 1 else float("inf")


@dataclass(frozen=True)
class Delay:
    """By how much the second recording lags behind the first.

    Attributes:
        seconds: positive where the second shows, at one stamp, an earlier moment than the first; the best guess also
            where undecided, NaN where there is none.
        low, high: where it lies in 95 of 100 cases, by drawing parts of the recording again, and besides 0.25 of the
            widest gap between differences of stamps, which no curve can look into.
        reason: why it is undecided; "" where it is not.
        frames: how many frames of the first recording were compared.
    """

    seconds: float
    low: float
    high: float
    reason: str
    frames: int

    @property
    def decided(self) -> bool:
        return not self.reason


def estimate_delay(first: Track, second: Track, *, max_delay: float = 0.6, seed: int = 0) -> Delay:
    """The constant delay of the second recording.

    Args:
        first: whose clock counts, such as rgb.
        second: the other.
        max_delay: the largest delay to look for, seconds, to either side.
        seed: of the parts that are drawn for the interval.

    Raises:
        ValueError: a largest delay that is not positive.
    """
    if not 0 < max_delay < np.inf:
        raise ValueError(f"max_delay must be seconds > 0, found {max_delay!r}")
    if (fewest := min(len(first.times), len(second.times))) < _FEWEST:
        return Delay(np.nan, np.nan, np.nan, f"only {fewest} frames have edges; {_FEWEST} are needed", 0)
    fine, coarse = sorted((first.frame_s, second.frame_s))
    fits, lags = _fits(_unit(first.planes), _unit(second.planes), first, second, max_delay)
    if len(fits) < _FEWEST:
        reason = (
            f"only {len(fits)} frames have the other recording {max_delay:g} s before and behind; a shorter max_delay"
        )
        return Delay(np.nan, np.nan, np.nan, f"{reason}, or a longer recording, would help", len(fits))
    curve = _Curve(fits, lags, max_delay, fine)
    if curve.half_width() > _SLOW * fine:
        one, other = (_unit(track.planes, _COARSE) for track in (first, second))
        fits, lags = _fits(one, other, first, second, max_delay)
        curve = _Curve(fits, lags, max_delay, _SLOW * fine)
    gap = float(np.diff(np.unique(np.concatenate(lags))).max())
    best, (low, high), sure = _read_off(curve, seed)
    reason = ""
    if not sure:
        reason = "the edges fit about as well at all times, as where nothing moves"
    elif abs(best) > max_delay - 0.5 * fine:
        reason = f"the best fit lies at the end of what was searched, {max_delay:g} s"
    elif high - low > _TIGHT * coarse:
        reason = f"it may lie anywhere from {1000 * low:.0f} to {1000 * high:.0f} ms"
    return Delay(best, min(low, best) - _UNSEEN * gap, max(high, best) + _UNSEEN * gap, reason, len(fits))


def _read_off(curve: _Curve, seed: int) -> tuple[float, tuple[float, float], bool]:
    """Where the top is in seconds, where it is in 95 of 100 draws of the blocks, and whether it stands out in them."""
    whole, rng = curve.heights(np.arange(_BLOCKS)), np.random.default_rng(seed)
    drawn = np.stack([curve.heights(parts) for parts in rng.integers(_BLOCKS, size=(_DRAWS, _BLOCKS))])
    rises = drawn[:, whole.argmax()] - np.median(drawn, axis=1)  # of the top above the rest
    low, high = np.quantile(curve.grid[drawn.argmax(axis=1)], (0.025, 0.975)).tolist()
    return float(curve.grid[whole.argmax()]), (low, high), bool(rises.mean() >= _SURE * rises.std())


def _fits(
    one: np.ndarray,  # float32 [n, cells], of the first
    other: np.ndarray,  # float32 [m, cells], of the second
    first: Track,
    second: Track,
    max_delay: float,
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Of each frame of the first how well frames of the second fit, less their mean, and their lags in seconds."""
    fits, lags = [], []
    for time, plane in zip(first.times, one, strict=True):
        near = np.abs(second.times - time) <= max_delay
        lag = second.times[near] - time
        whole = near.sum() >= 0.8 * (2 * max_delay / second.frame_s - 1)
        if whole and lag.min() < 1.5 * second.frame_s - max_delay and lag.max() > max_delay - 1.5 * second.frame_s:
            fit = other[near] @ plane
            fits.append(fit - fit.mean())
            lags.append(lag)
    return fits, lags


class _Curve:
    """Fit by lag: at each point of a grid the parabola that is nearest to the points around it.

    Args:
        fits, lags: of each frame, [n] each; neighbours are put into one block.
        reach: of the grid, seconds to either side.
        width: of the weights around each point, standard deviation in seconds.
    """

    def __init__(
        self,
        fits: Sequence[np.ndarray],  # [n] each
        lags: Sequence[np.ndarray],  # [n] each
        reach: float,
        width: float,
    ) -> None:
        self.grid = np.arange(-reach, reach + 1e-9, _STEP * width)
        self.powers = np.zeros((_BLOCKS, 5, len(self.grid)))  # sums of weight * distance ** p
        self.values = np.zeros((_BLOCKS, 3, len(self.grid)))  # the same times fit
        for k, (fit, lag) in enumerate(zip(fits, lags, strict=True)):
            apart = (lag[:, None] - self.grid) / width
            weight, block = np.exp(-0.5 * apart**2), k * _BLOCKS // len(fits)
            for power in range(5):
                term = weight * apart**power
                self.powers[block, power] += term.sum(axis=0)
                if power < 3:
                    self.values[block, power] += fit @ term

    def heights(
        self,
        blocks: np.ndarray,  # [m], of which some may be there twice
    ) -> np.ndarray:
        """The curve [grid] of some blocks."""
        powers, values = self.powers[blocks].sum(axis=0), self.values[blocks].sum(axis=0)
        matrix = np.stack([[powers[i + j] for j in range(3)] for i in range(3)]).transpose(2, 0, 1)
        matrix = matrix + 1e-9 * powers[0][:, None, None] * np.eye(3) + 1e-12 * np.eye(3)
        found: np.ndarray = np.linalg.solve(matrix, values.T[..., None])[:, 0, 0]
        return found

    def half_width(self) -> float:
        """Seconds from the top to where the curve has fallen half way to its median, the mean of both sides."""
        heights = self.heights(np.arange(_BLOCKS))
        top = int(heights.argmax())
        below = np.flatnonzero(heights < 0.5 * (heights[top] + np.median(heights)))
        left, right = below[below < top], below[below > top]
        ends = self.grid[left[-1] if len(left) else 0], self.grid[right[0] if len(right) else -1]
        return float(ends[1] - ends[0]) / 2


class Delays(Check):
    """By how much the other maps lag behind the first, where the dataset's files have times of their own.

    Of long recordings four pieces of four seconds are read. A warning starts at half a frame of the lagging map.
    """

    name = "delay"

    def findings(self) -> Iterable[Finding]:
        dataset = self.split.dataset
        if not isinstance(dataset, FolderDataset):
            return
        names = [name for name in dataset.modalities if name in dataset.stamps]
        if len(names) < 2:
            return
        stamps = {name: _pieces(dataset.stamps[names[0]], dataset.stamps[name]) for name in names}
        tracks: dict[str, Track] = {}
        for name in names:
            tracks[name], refused = _read(dataset, name, stamps[name])
            if refused:
                yield self._left_out(name, refused, len(stamps[name]))
        found = {name: estimate_delay(tracks[names[0]], tracks[name]) for name in names[1:]}
        late = {name: delay.seconds for name, delay in found.items() if _matters(delay, tracks[name].frame_s)}
        fix = _remedy(dataset, late) if late else ""
        for name, delay in found.items():
            yield self._told(names[0], name, delay, tracks[name].frame_s, fix)

    def _left_out(self, name: str, refused: Sequence[str], count: int) -> Finding:
        text = f"{name}: {len(refused)} of {count} files with times cannot be read, and are left out here: {refused[0]}"
        fix = "Complete or replace these files, or take their lines out of the list."
        return self.finding("warning", "certain", text, fix, evidence={"map": name, "left_out": len(refused)})

    def _told(self, first: str, name: str, found: Delay, frame_s: float, fix: str) -> Finding:
        evidence = {
            "map": name,
            "delay_s": round(found.seconds, 4),
            "low_s": round(found.low, 4),
            "high_s": round(found.high, 4),
            "frames": found.frames,
        }
        if not found.decided:
            text = f"{name} against {first}: undecided by how much it lags: {found.reason}"
            return self.finding("info", "undecided", text, evidence=evidence)
        ms = [round(1000 * value) for value in (found.seconds, found.low, found.high)]
        text = (
            f"{name} lags by {ms[0]} ms behind {first} ({ms[1]} to {ms[2]} ms; a frame of {name} takes "
            f"{1000 * frame_s:.0f} ms)"
        )
        if not _matters(found, frame_s):
            return self.finding("info", "likely", text, evidence=evidence)
        return self.finding("warning", "likely", text, fix, evidence=evidence)


def _matters(found: Delay, frame_s: float) -> bool:
    """Whether a delay is sure, and half a frame at least."""
    return found.decided and abs(found.seconds) >= 0.5 * frame_s and not found.low <= 0 <= found.high


def _remedy(dataset: FolderDataset, late: Mapping[str, float]) -> str:
    """How to state delays beyond those that the dataset states: the line to write in its declaration."""
    passed = ", ".join(f"{name!r}: {delay:.3f}" for name, delay in late.items())
    instead = f"or pass NearestFrames(delays={{{passed}}})"
    if dataset.streams is None:
        return f"A list of pairs states no delay: name a list for each map in [splits.{dataset.split}], {instead}."
    stated = dict(dataset.streams.delays)
    total = {**stated, **{name: round(stated.get(name, 0.0) + delay, 3) for name, delay in late.items()}}
    return f"{stating_delays(dataset.declared_in, dataset.split, total)}; {instead}."


def _pieces(first: Sequence[Stamped], stamps: Sequence[Stamped]) -> list[Stamped]:
    """Those that lie in pieces of the first's time, evenly spread, or all where that is short."""
    begin, end = first[0].time, first[-1].time
    if end - begin <= _PIECES * _PIECE_S:
        return list(stamps)
    starts = np.linspace(begin, end - _PIECE_S, _PIECES)
    return [item for item in stamps if ((item.time >= starts) & (item.time <= starts + _PIECE_S)).any()]


def _read(dataset: FolderDataset, name: str, stamps: Sequence[Stamped]) -> tuple[Track, list[str]]:
    """The track of a map, and what is wrong with the files that cannot be read."""
    refused: list[str] = []

    def frames() -> Iterator[tuple[float, np.ndarray]]:
        for item in stamps:
            try:
                yield item.time, dataset.encodings[name].read_masked(dataset.root / item.path)[0]
            except (OSError, ValueError) as error:
                refused.append(f"{item.origin}: {one_line(error)}")

    return Track.of(frames(), dataset.maps[name]), refused


def _edges(array: np.ndarray, spec: MapSpec) -> np.ndarray:
    """float32 [H, W] of a map [H, W, ...]."""
    return image_edges(array) if spec.unit == "rgb8" else map_edges(array, spec)


def _unit(
    planes: np.ndarray,  # int8 [n, rows, columns]
    blur: float = 0.0,
) -> np.ndarray:
    """float32 [n, cells] of zero mean and unit norm; blurred by a Gaussian of so many cells."""
    values = planes.astype(np.float32)
    if blur:
        values = np.stack([cv2.GaussianBlur(plane, (0, 0), blur) for plane in values])
    flat = values.reshape(len(planes), -1)
    flat = flat - flat.mean(axis=1, keepdims=True)
    unit: np.ndarray = flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-6)
    return unit
