"""PST900: underground scenes in RGB and thermal (Shivakumar et al., ICRA 2020, arXiv 1909.10980), 5 classes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rgbx.datasets.files import FileDataset
from rgbx.datasets.grey import read_sensor
from rgbx.datasets.holdout import Holdout, holdout_indices
from rgbx.datasets.listing import folder_frames
from rgbx.datasets.reading import read_label, read_rgb
from rgbx.datasets.sample import Transform

PST900_CLASSES = ("background", "fire extinguisher", "backpack", "hand drill", "survivor")
PST900_PALETTE = [[0, 0, 0], [255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255]]
PST900_FOLDERS = {"rgb": "rgb", "thermal": "thermal", "label": "labels"}


class PST900(FileDataset):
    """`{train,test}/{rgb,thermal,labels}/*.png`; labels hold 0..4 without offset, 0 = background counts as a class.

    Args:
        root: the folder that holds train and test.
        split: "train" or "test".
        modalities: of "rgb" and "thermal". Thermal keeps the scale of its files, and 0 where the camera pair left a
            hole: `thermal` is 8 bits after the camera's gain control, `thermal_raw` 16 bits of radiation counts.
        thermal_folder: "thermal" or "thermal_raw".
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
        thermal_folder: str = "thermal",
        holdout: Holdout = None,
        transforms: Sequence[Transform | dict[str, Any]] = (),
        targets: Sequence[str] = (),
    ) -> None:
        self.root, self.split = Path(root), split
        folders = {name: self.root / split / folder for name, folder in PST900_FOLDERS.items()}
        folders["thermal"] = self.root / split / thermal_folder
        frames = folder_frames(folders, modalities)
        super().__init__(
            [frames[i] for i in holdout_indices(len(frames), holdout)],
            {"rgb": read_rgb, "thermal": read_sensor, "label": read_label},
            modalities=modalities,
            classes=PST900_CLASSES,
            palette=PST900_PALETTE,
            transforms=transforms,
            targets=targets,
        )
