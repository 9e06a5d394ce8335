"""The list layout of AsymFusion, CEN, TokenFusion and GeminiFusion: lines of rgb<TAB>masks<TAB>depth.

Depth is 16 bits; masks hold train ids and 255 = ignore, in some copies with an offset. A mask may be smaller than its
image: the maps are then cut to the mask's size around the centre while reading (from row (H - h) // 2, column
(W - w) // 2), as the recipe of these works does, so that labels are never resized.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from rgbx.datasets.files import FileDataset, Frame, Reader
from rgbx.datasets.listing import list_lines
from rgbx.datasets.reading import offset_lookup, read_label, read_rgb
from rgbx.datasets.sample import Sample

COLUMNS = ("rgb", "label", "depth")  # written as rgb, masks, depth


class ListDataset(FileDataset):
    """Frames of `list_frames`: cut to the size of their mask; messages name the columns. See `FileDataset`."""

    def read_frame(self, frame: Frame, names: Sequence[str]) -> Sample:
        """The arrays of the named maps, all of the label's size."""
        try:
            sample = super().read_frame(frame, names)
            for name in names:
                sample[name] = _cut(sample[name], sample["label"].shape, frame.files[name])
        except (FileNotFoundError, ValueError) as error:
            listed = ", ".join(str(frame.files[name]) for name in COLUMNS)
            message = f"{error} (columns must be rgb, masks, depth; this line has {listed})"
            raise type(error)(message) from error
        return sample


def list_frames(root: Path, list_file: Path) -> list[Frame]:
    """One frame per line; the stem of its rgb file is its id.

    Args:
        root: what the paths in the list are relative to.
        list_file: UTF-8 text.

    Raises:
        FileNotFoundError: no such list.
        ValueError: an empty list, or a line that has not three columns.
    """
    frames = []
    for line, origin in list_lines(list_file, "rgb<TAB>masks<TAB>depth"):
        columns = [column.strip() for column in line.split("\t")]
        if len(columns) != 3 or not all(columns):
            raise ValueError(
                f"{origin}: expected 3 tab-separated columns rgb, masks, depth, found {len(columns)}: {line!r}"
            )
        files = {name: root / column for name, column in zip(COLUMNS, columns, strict=True)}
        frames.append(Frame(files["rgb"].stem, files, origin))
    return frames


def list_readers(depth: Reader, label_offset: int) -> dict[str, Reader]:
    """Readers of the three columns.

    Args:
        depth: depends on the copy.
        label_offset: train id = value - label_offset; values below it are void.
    """
    lookup = offset_lookup(label_offset, void=range(label_offset)) if label_offset else None
    return {
        "rgb": read_rgb,
        "depth": depth,
        "label": partial(read_label, lookup=lookup),
    }


def _cut(array: np.ndarray, size: tuple[int, ...], path: Path) -> np.ndarray:
    """Cuts [H, W, ...] to size around the centre."""
    (height, width), (rows, columns) = array.shape[:2], size
    if rows > height or columns > width:
        raise ValueError(f"{path}: {height}x{width} is smaller than its mask, {rows}x{columns}")
    top, left = (height - rows) // 2, (width - columns) // 2
    return np.ascontiguousarray(array[top : top + rows, left : left + columns])
