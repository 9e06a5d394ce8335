"""SUN RGB-D with 37 classes (Song et al., CVPR 2015): 5285 training and 5050 test frames of four kinds of cameras.

Read unchanged: the folders of SA-Gate, CMX and DFormer (`SUNRGBD`), the lists of TokenFusion and GeminiFusion
(`SUNRGBDLists`) and numbered folders with the depth of the published files (`SUNRGBDFolders`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Unpack

import numpy as np

from rgbx._files import File
from rgbx.datasets.declaration import Declaration, DeclaredLabel, DeclaredMap, bitwise_palette
from rgbx.datasets.families.lists import Chosen, CMXDataset, ListDataset
from rgbx.datasets.folder import FolderDataset
from rgbx.maps import RELATIVE_DEPTH, RGB, STANDARD_MAPS, Encoding

SUNRGBD_CLASSES = (
    "wall", "floor", "cabinet", "bed", "chair", "sofa", "table", "door", "window", "bookshelf",
    "picture", "counter", "blinds", "desk", "shelves", "curtain", "dresser", "pillow", "mirror",
    "floor mat", "clothes", "ceiling", "books", "fridge", "tv", "paper", "towel", "shower curtain",
    "box", "whiteboard", "person", "night stand", "toilet", "sink", "lamp", "bathtub", "bag",
)  # fmt: skip
SUNRGBD_PALETTE = bitwise_palette(38)[1:]  # black is left for void


class SUNRGBD(CMXDataset):
    """The layout of SA-Gate, CMX and DFormer: RGB, Depth, HHA, labels, train.txt and test.txt, see `CMXDataset`.

    Names are train_0, train_1, ... and test_0, ...; labels count void as 0. Copies differ in what Depth holds, so by
    default it is a fraction of 0..1 of its 8 or 16 bits with the unit "relative", and the model needs statistics for
    it. HHA is uint8 [H, W, 3] in the order horizontal disparity, height, angle.

    Args:
        root: the folder that holds RGB, Depth, HHA, labels and the lists.
        split: "train" or "test": the list to read.
        depth_scale: raw units per metre of a 16-bit Depth; then depth is metres. None where it is not known.
        chosen: see `Chosen`; modalities of "rgb", "depth" and "hha".

    Raises:
        FileNotFoundError, ValueError: naming the file.
    """

    def __init__(
        self, root: str | Path, split: str = "train", *, depth_scale: float | None = None, **chosen: Unpack[Chosen]
    ) -> None:
        super().__init__(root, split, _depth(depth_scale), SUNRGBD_CLASSES, SUNRGBD_PALETTE, **chosen)


class SUNRGBDLists(ListDataset):
    """The layout of TokenFusion and GeminiFusion: lists of rgb<TAB>masks<TAB>depth, see `ListDataset`.

    Args:
        root: the folder that the list's paths are relative to.
        list_file: its name inside root.
        depth_scale: raw units per metre of a 16-bit depth; 8000 where the files are those of SUN RGB-D itself
            (`SunDepth`). None where it is not known: then depth is "relative" as in `SUNRGBD`.
        label_offset: train id = value - label_offset; GeminiFusion's masks count void as 0.
        chosen: see `Chosen`; modalities of "rgb" and "depth".

    Raises:
        FileNotFoundError, ValueError: naming the list file and the line.
    """

    def __init__(
        self,
        root: str | Path,
        list_file: str = "train.txt",
        *,
        depth_scale: float | None = None,
        label_offset: int = 1,
        **chosen: Unpack[Chosen],
    ) -> None:
        depth = _depth(depth_scale)
        super().__init__(root, list_file, depth, label_offset, SUNRGBD_CLASSES, SUNRGBD_PALETTE, **chosen)


class SunDepth(Encoding):
    """Depth as SUN RGB-D publishes it: millimetres in 16 bits, rotated left by three.

    Below 8.192 m that is the same as 8000 units per metre. Depths beyond 8 m, which the authors' own toolbox cuts off,
    are kept.
    """

    def stored(self, path: File) -> np.ndarray:
        """Millimetres, uint16 [H, W]."""
        raw = super().stored(path)
        return (raw >> 3) | (raw << 13)

    def _fits(self, dtype: np.dtype) -> bool:
        """Rotated bits are those of 16-bit whole numbers."""
        return dtype == np.uint16


class SUNRGBDFolders(FolderDataset):
    """Numbered folders: image/000001.jpg, depth/, depth_bfx/ and label37/000001.png, all that lie there.

    `depth_kind` is "depth_bfx" (holes filled from neighbouring frames) or "depth" (as measured). Labels hold train ids
    0..36 and 255 = void.
    """

    declaration = Declaration(
        "SUNRGBDFolders",
        SUNRGBD_CLASSES,
        SUNRGBD_PALETTE,
        {"rgb": DeclaredMap("image", RGB), "depth": DeclaredMap("{depth_kind}", SunDepth(STANDARD_MAPS["depth"]))},
        DeclaredLabel("label37"),
        splits={"all": ""},
        choices={"depth_kind": ("depth_bfx", "depth")},
    )
    default_split = "all"


def _depth(scale: float | None) -> Encoding:
    return Encoding(RELATIVE_DEPTH) if scale is None else Encoding(STANDARD_MAPS["depth"], scale=scale)
