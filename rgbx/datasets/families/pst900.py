"""PST900: underground scenes in RGB and thermal (Shivakumar et al., ICRA 2020, arXiv 1909.10980), 5 classes."""

from __future__ import annotations

from rgbx.datasets.declaration import Declaration, DeclaredLabel, DeclaredMap
from rgbx.datasets.folder import FolderDataset
from rgbx.maps import RGB, THERMAL

PST900_CLASSES = ("background", "fire extinguisher", "backpack", "hand drill", "survivor")
PST900_PALETTE = [[0, 0, 0], [255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255]]


class PST900(FolderDataset):
    """`{train,test}/{rgb,thermal,labels}/*.png`; labels hold 0..4 without offset, 0 = background counts as a class.

    Thermal keeps the scale of its files, and 0 where the camera pair left a hole: `thermal_folder="thermal"` is 8 bits
    after the camera's gain control, "thermal_raw" 16 bits of radiation counts. There is no validation split: see
    `holdout`.
    """

    declaration = Declaration(
        "PST900",
        PST900_CLASSES,
        PST900_PALETTE,
        {"rgb": DeclaredMap("{split}/rgb", RGB), "thermal": DeclaredMap("{split}/{thermal_folder}", THERMAL)},
        DeclaredLabel("{split}/labels"),
        choices={"thermal_folder": ("thermal", "thermal_raw")},
    )
