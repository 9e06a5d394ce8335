"""NYU Depth V2 at 320x240, in the plain folders of its public copy."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from rgbx.datasets.files import FileDataset, Frame
from rgbx.datasets.holdout import Holdout, holdout_indices
from rgbx.datasets.listing import find_image, list_lines
from rgbx.datasets.nyudv2.classes import NYUDV2_CLASSES, NYUDV2_PALETTE
from rgbx.datasets.reading import offset_lookup, read_depth8, read_label, read_rgb
from rgbx.datasets.sample import Transform


class NYUDv2Folders(FileDataset):
    """The 320x240 copy: rgb/*.jpg (or .png), depth/*.png, label/*.png and {split}.txt of stems.

    Depth is 8 bits with metres = (value + 0.5) / 25.5, filled, so every pixel is a measurement.
    Labels hold 0 = void and 1..40; train id = value - 1.

    Args:
        root: the folder that holds rgb, depth, label and the lists.
        split: "train" or "test": the list of stems to read.
        modalities: of "rgb" and "depth".
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
        transforms: Sequence[Transform | dict[str, Any]] = (),
        targets: Sequence[str] = (),
        holdout: Holdout = None,
    ) -> None:
        self.root = Path(root)
        lines = list_lines(self.root / f"{split}.txt", "one stem each")
        lines = [lines[index] for index in holdout_indices(len(lines), holdout)]
        suffix = find_image(self.root / "rgb", lines[0][0].strip()).suffix
        super().__init__(
            [_frame(self.root, line.strip(), suffix, origin) for line, origin in lines],
            {"rgb": read_rgb, "depth": read_depth8, "label": partial(read_label, lookup=offset_lookup(1, void=(0,)))},
            modalities=modalities,
            classes=NYUDV2_CLASSES,
            palette=NYUDV2_PALETTE,
            transforms=transforms,
            targets=targets,
        )

    @property
    def stems(self) -> list[str]:
        """File names without suffix, in the order of the list."""
        return [frame.sample_id for frame in self.frames]


def _frame(root: Path, stem: str, rgb_suffix: str, origin: str) -> Frame:
    names = {"rgb": f"{stem}{rgb_suffix}", "depth": f"{stem}.png", "label": f"{stem}.png"}
    return Frame(stem, {kind: root / kind / name for kind, name in names.items()}, origin)
