"""MFNet: street scenes by day and night in RGB and thermal (Ha et al., IROS 2017), 9 classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, Unpack

import numpy as np

from rgbx.datasets.files import FileDataset, Frame
from rgbx.datasets.listing import find_image, list_lines
from rgbx.datasets.sample import Common, Sample
from rgbx.maps import RGB, STANDARD_MAPS, THERMAL, Encoding, LabelEncoding, read_image

MFNET_CLASSES = ("unlabelled", "car", "person", "bike", "curve", "car stop", "guardrail", "color cone", "bump")
MFNET_PALETTE = [
    [0, 0, 0], [64, 0, 128], [64, 64, 0], [0, 128, 192], [0, 0, 192], [128, 128, 0], [64, 64, 128], [192, 128, 128],
    [192, 64, 0],
]  # fmt: skip
PACKED = "images/labels"
MFNET_VARIANTS: dict[str, dict[str, str]] = {
    PACKED: {"rgb": "images", "thermal": "images", "label": "labels"},
    "RGB/Modal/Label": {"rgb": "RGB", "thermal": "Modal", "label": "Label"},
    "rgb/ther/labels": {"rgb": "rgb", "thermal": "ther", "label": "labels"},
}
MFNET_LISTS = ("train", "val", "test", "test_day", "test_night")
FLIP = "_flip"  # ends the names of mirrored copies


class ThermalInAlpha(Encoding):
    """Thermal as the fourth channel of MFNet's packed images."""

    def stored(self, path: str | Path) -> np.ndarray:
        """uint8 [H, W]."""
        return read_four_channels(path)[..., 3]


class MFNet(FileDataset):
    """MFNet as published, `images/*.png` in RGBA with thermal in alpha, or with thermal in files of its own.

    Labels in `labels/` hold 0..8, and 0, "unlabelled", counts as a class, as in all published results.
    The published training list names mirrored copies (`00001D_flip`) that a script of the authors writes: where the
    file is absent, the original is mirrored while reading.

    Args:
        root: the folder with the images and the lists.
        split: "train", "val", "test", "test_day" or "test_night", the name of a list of stems in root; several lists
            joined by "+", such as "train+val".
        modalities: of "rgb" and "thermal" (the sensor's own 8-bit scale, 0..255).
        variant: a key of `MFNET_VARIANTS`; None takes the one whose folders are there.
        flips: "skip" leaves mirrored copies out, for training that mirrors at random anyway.
        common: `transforms` and `targets`, see `DenseDataset`.

    Raises:
        FileNotFoundError, ValueError: folders of no or of several variants, or naming the list and the line.
    """

    def __init__(
        self,
        root: str | Path,
        split: str = "train",
        *,
        modalities: Sequence[str] = ("rgb", "thermal"),
        variant: str | None = None,
        flips: Literal["keep", "skip"] = "keep",
        **common: Unpack[Common],
    ) -> None:
        if flips not in ("keep", "skip"):
            raise ValueError(f"flips must be 'keep' or 'skip', found {flips!r}")
        self.root, self.split = Path(root), split
        self.variant = mfnet_variant(self.root) if variant is None else _known_variant(variant)
        folders = {name: self.root / folder for name, folder in MFNET_VARIANTS[self.variant].items()}
        packed = self.variant == PACKED
        frames = [
            _frame(stem, folders, packed, origin)
            for name in split.split("+")
            for stem, origin in listed_stems(self.root / f"{name}.txt")
            if flips == "keep" or not stem.endswith(FLIP)
        ]
        super().__init__(
            frames,
            {"rgb": RGB, "thermal": ThermalInAlpha(STANDARD_MAPS["thermal"]) if packed else THERMAL},
            LabelEncoding(),
            modalities=modalities,
            classes=MFNET_CLASSES,
            palette=MFNET_PALETTE,
            **common,
        )

    def read_frame(self, frame: Frame, names: Sequence[str]) -> Sample:
        """Decodes a packed image once; mirrors copies that have no files of their own."""
        if self.variant == PACKED and {"rgb", "thermal"} <= set(names):
            image = read_four_channels(frame.files["rgb"])
            arrays = {"rgb": np.ascontiguousarray(image[..., :3]), "thermal": image[..., 3].astype(np.float32)}
            arrays |= super().read_frame(frame, [name for name in names if name not in arrays])
        else:
            arrays = super().read_frame(frame, names)
        if frame.mirrored:
            arrays = {name: np.ascontiguousarray(array[:, ::-1]) for name, array in arrays.items()}
        return arrays


def mfnet_variant(root: Path) -> str:
    """The variant whose folders root has.

    Raises:
        FileNotFoundError: none of them.
        ValueError: several, so that one must be named.
    """
    names = {path.name for path in root.iterdir() if path.is_dir()} if root.is_dir() else set()
    found = [variant for variant, folders in MFNET_VARIANTS.items() if set(folders.values()) <= names]
    if not found:
        raise FileNotFoundError(f"{root}: expected the folders {', or '.join(MFNET_VARIANTS)}; found {sorted(names)}")
    if len(found) > 1:
        raise ValueError(f"{root} has the folders of {found}: say which by variant=")
    return found[0]


def _known_variant(variant: str) -> str:
    if variant not in MFNET_VARIANTS:
        raise ValueError(f"variant must be one of {list(MFNET_VARIANTS)} or None, found {variant!r}")
    return variant


def listed_stems(list_file: Path) -> list[tuple[str, str]]:
    """Stem of every line of a list and where it stands; a folder, a suffix or a second column on a line is dropped.

    Raises:
        FileNotFoundError, ValueError: no such list, or nothing in it.
    """
    return [(Path(line.split()[0]).stem, origin) for line, origin in list_lines(list_file, "one stem each")]


def _frame(stem: str, folders: Mapping[str, Path], packed: bool, origin: str) -> Frame:
    source = stem.removesuffix(FLIP)
    if source != stem and find_image(folders["rgb"], stem).is_file():
        source = stem
    files = {name: find_image(folder, source) for name, folder in folders.items() if name != "thermal" or not packed}
    return Frame(stem, {**files, "thermal": files["rgb"]} if packed else files, origin, mirrored=source != stem)


def read_four_channels(path: str | Path) -> np.ndarray:
    """MFNet's packed image: uint8 [H, W, 4], colours in RGB order and thermal.

    Raises:
        FileNotFoundError, ValueError: missing, truncated, or not four channels of 8 bits.
    """
    image = read_image(path)
    if image.ndim != 3 or image.shape[2] != 4 or image.dtype != np.uint8:
        raise ValueError(
            f"{path}: expected 4 channels of 8 bits (thermal in alpha), found {image.dtype} of shape {image.shape}"
        )
    return image
