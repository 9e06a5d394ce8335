"""NYU Depth V2 in the tab-separated lists of the AsymFusion family."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from rgbx.datasets.column_lists import ListDataset, list_frames, list_readers
from rgbx.datasets.holdout import Holdout, holdout_indices
from rgbx.datasets.nyudv2.classes import NYUDV2_CLASSES, NYUDV2_PALETTE
from rgbx.datasets.reading import read_depth16
from rgbx.datasets.sample import Transform


class NYUDv2Lists(ListDataset):
    """The layout of AsymFusion, CEN, TokenFusion and GeminiFusion, see `rgbx.datasets.column_lists`.

    `root` holds a list file of tab-separated columns rgb, masks, depth. Depth is 16 bits; masks hold 0..39 and 255 =
    ignore. Where a mask is smaller than its image, the maps are cut to its size around the centre.

    Args:
        root: the folder that the list's paths are relative to.
        list_file: its name inside root, "train.txt" or "val.txt".
        modalities: of "rgb" and "depth"; the files of others are not opened.
        depth_scale: raw depth units per metre.
        transforms, targets: see `DenseDataset`.
        holdout: see `rgbx.datasets.holdout`; "exclude" for training, "only" for choosing a model.
        label_offset: 1 where the masks count void as 0.

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
        targets: Sequence[str] = (),
        holdout: Holdout = None,
        label_offset: int = 0,
    ) -> None:
        self.root = Path(root)
        self.list_file = self.root / list_file
        frames = list_frames(self.root, self.list_file)
        super().__init__(
            [frames[index] for index in holdout_indices(len(frames), holdout)],
            list_readers(partial(read_depth16, divisor=depth_scale), label_offset),
            modalities=modalities,
            classes=NYUDV2_CLASSES,
            palette=NYUDV2_PALETTE,
            transforms=transforms,
            targets=targets,
        )
