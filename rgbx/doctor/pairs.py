"""Which map belongs to which image, told from small planes of their edges, for any number of frames.

How well image i and map j fit is the correlation of their planes, told in standard deviations of foreign pairs: from
the median of a sample of that image's, and of that map's, foreign pairs. On the 654 test frames of NYU Depth V2 depth
fits its own image by 15.5 (median; 99 % above 5), foreign pairs by less than 5.3 (99.99 %).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from rgbx.doctor.edges import SMALL, correlate, peak

FEWEST = 8  # frames, below which nothing is told
FITS = 5.0  # from here a pair is told from foreign ones
LOW = 3.0  # below this it is as foreign ones are
SURE = 7.0  # what the pair with another frame must reach, at least twice what the own pair does
TURNS = {
    "mirrored": (slice(None), slice(None, None, -1)),
    "upside down": (slice(None, None, -1), slice(None)),
    "turned by 180 degrees": (slice(None, None, -1), slice(None, None, -1)),
}
SURE_TURNED = 5.5  # the same of one pair after a turn, since few are tried
_WEAKEST = 0.08  # correlation that a believed pair has at least
_SUSPECT = 8.0  # own pairs above this need no other
_ALIKE = 0.3  # correlation of two images, or two maps, that show the same
_COPY = 0.999
_NEAR = 8  # frames within which others may show the same as they are of one video
_LAGS = (-3, -2, -1, 1, 2, 3)
_DIFFER = 2.0  # between the fits of two pairs
_MOST_OFFSETS = 32
_SHORTEST = 4  # frames of a run
_MOST_RUNS = 20
_REFERENCES = 384
_BLOCK = 512
_ALIGNED = 64  # frames that are asked for the common shift


@dataclass(frozen=True)
class Stray:
    """A frame whose map fits another frame's image, or whose image fits another frame's map.

    Attributes:
        frame, partner: positions among the frames that were compared.
        image: whether it is the image that fits the partner's map; else the map fits the partner's image.
        fit: of that pair, in standard deviations of foreign pairs.
    """

    frame: int
    partner: int
    image: bool
    fit: float


@dataclass(frozen=True)
class Run:
    """Consecutive frames whose maps fit the image of the frame `offset` further.

    Attributes:
        frames: positions among the frames that were compared.
        offset: in frames of the split; negative where maps are late.
    """

    frames: tuple[int, ...]
    offset: int


@dataclass
class Verdict:
    """What was told of n frames.

    Attributes:
        own: how well each map fits its own image, [n].
        runs: ranges that are some frames off.
        strays: frames that fit another one, beside the runs.
        turned: frames whose map fits the image after a turn, by its name in `TURNS`.
        low: frames that fit no better than foreign pairs, and nothing else fits them.
    """

    own: np.ndarray
    runs: list[Run] = field(default_factory=list)
    strays: list[Stray] = field(default_factory=list)
    turned: dict[str, list[int]] = field(default_factory=dict)
    low: list[int] = field(default_factory=list)

    @property
    def misplaced(self) -> set[int]:
        """All frames of runs, strays and turns."""
        runs = {frame for run in self.runs for frame in run.frames}
        return runs | {stray.frame for stray in self.strays} | {at for found in self.turned.values() for at in found}

    @property
    def told(self) -> bool:
        """Whether pairs are told apart: half of the own pairs, or so many of other frames that chance gives none."""
        count, partners = len(self.own), {stray.partner for stray in self.strays}
        if count < FEWEST:
            return False
        found = len(self.misplaced) - len(self.strays) + len(partners)
        return int((self.own >= FITS).sum()) >= count / 2 or found >= max(_SHORTEST, count / 20)


class Pairs:
    """Planes of n frames, and how well any two fit.

    Args:
        images: int8, see `small_plane`.
        others: the same of the maps.
        index: the position of each frame in its split, ascending.
    """

    def __init__(
        self,
        images: np.ndarray,  # [n, rows, columns]
        others: np.ndarray,  # [n, rows, columns]
        index: np.ndarray,  # [n]
    ) -> None:
        self.index, self.count = index, len(images)
        self.images = images
        self.others = _moved(others, *common_shift(images, others))
        self.image_mean, self.other_mean = (planes.mean(axis=0, dtype=np.float32) for planes in (images, self.others))
        spread = np.linspace(0, self.count - 1, min(self.count, _REFERENCES)).round().astype(int)
        self.references = np.unique(spread)
        bank = self.unit_others(self.references)
        rows = np.concatenate([self.unit_images(block) @ bank.T for block in self.blocks()])
        bank = self.unit_images(self.references)
        columns = np.concatenate([self.unit_others(block) @ bank.T for block in self.blocks()])
        self.middle, self.scale = float(np.median(rows)), max(float(_scale(rows.ravel()[None])[0]), 1e-6)
        self.image_middle, self.image_scale = self._statistics(rows)
        self.other_middle, self.other_scale = self._statistics(columns)

    def _statistics(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Median and scale per row of [n, references]; of few references the scale leans on that of all."""
        known = rows.shape[1]
        return np.median(rows, axis=1), (known * _scale(rows) + 16 * self.scale) / (known + 16)

    def blocks(
        self,
        frames: np.ndarray | None = None,  # [k]
    ) -> Iterator[np.ndarray]:
        """Positions, of all frames or of these, some at a time."""
        frames = np.arange(self.count) if frames is None else frames
        for start in range(0, len(frames), _BLOCK):
            yield frames[start : start + _BLOCK]

    def unit_images(
        self,
        frames: np.ndarray,  # [k]
        turn: str = "",
    ) -> np.ndarray:
        """float32 [k, cells]: what the images, perhaps turned, have beside their mean, with norm 1."""
        centred = self.images[frames] - self.image_mean
        return _unit(centred[(slice(None), *TURNS[turn])] if turn else centred)

    def unit_others(
        self,
        frames: np.ndarray,  # [k]
    ) -> np.ndarray:
        """The same of the maps."""
        return _unit(self.others[frames] - self.other_mean)

    def fit(
        self,
        correlation: np.ndarray,  # [k, l] or [k]
        images: np.ndarray,  # [k, 1] or [k]
        others: np.ndarray,  # [1, l] or [k]
    ) -> np.ndarray:
        """Correlations in standard deviations of foreign pairs; `images` and `others` are positions."""
        middle = self.image_middle[images] + self.other_middle[others] - self.middle
        scale = self.image_scale[images] * self.other_scale[others] / self.scale
        return (correlation - middle) / np.maximum(scale, 1e-6)

    def paired(
        self,
        images: np.ndarray,  # [k]
        others: np.ndarray,  # [k]
        turn: str = "",
    ) -> tuple[np.ndarray, np.ndarray]:
        """Correlation and fit of image images[k] with map others[k], [k] each."""
        parts = [
            np.einsum("kc,kc->k", self.unit_images(images[at], turn), self.unit_others(others[at]))
            for at in self.blocks(np.arange(len(images)))
        ]
        correlation = np.concatenate([*parts, np.zeros(0, np.float32)])
        return correlation, self.fit(correlation, images, others)

    def best(
        self,
        frames: np.ndarray,  # [k]
    ) -> tuple[Best, Best]:
        """For these frames the map of another frame that fits the image best, and the image that fits the map best."""
        row, column = Best(self.count), Best(self.count)
        rest = np.setdiff1d(np.arange(self.count), frames)
        for images, others in ((frames, np.arange(self.count)), (rest, frames)):
            for block in self.blocks(images):
                left = self.unit_images(block)
                for part in self.blocks(others):
                    correlation = left @ self.unit_others(part).T
                    fit = self.fit(correlation, block[:, None], part[None])
                    fit[(block[:, None] == part[None]) | (correlation < _WEAKEST)] = -np.inf
                    row.see(block, part, fit)
                    column.see(part, block, fit.T)
        return row, column


