"""NYU Depth V2, 40 classes (Silberman et al., ECCV 2012; classes of Gupta et al., CVPR 2013): one class per layout.

The published file itself is read by `rgbx.datasets.families.nyudv2_mat`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Unpack

from rgbx.datasets.declaration import Declaration, DeclaredLabel, DeclaredMap, bitwise_palette
from rgbx.datasets.families.lists import CMXDataset, ListDataset
from rgbx.datasets.folder import FolderDataset
from rgbx.datasets.listing import Holdout
from rgbx.datasets.sample import Common
from rgbx.maps import RELATIVE_DEPTH, RGB, STANDARD_MAPS, Encoding, LabelEncoding

NYUDV2_CLASSES = (
    "wall", "floor", "cabinet", "bed", "chair", "sofa", "table", "door", "window", "bookshelf",
    "picture", "counter", "blinds", "desk", "shelves", "curtain", "dresser", "pillow", "mirror",
    "floor mat", "clothes", "ceiling", "books", "refrigerator", "television", "paper", "towel",
    "shower curtain", "box", "whiteboard", "person", "night stand", "toilet", "sink", "lamp",
    "bathtub", "bag", "otherstructure", "otherfurniture", "otherprop",
)  # fmt: skip
NYUDV2_PALETTE = bitwise_palette(41)[1:]  # black is left for void, as in labels that count it as 0
_VOID_IS_0 = LabelEncoding(offset=1, void=(0,))
_DEPTH = STANDARD_MAPS["depth"]
_LEVELS_PER_METRE = 255 / 9.99547  # 9.99547 m is the largest depth of the 1449 published frames


class NYUDv2ESANet(FolderDataset):
    """The layout that ESANet's preparation writes: {split}/{rgb,depth,depth_raw,labels_40}/0001.png.

    Depth is uint16 millimetres with 0 = no measurement: `depth_kind="depth"` (filled) or "depth_raw" (as measured).
    Labels count void as 0. ESANet: Seichter et al., ICRA 2021.
    """

    declaration = Declaration(
        "NYUDv2ESANet",
        NYUDV2_CLASSES,
        NYUDV2_PALETTE,
        {
            "rgb": DeclaredMap("{split}/rgb", RGB),
            "depth": DeclaredMap("{split}/{depth_kind}", Encoding(_DEPTH, scale=1000)),
        },
        DeclaredLabel("{split}/labels_40", _VOID_IS_0),
        choices={"depth_kind": ("depth", "depth_raw")},
    )


class NYUDv2Folders(FolderDataset):
    """The public copy at 320x240: rgb/*.jpg (or .png), depth/*.png, label/*.png and {split}.txt of stems.

    Depth is 8 bits with metres = (value + 0.5) / 25.5, filled, so every pixel is a measurement. Labels hold 0 = void
    and 1..40.
    """

    declaration = Declaration(
        "NYUDv2Folders",
        NYUDV2_CLASSES,
        NYUDV2_PALETTE,
        {
            "rgb": DeclaredMap("rgb", RGB),
            "depth": DeclaredMap("depth", Encoding(_DEPTH, 25.5, bits=8, half_step=0.5, holes=False), ".png"),
        },
        DeclaredLabel("label", _VOID_IS_0, ".png"),
        splits="{split}.txt",
    )


class NYUDv2CMX(CMXDataset):
    """The layout of SA-Gate, CMX and DFormer: RGB, Depth, HHA, Label, train.txt and test.txt, see `CMXDataset`.

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
        common: `transforms` and `targets`, see `DenseDataset`.
        holdout: see `rgbx.datasets.listing.holdout_indices`; "exclude" for training, "only" for choosing a model.

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
        holdout: Holdout = None,
        **common: Unpack[Common],
    ) -> None:
        depth = Encoding(RELATIVE_DEPTH)
        if depth_levels is not None:
            depth = Encoding(_DEPTH, depth_levels, bits=8, half_step=0.5)
        super().__init__(
            root, split, depth, holdout, modalities=modalities, classes=NYUDV2_CLASSES, palette=NYUDV2_PALETTE, **common
        )


class NYUDv2Lists(ListDataset):
    """The layout of AsymFusion, CEN, TokenFusion and GeminiFusion, see `ListDataset`.

    `root` holds a list file of tab-separated columns rgb, masks, depth. Depth is 16 bits; masks hold 0..39 and 255 =
    ignore. Where a mask is smaller than its image, the maps are cut to its size around the centre.

    Args:
        root: the folder that the list's paths are relative to.
        list_file: its name inside root, "train.txt" or "val.txt".
        modalities: of "rgb" and "depth"; the files of others are not opened.
        depth_scale: raw depth units per metre.
        common: `transforms` and `targets`, see `DenseDataset`.
        holdout: see `rgbx.datasets.listing.holdout_indices`; "exclude" for training, "only" for choosing a model.
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
        holdout: Holdout = None,
        label_offset: int = 0,
        **common: Unpack[Common],
    ) -> None:
        super().__init__(
            root,
            list_file,
            Encoding(_DEPTH, scale=depth_scale),
            label_offset,
            holdout,
            modalities=modalities,
            classes=NYUDV2_CLASSES,
            palette=NYUDV2_PALETTE,
            **common,
        )
