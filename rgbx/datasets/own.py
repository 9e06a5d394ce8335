"""Training on one's own declared folder without a config of one's own: its parts, and the figures a model needs."""

from __future__ import annotations

import logging
import math
import time
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from rgbx._text import one_of
from rgbx.datasets.clip import frame_size
from rgbx.datasets.declaration import read_declaration
from rgbx.datasets.folder import DECLARATION, FolderDataset
from rgbx.datasets.listing import Holdout
from rgbx.datasets.sample import DenseDataset, Sample

PARTS = ("train", "val", "test")
MEASURED_FRAMES = 64
_STANDARD = {"rgb": "rgb8", "normal": "unit_vector"}  # whose statistics every model has
_GROUPS, _EVERY = 16, 101  # of frames, for errors; one pixel in so many counts for ranges
_LARGEST, _SMALLEST, _STEP = (480, 640), 64, 32  # sides of a crop: at most, at least, a multiple of

_LOG = logging.getLogger("rgbx")


def declared_part(root: str | Path, part: str = "train", **options: Any) -> FolderDataset:
    """A part of the dataset that a folder declares, also where it declares the training split only.

    Without a split "val", blocks of the training frames are held out for it (`rgbx.datasets.listing.holdout_indices`);
    without a split "test", that of the validation is scored, which is said.

    Args:
        root: a folder with a `dataset.toml`.
        part: "train", "val" or "test".
        options: of `FolderDataset`.

    Raises:
        FileNotFoundError, ValueError: no declaration, no training split, or another part; see `FolderDataset`.
    """
    file = Path(root, DECLARATION)
    if part not in PARTS:
        raise ValueError(f"part is {part!r}; expected one of {one_of(PARTS, part)}")
    if not file.is_file():
        raise FileNotFoundError(f"{file}: no such file; `rgbx doctor {root} --write-toml` proposes one")
    splits = read_declaration(file).splits
    if "train" not in splits:
        raise ValueError(f"{file}: [splits] has {list(splits)}; training needs a split named train")
    if part == "test" and part not in splits:
        part = "val"
        _LOG.warning(f"{file} has no test split: what is scored are frames that chose the checkpoint")
    if part in splits and (part != "train" or "val" in splits):
        return FolderDataset(root, part, **options)
    holdout: Holdout = "exclude" if part == "train" else "only"
    return FolderDataset(root, "train", holdout=holdout, **options)


class Measured(NamedTuple):
    """What a sample of frames says.

    Attributes:
        statistics: of each modality without standard ones, `{"mean": [...], "std": [...]}` by channel, in its unit.
        crop: (height, width) that fits into every frame: at most 480x640 (or 640x480), multiples of 32, at least 64.
        frames: how many were read.
        error: the largest standard error of a figure in `statistics`, as a share of that figure (of a mean: of the
            standard deviation, where that is larger); 0 where all frames were read.
        sizes: (height, width) of the frames to how many of them were so large.
        pixels: labelled pixels of each class, K numbers; none where there are no labels.
        void: share of the pixels of labels that have no class.
        ranges: of each modality, the values below and above which a thousandth of its pixels lies.
    """

    statistics: dict[str, dict[str, list[float]]]
    crop: tuple[int, int]
    frames: int
    error: float
    sizes: dict[tuple[int, int], int]
    pixels: tuple[int, ...]
    void: float
    ranges: dict[str, tuple[float, float]]


def measure(
    dataset: DenseDataset, frames: int = MEASURED_FRAMES, *, error: float | None = None, seconds: float = math.inf
) -> Measured:
    """Reads frames that lie evenly in a dataset; only what was measured counts.

    Args:
        dataset: transforms do not run.
        frames: at most so many, or with `error` at least so many.
        error: twice as many are read until `Measured.error` is at most this; None reads `frames`.
        seconds: after which no more are read, whatever the error.

    Raises:
        FileNotFoundError, ValueError: a frame that cannot be read, or a map without two different values.
    """
    sums, end, count = _Sums(dataset), time.monotonic() + seconds, min(frames, len(dataset))
    while True:
        whole = sums.read(count, end)
        found = sums.error()
        if error is None or found <= error or not whole or count == len(dataset):
            break
        count = min(2 * count, len(dataset))
    return Measured(
        sums.statistics(), _crop(list(sums.sizes)), len(sums.seen), found, dict(sums.sizes),
        tuple(sums.pixels.tolist()) if sums.pixels.any() else (), sums.void(), sums.ranges(),
    )  # fmt: skip