class Best:
    """The best partner of each of `count` frames so far: its position and fit."""

    def __init__(self, count: int) -> None:
        self.partner, self.fit = np.zeros(count, int), np.full(count, -np.inf)

    def see(
        self,
        frames: np.ndarray,  # [k]
        partners: np.ndarray,  # [l]
        fit: np.ndarray,  # [k, l]
    ) -> None:
        at = fit.argmax(axis=1)
        value = fit[np.arange(len(frames)), at]
        better = value > self.fit[frames]
        self.fit[frames[better]] = value[better]
        self.partner[frames[better]] = partners[at[better]]


def judge(pairs: Pairs) -> Verdict:
    """Tells runs, turned files, strays and what fits nothing, in this order; each frame once."""
    everyone = np.arange(pairs.count)
    _, own = pairs.paired(everyone, everyone)
    verdict = Verdict(own)
    if pairs.count < FEWEST:
        return verdict
    suspects = np.flatnonzero(own < _SUSPECT)
    strays = {stray.frame: stray for stray in _in_place(pairs, _strays(pairs, own, suspects))}
    verdict.runs = _runs(pairs, own, [stray for stray in strays.values() if not stray.image])
    taken = verdict.misplaced
    for at, (name, fit) in _turned(pairs, own, suspects).items():
        if at not in taken and (at not in strays or strays[at].fit < fit):
            verdict.turned.setdefault(name, []).append(at)
    taken = verdict.misplaced
    verdict.strays = [stray for at, stray in strays.items() if at not in taken]
    taken = verdict.misplaced
    verdict.low = [at for at in np.flatnonzero(own < LOW).tolist() if at not in taken]
    return verdict


