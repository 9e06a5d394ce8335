"""NYU Depth V2 in the folders of SA-Gate, CMX and DFormer."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from rgbx.datasets.cmx import cmx_frames, cmx_readers
from rgbx.datasets.files import FileDataset, Reader
from rgbx.datasets.grey import RELATIVE_DEPTH, read_relative
from rgbx.datasets.holdout import Holdout
from rgbx.datasets.nyudv2.classes import NYUDV2_CLASSES, NYUDV2_PALETTE
from rgbx.datasets.reading import read_depth8
from rgbx.datasets.sample import Transform

_LEVELS_PER_METRE = 255 / 9.99547  # 9.99547 m is the largest depth of the 1449 published frames


class NYUDv2CMX(FileDataset):
    """The layout of SA-Gate, CMX and DFormer: RGB, Depth, HHA, Label, train.txt and test.txt, see `rgbx.datasets.cmx`.

    Depth is 8 bits here. These works feed it as a picture, but it is not rescaled per frame: in eight frames compared
    with a 16-bit copy, every pixel is floor(255 * metres / 9.99547). So it is depth in metres, in steps of 39 mm, and
    is given as such, each step by its middle. A copy made otherwise is read with `depth_levels=None`: then depth is a
    fraction of 0..1 with the unit "relative", for which the model needs statistics of its own. HHA is given as "hha",
    uint8 [H, W, 3] in the order horizontal disparity, height, angle.

    Args:
        root: the folder that holds RGB, Depth, HHA, Label and the lists.
        split: "train" or "test": the list to read.
        modalities: of "rgb", "depth" and "hha"; folders of others need not exist.
        depth_levels: 8-bit steps per metre; None where they are not known.
        transforms, targets: see `DenseDataset`.
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
        depth_levels: float | None = _LEVELS_PER_METRE,
        transforms: Sequence[Transform | dict[str, Any]] = (),
        targets: Sequence[str] = (),
        holdout: Holdout = None,
    ) -> None:
        self.root = Path(root)
        depth: Reader = read_relative
        if depth_levels is not None:
            depth = partial(read_depth8, levels_per_metre=depth_levels, holes=True)
        super().__init__(
            cmx_frames(self.root, self.root / f"{split}.txt", modalities, holdout),
            cmx_readers(depth),
            modalities=modalities,
            classes=NYUDV2_CLASSES,
            palette=NYUDV2_PALETTE,
            transforms=transforms,
            targets=targets,
            maps={"depth": RELATIVE_DEPTH} if depth_levels is None else None,
        )
