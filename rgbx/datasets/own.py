"""Training on one's own declared folder without a config of one's own: its parts, and the figures a model needs."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from rgbx._text import one_of
from rgbx.datasets.declaration import read_declaration
from rgbx.datasets.folder import DECLARATION, FolderDataset
from rgbx.datasets.listing import Holdout
from rgbx.datasets.sample import DenseDataset

PARTS = ("train", "val", "test")
MEASURED_FRAMES = 64
_STANDARD = {"rgb": "rgb8", "normal": "unit_vector"}  # whose statistics every model has
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
        raise FileNotFoundError(f"{file}: no such file; `tools/doctor.py {root} --write-toml` proposes one")
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
    """

    statistics: dict[str, dict[str, list[float]]]
    crop: tuple[int, int]
    frames: int


def measure(dataset: DenseDataset, frames: int = MEASURED_FRAMES) -> Measured:
    """Reads frames that lie evenly in a dataset; only what was measured counts.

    Args:
        dataset: transforms do not run.
        frames: at most so many.

    Raises:
        FileNotFoundError, ValueError: a frame that cannot be read, or a map without two different values.
    """
    names = [name for name, spec in dataset.maps.items() if _STANDARD.get(name) != spec.unit]
    sums = {name: np.zeros((3, dataset.maps[name].channels)) for name in names}  # count, sum, sum of squares
    sizes = []
    count = min(frames, len(dataset))
    for i in range(count):
        sample = dataset.read(i * len(dataset) // count)
        sizes.append(sample[dataset.modalities[0]].shape[:2])
        for name in names:
            spec, mask = dataset.maps[name], sample.get(f"{name}_valid")
            values = sample[name].reshape(-1, spec.channels).astype(np.float64)
            kept = np.isfinite(values) & ((values > 0) | (not spec.zero_is_hole))
            if mask is not None:
                kept &= mask.reshape(-1, 1) > 0
            values = np.where(kept, values, 0)
            sums[name] += [kept.sum(axis=0), values.sum(axis=0), (values**2).sum(axis=0)]
    statistics = {}
    for name, (number, total, squares) in sums.items():
        mean = total / np.maximum(number, 1)
        std = np.sqrt(np.maximum(squares / np.maximum(number, 1) - mean**2, 0))
        if not (std > 1e-6 * np.abs(mean)).all():
            raise ValueError(f"{name} has no two different values in {count} frames: no statistics can be computed")
        statistics[name] = {"mean": _rounded(mean), "std": _rounded(std)}
    return Measured(statistics, _crop(sizes), count)


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
