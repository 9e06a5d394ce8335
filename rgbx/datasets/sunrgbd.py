"""SUN RGB-D with 37 classes (Song et al., CVPR 2015): 5285 training and 5050 test frames of four kinds of cameras.

Read unchanged: the folders of SA-Gate, CMX and DFormer (`SUNRGBD`), the lists of TokenFusion and GeminiFusion
(`SUNRGBDLists`) and numbered folders with the depth of the published files (`SUNRGBDFolders`).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from rgbx.datasets.cmx import cmx_frames, cmx_readers
from rgbx.datasets.column_lists import ListDataset, list_frames, list_readers
from rgbx.datasets.files import FileDataset, Reader
from rgbx.datasets.grey import RELATIVE_DEPTH, read_relative
from rgbx.datasets.holdout import Holdout, holdout_indices
from rgbx.datasets.listing import folder_frames
from rgbx.datasets.palette import bitwise_palette
from rgbx.datasets.reading import read_depth16, read_image, read_label, read_rgb
from rgbx.datasets.sample import Transform

SUNRGBD_CLASSES = (
    "wall", "floor", "cabinet", "bed", "chair", "sofa", "table", "door", "window", "bookshelf",
    "picture", "counter", "blinds", "desk", "shelves", "curtain", "dresser", "pillow", "mirror",
    "floor mat", "clothes", "ceiling", "books", "fridge", "tv", "paper", "towel", "shower curtain",
    "box", "whiteboard", "person", "night stand", "toilet", "sink", "lamp", "bathtub", "bag",
)  # fmt: skip
SUNRGBD_PALETTE = bitwise_palette(38)[1:]  # black is left for void


class SUNRGBD(FileDataset):
    """The layout of SA-Gate, CMX and DFormer: RGB, Depth, HHA, labels, train.txt and test.txt, see `rgbx.datasets.cmx`.

    Names are train_0, train_1, ... and test_0, ...; labels count void as 0. Copies differ in what Depth holds, so by
    default it is a fraction of 0..1 of its 8 or 16 bits with the unit "relative", and the model needs statistics for
    it. HHA is uint8 [H, W, 3] in the order horizontal disparity, height, angle.

    Args:
        root: the folder that holds RGB, Depth, HHA, labels and the lists.
        split: "train" or "test": the list to read.
        modalities: of "rgb", "depth" and "hha"; folders of others need not exist.
        depth_scale: raw units per metre of a 16-bit Depth; then depth is metres. None where it is not known.
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
        depth_scale: float | None = None,
        transforms: Sequence[Transform | dict[str, Any]] = (),
        targets: Sequence[str] = (),
        holdout: Holdout = None,
    ) -> None:
        self.root = Path(root)
        super().__init__(
            cmx_frames(self.root, self.root / f"{split}.txt", modalities, holdout),
            cmx_readers(_depth_reader(depth_scale)),
            modalities=modalities,
            classes=SUNRGBD_CLASSES,
            palette=SUNRGBD_PALETTE,
            transforms=transforms,
            targets=targets,
            maps={"depth": RELATIVE_DEPTH} if depth_scale is None else None,
        )


class SUNRGBDLists(ListDataset):
    """The layout of TokenFusion and GeminiFusion: lists of rgb<TAB>masks<TAB>depth, see `rgbx.datasets.column_lists`.

    Args:
        root: the folder that the list's paths are relative to.
        list_file: its name inside root.
        modalities: of "rgb" and "depth".
        depth_scale: raw units per metre of a 16-bit depth; 8000 where the files are those of SUN RGB-D itself
            (`read_sun_depth`). None where it is not known: then depth is "relative" as in `SUNRGBD`.
        transforms, targets: see `DenseDataset`.
        holdout: see `rgbx.datasets.holdout`; "exclude" for training, "only" for choosing a model.
        label_offset: train id = value - label_offset; GeminiFusion's masks count void as 0.

    Raises:
        FileNotFoundError, ValueError: naming the list file and the line.
    """

    def __init__(
        self,
        root: str | Path,
        list_file: str = "train.txt",
        *,
        modalities: Sequence[str] = ("rgb", "depth"),
        depth_scale: float | None = None,
        transforms: Sequence[Transform | dict[str, Any]] = (),
        targets: Sequence[str] = (),
        holdout: Holdout = None,
        label_offset: int = 1,
    ) -> None:
        self.root = Path(root)
        frames = list_frames(self.root, self.root / list_file)
        super().__init__(
            [frames[index] for index in holdout_indices(len(frames), holdout)],
            list_readers(_depth_reader(depth_scale), label_offset),
            modalities=modalities,
            classes=SUNRGBD_CLASSES,
            palette=SUNRGBD_PALETTE,
            transforms=transforms,
            targets=targets,
            maps={"depth": RELATIVE_DEPTH} if depth_scale is None else None,
        )


class SUNRGBDFolders(FileDataset):
    """Numbered folders: image/000001.jpg, depth/, depth_bfx/ and label37/000001.png, all that lie there.

    Labels hold train ids 0..36 and 255 = void.

    Args:
        root: the folder that holds image, depth, depth_bfx and label37.
        depth_kind: "depth_bfx" (holes filled from neighbouring frames) or "depth" (as measured).
        modalities: of "rgb" and "depth".
        transforms, targets: see `DenseDataset`.

    Raises:
        FileNotFoundError, ValueError: naming the folder or the file.
    """

    def __init__(
        self,
        root: str | Path,
        *,
        depth_kind: Literal["depth", "depth_bfx"] = "depth_bfx",
        modalities: Sequence[str] = ("rgb", "depth"),
        transforms: Sequence[Transform | dict[str, Any]] = (),
        targets: Sequence[str] = (),
    ) -> None:
        if depth_kind not in ("depth", "depth_bfx"):
            raise ValueError(f"depth_kind must be 'depth' or 'depth_bfx', found {depth_kind!r}")
        self.root = Path(root)
        folders = {"rgb": self.root / "image", "depth": self.root / depth_kind, "label": self.root / "label37"}
        super().__init__(
            folder_frames(folders, modalities),
            {"rgb": read_rgb, "depth": read_sun_depth, "label": read_label},
            modalities=modalities,
            classes=SUNRGBD_CLASSES,
            palette=SUNRGBD_PALETTE,
            transforms=transforms,
            targets=targets,
        )


def read_sun_depth(path: str | Path) -> np.ndarray:
    """Depth as SUN RGB-D publishes it: millimetres in 16 bits, rotated left by three.

    Below 8.192 m that is the same as 8000 units per metre. Depths beyond 8 m, which the authors' own toolbox cuts off,
    are kept.

    Returns:
        float32 [H, W], metres, 0 = no measurement.

    Raises:
        FileNotFoundError, ValueError: missing, truncated, or not one channel of 16 bits.
    """
    raw = read_image(path)
    if raw.ndim != 2 or raw.dtype != np.uint16:
        raise ValueError(f"depth {path}: expected one channel of 16 bits, found {raw.dtype} of shape {raw.shape}")
    millimetres = (raw >> 3) | (raw << 13)
    return millimetres.astype(np.float32) / np.float32(1000)


def _depth_reader(scale: float | None) -> Reader:
    return read_relative if scale is None else partial(read_depth16, divisor=scale)
