"""Pairs in one image, A left and B right, as pix2pix ships them (Isola et al., CVPR 2017)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from rgbx._files import inside
from rgbx.datasets.files import FileDataset
from rgbx.datasets.frames import Frame
from rgbx.datasets.sample import Sample, Transforms
from rgbx.maps import Encoding, MapSpec
from rgbx.maps.files import read_rgb
from rgbx.maps.folders import image_files


class SideBySide(FileDataset):
    """`{split}/*.jpg` or `.png` whose halves are two maps, uint8 [H, W / 2, 3] each, without labels.

    Args:
        root: the folder that holds one folder per split.
        split: such as "train", "val" or "test".
        names: what the left and the right half are called.
        targets: which of them to translate to.
        transforms: see `DenseDataset`.

    Raises:
        FileNotFoundError, ValueError: no images; when read, one of odd width.
    """

    def __init__(
        self,
        root: str | Path,
        split: str = "train",
        *,
        names: tuple[str, str] = ("a", "b"),
        targets: Sequence[str] = ("b",),
        transforms: Transforms = (),
    ) -> None:
        if len(set(names)) != 2:
            raise ValueError(f"names must be two, of the left and the right half, found {names!r}")
        self.root, self.split, self.names = Path(root), split, tuple(names)
        images = image_files(self.root / inside(root, split, "split"))
        super().__init__(
            [Frame(stem, dict.fromkeys(names, images[stem])) for stem in sorted(images)],
            {name: Encoding(MapSpec.of_unit(name, "rgb8")) for name in names},
            modalities=[name for name in names if name not in targets] + list(targets),
            classes=(),
            palette=(),
            transforms=transforms,
            targets=targets,
        )

    def read_frame(self, frame: Frame, names: Sequence[str]) -> Sample:
        """Both halves of the image."""
        image = read_rgb(frame.files[names[0]])
        width = image.shape[1]
        if width % 2:
            raise ValueError(f"{frame.files[names[0]]}: a pair side by side has an even width, found {width}")
        halves = zip(self.names, np.split(image, 2, axis=1), strict=True)
        return {name: np.ascontiguousarray(half) for name, half in halves if name in names}