class _Sums:
    """What is added up over the frames of a dataset, for each of `_GROUPS` groups of them."""

    def __init__(self, dataset: DenseDataset) -> None:
        self.dataset = dataset
        self.names = [name for name, spec in dataset.maps.items() if _STANDARD.get(name) != spec.unit]
        # group, then count, sum and sum of squares, then channel
        self.sums = {name: np.zeros((_GROUPS, 3, dataset.maps[name].channels)) for name in self.names}
        self.values: dict[str, list[np.ndarray]] = {name: [] for name in dataset.maps}
        self.sizes: Counter[tuple[int, int]] = Counter()
        self.pixels = np.zeros(dataset.num_classes, np.int64)
        self.labelled = 0
        self.seen: set[int] = set()

    def read(self, count: int, end: float) -> bool:
        """Adds those of `count` frames that are new; False where time ran out."""
        for i in range(count):
            index = i * len(self.dataset) // count
            if index not in self.seen:
                self._add(self.dataset.read(index))
                self.seen.add(index)
            if time.monotonic() > end and i + 1 < count:
                return False
        return True

    def _add(self, sample: Sample) -> None:
        there = self.dataset.maps_in(sample)
        height, width = frame_size(sample, next(iter(there)))
        self.sizes[height, width] += 1
        for name, spec in there.items():
            mask = sample.get(f"{name}_valid")
            if name not in self.names:
                self.values[name].append(sample[name].reshape(-1)[::_EVERY])
                continue
            values = sample[name].reshape(-1, spec.channels).astype(np.float64)
            kept = np.isfinite(values) & ((values > 0) | (not spec.zero_is_hole))
            if mask is not None:
                kept &= mask.reshape(-1, 1) > 0
            self.values[name].append(values[::_EVERY][kept[::_EVERY]])
            values = np.where(kept, values, 0)
            group = len(self.seen) % _GROUPS
            self.sums[name][group] += [kept.sum(axis=0), values.sum(axis=0), (values**2).sum(axis=0)]
        if "label" in sample and self.dataset.num_classes:
            self.pixels += np.bincount(sample["label"].reshape(-1), minlength=256)[: self.dataset.num_classes]
            self.labelled += sample["label"].size

    def statistics(self) -> dict[str, dict[str, list[float]]]:
        found = {}
        for name, sums in self.sums.items():
            mean, std = _moments(sums.sum(axis=0))
            if (flat := np.flatnonzero(std <= 1e-6 * np.abs(mean))).size:
                which = f"{name}, channel {flat[0]} of {len(std)} from 0," if len(std) > 1 else name
                raise ValueError(
                    f"{which} has no two different values in {len(self.seen)} frames: no statistics can be computed"
                )
            found[name] = {"mean": _rounded(mean), "std": _rounded(std)}
        return found

    def error(self) -> float:
        """By the jackknife over groups of frames, for a sample without replacement."""
        count, total = len(self.seen), len(self.dataset)
        groups = min(_GROUPS, count)
        if count == total or groups < 2:
            return 0.0 if count == total else math.inf
        worst = 0.0
        for sums in self.sums.values():
            mean, std = _moments(sums.sum(axis=0))
            without = np.array([_moments(sums.sum(axis=0) - sums[group]) for group in range(groups)])
            spread = np.sqrt((groups - 1) * without.var(axis=0) * (1 - count / total))  # [2, C]
            scale = np.stack([np.maximum(np.abs(mean), std), std])
            worst = max(worst, float((spread / np.maximum(scale, 1e-12)).max()))
        return worst

    def void(self) -> float:
        return 1 - float(self.pixels.sum()) / self.labelled if self.labelled else 0.0

    def ranges(self) -> dict[str, tuple[float, float]]:
        kept = {name: np.concatenate(values) for name, values in self.values.items()}
        ends = {name: np.quantile(values, (0.001, 0.999)) for name, values in kept.items() if values.size}
        return {name: (float(f"{low:.4g}"), float(f"{high:.4g}")) for name, (low, high) in ends.items()}


def _moments(
    sums: np.ndarray,  # [3, C]: count, sum, sum of squares
) -> tuple[np.ndarray, np.ndarray]:  # [C] each
    """Mean and standard deviation."""
    number, total, squares = sums
    mean = total / np.maximum(number, 1)
    return mean, np.sqrt(np.maximum(squares / np.maximum(number, 1) - mean**2, 0))


def _rounded(
    values: np.ndarray,  # [C]
) -> list[float]:
    """Six digits of each."""
    return [float(f"{value:.6g}") for value in values]


def _crop(sizes: list[tuple[int, int]]) -> tuple[int, int]:
    height, width = (min(side) for side in zip(*sizes, strict=True))
    largest = _LARGEST if width >= height else _LARGEST[::-1]
    return (
        max(_SMALLEST, min(height, largest[0]) // _STEP * _STEP),
        max(_SMALLEST, min(width, largest[1]) // _STEP * _STEP),
    )