def _strays(
    pairs: Pairs,
    own: np.ndarray,  # [n]
    suspects: np.ndarray,  # [k]
) -> list[Stray]:
    """Of the suspects those that fit another frame surely, and at least twice as well as their own."""
    found: list[Stray] = []
    row, column = pairs.best(suspects)
    for at in suspects.tolist():
        for best, image in ((column, False), (row, True)):
            stray = Stray(at, int(best.partner[at]), image, float(best.fit[at]))
            if stray.fit >= SURE and own[at] <= stray.fit / 2 and _possible(pairs, own, stray):
                found.append(stray)
                break
    return found


def _possible(
    pairs: Pairs,
    own: np.ndarray,  # [n]
    stray: Stray,
) -> bool:
    """Whether a frame can be another's, by what the two images, and the two maps, have in common.

    Where images, or maps, show the same, if shifted, the camera moved, and that one of them is dark or blurred is
    likelier. And where the partner's own pair fits, only its copy can fit there too, which within a few frames may be a
    still video.
    """
    both = np.array([stray.frame, stray.partner])
    images, others = (
        float(correlate(*unit.reshape(2, *SMALL)).max()) for unit in (pairs.unit_images(both), pairs.unit_others(both))
    )
    copied, rest = (images, others) if stray.image else (others, images)
    if own[stray.partner] > stray.fit / 2:
        far = abs(int(np.diff(pairs.index[both])[0])) > _NEAR
        return copied >= _COPY and far and rest <= _ALIKE
    return max(copied, rest) <= _ALIKE


def _in_place(pairs: Pairs, strays: list[Stray]) -> list[Stray]:
    """The strays without those that fit a neighbour of their own place too, as they do in a video."""
    steps = np.array([step for step in range(-_NEAR, _NEAR + 1) if step])
    frames = np.repeat([stray.frame for stray in strays], len(steps)).astype(int)
    partners = np.repeat([stray.partner for stray in strays], len(steps)).astype(int)
    wanted = pairs.index[frames] + np.tile(steps, len(strays))
    near = np.searchsorted(pairs.index, wanted).clip(0, pairs.count - 1)
    there = (pairs.index[near] == wanted) & (near != partners)
    image = np.repeat([stray.image for stray in strays], len(steps)).astype(bool)
    fit = np.full(len(frames), -np.inf)
    images, others = np.where(image, frames, near)[there], np.where(image, near, frames)[there]
    fit[there] = pairs.paired(images, others)[1]
    best = fit.reshape(-1, len(steps)).max(axis=1, initial=-np.inf)
    return [stray for stray, value in zip(strays, best.tolist(), strict=True) if value < stray.fit / 2]


def _turned(
    pairs: Pairs,
    own: np.ndarray,  # [n]
    suspects: np.ndarray,  # [k]
) -> dict[int, tuple[str, float]]:
    """Suspects whose map fits the turned image, with the name of the turn that fits best, and its fit."""
    found: dict[int, tuple[str, float]] = {}
    for name in TURNS:
        correlation, fit = pairs.paired(suspects, suspects, name)
        for at, value, strength in zip(suspects.tolist(), fit.tolist(), correlation.tolist(), strict=True):
            if (
                strength >= _WEAKEST
                and value >= SURE_TURNED
                and own[at] <= value / 2
                and value > found.get(at, ("", 0.0))[1]
            ):
                found[at] = (name, value)
    return found


