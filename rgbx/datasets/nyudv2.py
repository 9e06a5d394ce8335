"""NYU Depth V2 with 40 classes (Silberman et al., ECCV 2012; classes of Gupta et al., CVPR 2013).

Read unchanged: the tab-separated lists of the AsymFusion family (`NYUDv2Lists`), the plain folders of the public
320x240 copy (`NYUDv2Folders`) and the folders of SA-Gate, CMX and DFormer (`NYUDv2CMX`). ESANet's folders and the
published .mat file have modules of their own, `nyudv2_esanet` and `nyudv2_mat`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from rgbx.datasets.cmx import RELATIVE_DEPTH, cmx_frames, cmx_readers, read_level_depth, read_relative_depth
from rgbx.datasets.files import FileDataset, Frame, list_lines
from rgbx.datasets.holdout import Holdout, holdout_indices
from rgbx.datasets.lists import ListDataset, list_frames, list_readers
from rgbx.datasets.nyudv2_classes import NYUDV2_CLASSES, NYUDV2_PALETTE, bitwise_palette
from rgbx.datasets.reading import offset_lookup, read_depth8, read_depth16, read_label, read_rgb
from rgbx.datasets.sample import Transform

__all__ = [
    "NYUDV2_CLASSES",
    "NYUDV2_PALETTE",
    "NYUDv2CMX",
    "NYUDv2Folders",
    "NYUDv2Lists",
    "bitwise_palette",
]

_LEVELS_PER_METRE = 255 / 9.99547  # 9.99547 m is the largest depth of the 1449 published frames
_VOID_IS_0 = offset_lookup(1, void=(0,))


class NYUDv2Lists(ListDataset):
    """The layout of AsymFusion, CEN, TokenFusion and GeminiFusion, see `rgbx.datasets.lists`.

    `root` holds a list file of tab-separated columns rgb, masks, depth. Depth is 16 bits; masks hold 0..39 and 255 =
    ignore. Where a mask is smaller than its image, the maps are cut to its size around the centre.

    Args:
        root: the folder that the list's paths are relative to.
        list_file: its name inside root, "train.txt" or "val.txt".
        modalities: of "rgb" and "depth"; the files of others are not opened.
        depth_scale: raw depth units per metre.
        transforms: see `DenseDataset`.
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
        )


class NYUDv2Folders(FileDataset):
    """The 320x240 copy: rgb/*.jpg (or .png), depth/*.png, label/*.png and {split}.txt of stems.

    Depth is 8 bits with metres = (value + 0.5) / 25.5, filled, so every pixel is a measurement.
    Labels hold 0 = void and 1..40; train id = value - 1.

    Args:
        root: the folder that holds rgb, depth, label and the lists.
        split: "train" or "test": the list of stems to read.
        modalities: of "rgb" and "depth".
        transforms: see `DenseDataset`.
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
        transforms: Sequence[Transform | dict[str, Any]] = (),
        holdout: Holdout = None,
    ) -> None:
        self.root = Path(root)
        lines = list_lines(self.root / f"{split}.txt", "one stem each")
        lines = [lines[index] for index in holdout_indices(len(lines), holdout)]
        first = self.root / "rgb" / f"{lines[0][0].strip()}.jpg"
        suffixes = {"rgb": ".jpg" if first.is_file() else ".png", "depth": ".png", "label": ".png"}
        super().__init__(
            [_frame(self.root, line.strip(), suffixes, origin) for line, origin in lines],
            {"rgb": read_rgb, "depth": read_depth8, "label": partial(read_label, lookup=_VOID_IS_0)},
            modalities=modalities,
            classes=NYUDV2_CLASSES,
            palette=NYUDV2_PALETTE,
            transforms=transforms,
        )

    @property
    def stems(self) -> list[str]:
        """File names without suffix, in the order of the list."""
        return [frame.sample_id for frame in self.frames]


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
        transforms: see `DenseDataset`.
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
        holdout: Holdout = None,
    ) -> None:
        self.root = Path(root)
        relative = depth_levels is None
        depth = partial(read_level_depth, levels_per_metre=depth_levels) if depth_levels else read_relative_depth
        super().__init__(
            cmx_frames(self.root, self.root / f"{split}.txt", modalities, holdout),
            cmx_readers(depth),
            modalities=modalities,
            classes=NYUDV2_CLASSES,
            palette=NYUDV2_PALETTE,
            transforms=transforms,
            maps={"depth": RELATIVE_DEPTH} if relative else None,
        )


def _frame(root: Path, stem: str, suffixes: dict[str, str], origin: str) -> Frame:
    return Frame(stem, {name: root / name / f"{stem}{suffix}" for name, suffix in suffixes.items()}, origin)
