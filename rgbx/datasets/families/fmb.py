"""FMB: street scenes in RGB and infrared (Liu et al., ICCV 2023, arXiv 2308.02097), 14 classes."""

from __future__ import annotations

from rgbx.datasets.declaration import Declaration, DeclaredLabel, DeclaredMap
from rgbx.datasets.folder import FolderDataset
from rgbx.maps import RGB, THERMAL, LabelEncoding

_CLASSES = (
    ("road", (179, 228, 228)), ("sidewalk", (181, 57, 133)), ("building", (67, 162, 177)),
    ("traffic light", (200, 178, 50)), ("traffic sign", (132, 45, 199)), ("vegetation", (66, 172, 84)),
    ("sky", (179, 73, 79)), ("person", (76, 99, 166)), ("car", (66, 121, 253)), ("truck", (137, 165, 91)),
    ("bus", (155, 97, 152)), ("motorcycle", (105, 153, 140)), ("bicycle", (222, 215, 158)),
    ("pole", (135, 113, 90)),
)  # fmt: skip
FMB_CLASSES = tuple(name for name, _ in _CLASSES)
FMB_PALETTE = [list(colour) for _, colour in _CLASSES]  # as the authors give it


class FMB(FolderDataset):
    """`{train,test}/{Visible,Infrared,Label}/*.png`; labels hold 0 = unlabelled and 1..14, train id = value - 1.

    "thermal" is infrared on the camera's 8-bit scale, 0..255. There is no validation split: see `holdout`.
    """

    declaration = Declaration(
        "FMB",
        FMB_CLASSES,
        FMB_PALETTE,
        {"rgb": DeclaredMap("{split}/Visible", RGB), "thermal": DeclaredMap("{split}/Infrared", THERMAL)},
        DeclaredLabel("{split}/Label", LabelEncoding(offset=1, void=(0,))),
    )
