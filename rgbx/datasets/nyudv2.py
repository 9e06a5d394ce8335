"""NYU Depth V2 with 40 classes (Silberman et al., ECCV 2012; classes of Gupta et al., CVPR 2013).

Two folder layouts are read unchanged: the tab-separated lists of the AsymFusion family
(`NYUDv2Lists`) and the plain folders of the public 320x240 copy (`NYUDv2Folders`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from rgbx.datasets.holdout import Holdout, holdout_indices
from rgbx.datasets.reading import (
    offset_lookup,
    read_depth8,
    read_depth16,
    read_label,
    read_rgb,
)
from rgbx.datasets.sample import IGNORE_INDEX, DenseDataset, Sample, Transform

NYUDV2_CLASSES = (
    "wall", "floor", "cabinet", "bed", "chair", "sofa", "table", "door", "window", "bookshelf",
    "picture", "counter", "blinds", "desk", "shelves", "curtain", "dresser", "pillow", "mirror",
    "floor mat", "clothes", "ceiling", "books", "refrigerator", "television", "paper", "towel",
    "shower curtain", "box", "whiteboard", "person", "night stand", "toilet", "sink", "lamp",
    "bathtub", "bag", "otherstructure", "otherfurniture", "otherprop",
)  # fmt: skip


def bitwise_palette(count: int) -> list[list[int]]:
    """The usual 256-colour palette: bit 3j + c of the index is bit 7 - j of channel c.

    Entry 0 is black.
    """
    return [
        [sum(((index >> (3 * j + c)) & 1) << (7 - j) for j in range(8)) for c in range(3)] for index in range(count)
    ]


NYUDV2_PALETTE = bitwise_palette(41)[1:]  # black is left for void, as in labels that count it as 0


class ListEntry(NamedTuple):
    """One line of a list: files relative to the root, and where it stands."""

    rgb: str
    masks: str
    depth: str
    line: int


class NYUDv2Lists(DenseDataset):
    """The layout of AsymFusion, CEN, TokenFusion and GeminiFusion.

    `root` holds a list file of tab-separated columns rgb, masks, depth. Depth is 16 bits; masks
    hold 0..39 and 255 = ignore, without offset. A mask may be smaller than its image: rgb and
    depth are then cropped to the mask's size around the centre while reading (from row
    (H - h) // 2, column (W - w) // 2), as the recipe does, so that labels are never resized.

    Args:
        root: the folder that the list's paths are relative to.
        list_file: its name inside root, "train.txt" or "val.txt".
        modalities: of "rgb" and "depth"; the files of others are not opened.
        depth_scale: raw depth units per metre.
        transforms: see `DenseDataset`.
        holdout: see `rgbx.datasets.holdout`; "exclude" for training, "only" for choosing a model.

    Raises:
        FileNotFoundError, ValueError: naming the list file and the line.
    """

    def __init__(
        self,
        root: str | Path,
        list_file: str = "train.txt",
        *,
        modalities: Sequence[str] = ("rgb", "depth"),
        depth_scale: float = 5000.0,
        transforms: Sequence[Transform | dict[str, Any]] = (),
        holdout: Holdout = None,
    ) -> None:
        super().__init__(
            modalities=_rgb_depth(modalities), classes=NYUDV2_CLASSES, palette=NYUDV2_PALETTE, transforms=transforms
        )
        self.root = Path(root)
        self.list_file = self.root / list_file
        self.depth_scale = depth_scale
        entries = _parse_list(self.list_file)
        self.entries = [entries[i] for i in holdout_indices(len(entries), holdout)]
        self.read(0)  # swapped columns or a wrong root should fail here, not in a worker

    def __len__(self) -> int:
        return len(self.entries)

    def read(self, index: int) -> Sample:
        """rgb uint8 [H, W, 3], depth float32 [H, W] in metres, label uint8 [H, W]."""
        entry = self.entries[index]
        files = {"rgb": entry.rgb, "depth": entry.depth, "label": entry.masks}
        paths = {name: str(self.root / files[name]) for name in (*self.modalities, "label")}
        sample: Sample = {"sample_id": Path(entry.rgb).stem, "paths": paths}
        try:
            sample["label"] = read_label(paths["label"])
            if "rgb" in paths:
                sample["rgb"] = read_rgb(paths["rgb"])
            if "depth" in paths:
                sample["depth"] = read_depth16(paths["depth"], divisor=self.depth_scale)
            for name in self.modalities:
                sample[name] = _crop_to(sample[name], sample["label"].shape, paths[name])
        except (FileNotFoundError, ValueError) as error:
            message = (
                f"{self.list_file}:{entry.line}: {error} (columns must be rgb, masks, "
                f"depth; this line has {entry.rgb}, {entry.masks}, {entry.depth})"
            )
            raise type(error)(message) from error
        return sample


class NYUDv2Folders(DenseDataset):
    """The 320x240 copy: rgb/*.jpg (or .png), depth/*.png, label/*.png and {split}.txt of stems.

    Depth is 8 bits with metres = (value + 0.5) / 25.5, filled, so every pixel is a measurement.
    Labels hold 0 = void and 1..40; train id = value - 1.

    Args:
        root: the folder that holds rgb, depth, label and the lists.
        split: "train" or "test": the list of stems to read.
        modalities: of "rgb" and "depth".
        transforms: see `DenseDataset`.
        holdout: see `rgbx.datasets.holdout`; "exclude" for training, "only" for choosing a model.

    Raises:
        FileNotFoundError, ValueError: naming the file.
    """

    def __init__(
        self,
        root: str | Path,
        split: str = "train",
        *,
        modalities: Sequence[str] = ("rgb", "depth"),
        transforms: Sequence[Transform | dict[str, Any]] = (),
        holdout: Holdout = None,
    ) -> None:
        super().__init__(
            modalities=_rgb_depth(modalities), classes=NYUDV2_CLASSES, palette=NYUDV2_PALETTE, transforms=transforms
        )
        self.root = Path(root)
        list_file = self.root / f"{split}.txt"
        stems = [line.strip() for line in _lines(list_file) if line.strip()]
        if not stems:
            raise ValueError(f"{list_file}: the list is empty; expected one stem per line")
        self.stems = [stems[i] for i in holdout_indices(len(stems), holdout)]
        first = self.root / "rgb" / f"{self.stems[0]}.jpg"
        self._rgb_suffix = ".jpg" if first.is_file() else ".png"
        self._lookup = offset_lookup(1, void=(0,))
        self.read(0)

    def __len__(self) -> int:
        return len(self.stems)

    def read(self, index: int) -> Sample:
        """rgb uint8 [H, W, 3], depth float32 [H, W] in metres, label uint8 [H, W]."""
        stem = self.stems[index]
        suffixes = {"rgb": self._rgb_suffix, "depth": ".png", "label": ".png"}
        paths = {name: str(self.root / name / f"{stem}{suffixes[name]}") for name in (*self.modalities, "label")}
        sample: Sample = {"sample_id": stem, "paths": paths, "label": read_label(paths["label"], self._lookup)}
        if "rgb" in paths:
            sample["rgb"] = read_rgb(paths["rgb"])
        if "depth" in paths:
            sample["depth"] = read_depth8(paths["depth"])
        return sample

    def encode_label(self, label: np.ndarray) -> np.ndarray:
        """uint8 [H, W]: 1..40, and 0 for void."""
        return np.where(label == IGNORE_INDEX, 0, label + 1).astype(np.uint8)


def _rgb_depth(modalities: Sequence[str]) -> Sequence[str]:
    unknown = [name for name in modalities if name not in ("rgb", "depth")]
    if unknown:
        raise ValueError(f"this layout has the modalities 'rgb' and 'depth', found {unknown}")
    return modalities


def _lines(list_file: Path) -> list[str]:
    if not list_file.is_file():
        raise FileNotFoundError(f"{list_file}: no such list file")
    return list_file.read_text(encoding="utf-8").splitlines()


def _parse_list(list_file: Path) -> list[ListEntry]:
    entries = []
    for number, line in enumerate(_lines(list_file), start=1):
        if not line.strip():
            continue
        columns = [column.strip() for column in line.split("\t")]
        if len(columns) != 3 or not all(columns):
            raise ValueError(
                f"{list_file}:{number}: expected 3 tab-separated columns rgb, masks, "
                f"depth, found {len(columns)}: {line!r}"
            )
        rgb, masks, depth = columns
        entries.append(ListEntry(rgb, masks, depth, number))
    if not entries:
        raise ValueError(f"{list_file}: the list is empty; expected lines rgb<TAB>masks<TAB>depth")
    return entries


def _crop_to(array: np.ndarray, size: tuple[int, ...], path: str) -> np.ndarray:
    """Cuts [H, W, ...] to size around the centre."""
    (height, width), (rows, columns) = array.shape[:2], size
    if rows > height or columns > width:
        raise ValueError(f"{path}: {height}x{width} is smaller than its mask, {rows}x{columns}")
    top, left = (height - rows) // 2, (width - columns) // 2
    return np.ascontiguousarray(array[top : top + rows, left : left + columns])
