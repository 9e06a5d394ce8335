"""FMB: street scenes in RGB and infrared (Liu et al., ICCV 2023, arXiv 2308.02097), 14 classes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from rgbx.datasets.files import FileDataset
from rgbx.datasets.grey import read_sensor
from rgbx.datasets.holdout import Holdout, holdout_indices
from rgbx.datasets.listing import folder_frames
from rgbx.datasets.reading import offset_lookup, read_label, read_rgb
from rgbx.datasets.sample import Transform

_CLASSES = (
    ("road", (179, 228, 228)),
    ("sidewalk", (181, 57, 133)),
    ("building", (67, 162, 177)),
    ("traffic light", (200, 178, 50)),
    ("traffic sign", (132, 45, 199)),
    ("vegetation", (66, 172, 84)),
    ("sky", (179, 73, 79)),
    ("person", (76, 99, 166)),
    ("car", (66, 121, 253)),
    ("truck", (137, 165, 91)),
    ("bus", (155, 97, 152)),
    ("motorcycle", (105, 153, 140)),
    ("bicycle", (222, 215, 158)),
    ("pole", (135, 113, 90)),
)
FMB_CLASSES = tuple(name for name, _ in _CLASSES)
FMB_PALETTE = [list(colour) for _, colour in _CLASSES]  # as the authors give it
FMB_FOLDERS = {"rgb": "Visible", "thermal": "Infrared", "label": "Label"}


class FMB(FileDataset):
    """`{train,test}/{Visible,Infrared,Label}/*.png`; labels hold 0 = unlabelled and 1..14, train id = value - 1.

    Args:
        root: the folder that holds train and test.
        split: "train" or "test".
        modalities: of "rgb" and "thermal" (infrared on the camera's 8-bit scale, 0..255).
        holdout: see `rgbx.datasets.holdout`; the dataset has no validation split.
        transforms, targets: see `DenseDataset`.

    Raises:
        FileNotFoundError, ValueError: a folder that is not there, or frames without all their files.
    """

    def __init__(
        self,
        root: str | Path,
        split: str = "train",
        *,
        modalities: Sequence[str] = ("rgb", "thermal"),
        holdout: Holdout = None,
        transforms: Sequence[Transform | dict[str, Any]] = (),
        targets: Sequence[str] = (),
    ) -> None:
        self.root, self.split = Path(root), split
        folders = {name: self.root / split / folder for name, folder in FMB_FOLDERS.items()}
        frames = folder_frames(folders, modalities)
        super().__init__(
            [frames[i] for i in holdout_indices(len(frames), holdout)],
            {
                "rgb": read_rgb,
                "thermal": read_sensor,
                "label": partial(read_label, lookup=offset_lookup(1, void=(0,))),
            },
            modalities=modalities,
            classes=FMB_CLASSES,
            palette=FMB_PALETTE,
            transforms=transforms,
            targets=targets,
        )
