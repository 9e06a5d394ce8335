"""NYU Depth V2 as ESANet's preparation writes it: millimetres, filled and as measured."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

from rgbx.datasets.files import FileDataset
from rgbx.datasets.holdout import Holdout, holdout_indices
from rgbx.datasets.listing import folder_frames
from rgbx.datasets.nyudv2.classes import NYUDV2_CLASSES, NYUDV2_PALETTE
from rgbx.datasets.reading import offset_lookup, read_depth16, read_label, read_rgb
from rgbx.datasets.sample import Transform


class NYUDv2ESANet(FileDataset):
    """The layout that ESANet's preparation writes: {split}/{rgb,depth,depth_raw,labels_40}/0001.png.

    Depth is uint16 millimetres with 0 = no measurement, labels count void as 0. ESANet: Seichter et al., ICRA 2021.

    Args:
        root: the folder that holds train and test.
        split: "train" or "test".
        modalities: of "rgb" and "depth".
        depth_kind: "depth" (filled) or "depth_raw" (as measured).
        transforms, targets: see `DenseDataset`.
        holdout: see `rgbx.datasets.holdout`; "exclude" for training, "only" for choosing a model.

    Raises:
        FileNotFoundError, ValueError: naming the folder or the file.
    """

    def __init__(
        self,
        root: str | Path,
        split: str = "train",
        *,
        modalities: Sequence[str] = ("rgb", "depth"),
        depth_kind: Literal["depth", "depth_raw"] = "depth",
        transforms: Sequence[Transform | dict[str, Any]] = (),
        targets: Sequence[str] = (),
        holdout: Holdout = None,
    ) -> None:
        if depth_kind not in ("depth", "depth_raw"):
            raise ValueError(f"depth_kind must be 'depth' or 'depth_raw', found {depth_kind!r}")
        self.root = Path(root)
        folders = {"rgb": "rgb", "depth": depth_kind, "label": "labels_40"}
        frames = folder_frames({name: self.root / split / of for name, of in folders.items()}, modalities)
        super().__init__(
            [frames[index] for index in holdout_indices(len(frames), holdout)],
            {
                "rgb": read_rgb,
                "depth": partial(read_depth16, divisor=1000),
                "label": partial(read_label, lookup=offset_lookup(1, void=(0,))),
            },
            modalities=modalities,
            classes=NYUDV2_CLASSES,
            palette=NYUDV2_PALETTE,
            transforms=transforms,
            targets=targets,
        )