def _runs(
    pairs: Pairs,
    own: np.ndarray,  # [n]
    strays: list[Stray],
) -> list[Run]:
    """Ranges of frames whose maps fit the image a fixed number of frames further better than their own.

    Of each offset the range with the largest sum of gains is taken: a pair that cannot be told does not end it. Of
    offsets that strays have, half of a range must be strays. In a video, where neighbours fit nearly as well, there are
    none: there the range must hold half of all frames, as a map that lies beside its image fits, while the camera turns
    steadily, a neighbour better too.
    """
    at = {stray.frame: int(pairs.index[stray.partner] - pairs.index[stray.frame]) for stray in strays}
    often = [offset for offset, times in Counter(at.values()).most_common(_MOST_OFFSETS) if times >= _SHORTEST]
    gains = {offset: _gains(pairs, own, offset) for offset in dict.fromkeys((*often, *_LAGS))}
    runs: list[Run] = []
    for _ in range(_MOST_RUNS):
        taken = {frame for run in runs for frame in run.frames}
        found: list[tuple[float, Run]] = []
        for offset, (frames, gain, fit) in gains.items():
            free = np.array([frame not in taken for frame in frames.tolist()], bool)
            part = slice(*_largest_sum(np.where(free, gain - 1, -np.inf)))
            run = Run(tuple(frames[part].tolist()), offset)
            members = sum(at.get(frame) == offset for frame in run.frames)
            known = members >= max(_SHORTEST, len(run.frames) / 2)
            video = len(run.frames) >= max(FEWEST, len(frames) / 2) and _late(gain[part], fit[part])
            if known or video:
                found.append((float(gain[part].sum()), run))
        if not found:
            break
        runs.append(max(found, key=lambda item: item[0])[1])
    return sorted(runs, key=lambda run: run.frames)


def _late(
    gain: np.ndarray,  # [k]
    fit: np.ndarray,  # [k]
) -> bool:
    """Whether a video is some frames off: of the pairs that differ, nearly all are better so far apart, by a quarter.

    At least eight and a quarter of the pairs must differ; those of a camera that stands still do not.
    """
    differ = np.abs(gain) >= _DIFFER
    if differ.sum() < max(FEWEST, len(gain) / 4):
        return False
    gain, fit = gain[differ], fit[differ]
    return bool(np.median(fit) >= FITS and (gain > 0).mean() >= 0.9 and gain.mean() >= fit.mean() / 4)


def _gains(
    pairs: Pairs,
    own: np.ndarray,  # [n]
    offset: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Frames that have another `offset` further, how much better their map fits that one's image, and how well."""
    at = np.searchsorted(pairs.index, pairs.index + offset).clip(0, pairs.count - 1)
    frames = np.flatnonzero(pairs.index[at] == pairs.index + offset)
    _, fit = pairs.paired(at[frames], frames)
    return frames, fit - own[frames], fit


def _largest_sum(values: np.ndarray) -> tuple[int, int]:
    """Where the part of [n] with the largest sum begins and ends."""
    best, total, start, found = 0.0, 0.0, 0, (0, 0)
    for at, value in enumerate(values.tolist()):
        if total <= 0:
            total, start = 0.0, at
        total += value
        if total > best:
            best, found = total, (start, at + 1)
    return found


def common_shift(
    images: np.ndarray,  # [n, rows, columns]
    others: np.ndarray,  # [n, rows, columns]
) -> tuple[int, int]:
    """Cells (right, down) by which maps lie beside images; (0, 0) unless half of those that are asked agree."""
    some = np.unique(np.linspace(0, len(images) - 1, min(len(images), _ALIGNED)).round().astype(int))
    shape = images.shape[1:]
    planes = [correlate(_unit(images[at][None]).reshape(shape), _unit(others[at][None]).reshape(shape)) for at in some]
    right, down = peak(np.mean(planes, axis=0))
    alone = [peak(plane) for plane in planes]
    agree = sum(max(abs(x - right), abs(y - down)) <= 1.5 for x, y in alone)
    return (round(right), round(down)) if agree >= max(4, len(planes) / 2) else (0, 0)


def _moved(planes: np.ndarray, right: int, down: int) -> np.ndarray:
    """[n, rows, columns] taken from so many cells further right and down; zeros where there is nothing."""
    rows, columns = planes.shape[1:]
    moved = np.zeros_like(planes)
    moved[:, max(-down, 0) : rows - max(down, 0), max(-right, 0) : columns - max(right, 0)] = planes[
        :, max(down, 0) : rows + min(down, 0), max(right, 0) : columns + min(right, 0)
    ]
    return moved


def _unit(planes: np.ndarray) -> np.ndarray:
    """[k, rows, columns] as float32 [k, cells] of norm 1; zeros stay."""
    flat = np.reshape(planes, (len(planes), -1)).astype(np.float32)
    norm = np.linalg.norm(flat, axis=1, keepdims=True)
    return flat / np.where(norm > 1e-3, norm, np.inf)


def _scale(rows: np.ndarray) -> np.ndarray:
    """Standard deviation of each row of [n, k], from its inner 60 %, on which true pairs bear little."""
    low, high = np.percentile(rows, (20, 80), axis=1)
    return (high - low) / 1.6832
