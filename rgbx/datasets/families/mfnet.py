"""MFNet: street scenes by day and night in RGB and thermal (Ha et al., IROS 2017), 9 classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, Unpack

import numpy as np

from rgbx._files import File, inside
from rgbx._text import one_of
from rgbx.datasets.files import FileDataset
from rgbx.datasets.frames import Frame
from rgbx.datasets.listing import Holdout, held_out, lines_beside, list_lines
from rgbx.datasets.sample import Common, Sample
from rgbx.maps import RGB, STANDARD_MAPS, THERMAL, Encoding, LabelEncoding, read_image
from rgbx.maps.folders import files_below, files_by_stem, join_name

MFNET_CLASSES = ("unlabelled", "car", "person", "bike", "curve", "car stop", "guardrail", "color cone", "bump")
MFNET_PALETTE = [
    [0, 0, 0], [64, 0, 128], [64, 64, 0], [0, 128, 192], [0, 0, 192], [128, 128, 0], [64, 64, 128], [192, 128, 128],
    [192, 64, 0],
]  # fmt: skip
PACKED = ("images/labels", "image/label", "image/labels")
MFNET_VARIANTS: dict[str, dict[str, str]] = {
    "images/labels": {"rgb": "images", "thermal": "images", "label": "labels"},
    "image/label": {"rgb": "image", "thermal": "image", "label": "label"},
    "image/labels": {"rgb": "image", "thermal": "image", "label": "labels"},
    "RGB/Modal/Label": {"rgb": "RGB", "thermal": "Modal", "label": "Label"},
    "rgb/ther/labels": {"rgb": "rgb", "thermal": "ther", "label": "labels"},
}
MFNET_LISTS = ("train", "val", "test", "test_day", "test_night")
ALL = "all"
FLIP = "_flip"  # ends the names of mirrored copies


class ThermalInAlpha(Encoding):
    """Thermal as the fourth channel of MFNet's packed images."""

    def stored(self, path: File) -> np.ndarray:
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
            joined by "+", such as "train+val". "all" takes every image that is there, for copies without lists.
        modalities: of "rgb" and "thermal" (the sensor's own 8-bit scale, 0..255).
        variant: a key of `MFNET_VARIANTS`; None takes the one whose folders are there.
        flips: "skip" leaves mirrored copies out, for training that mirrors at random anyway.
        holdout: see `rgbx.datasets.listing.holdout_indices`.
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
        holdout: Holdout = None,
        **common: Unpack[Common],
    ) -> None:
        if flips not in ("keep", "skip"):
            raise ValueError(f"flips must be 'keep' or 'skip', found {flips!r}")
        self.root, self.split = Path(root), split
        self.variant = mfnet_variant(self.root) if variant is None else _known_variant(variant)
        folders = {name: self.root / folder for name, folder in MFNET_VARIANTS[self.variant].items()}
        self.packed = folders["rgb"] == folders["thermal"]
        files = {name: files_by_stem(folder, files_below(folder)) for name, folder in folders.items()}
        listed = [(stem, "") for stem in sorted(files["rgb"])] if split == ALL else _listed(self.root, split)
        frames = [
            _frame(stem, folders, files, origin)
            for stem, origin in listed
            if flips == "keep" or not stem.endswith(FLIP)
        ]
        super().__init__(
            held_out(frames, holdout),
            {"rgb": RGB, "thermal": ThermalInAlpha(STANDARD_MAPS["thermal"]) if self.packed else THERMAL},
            LabelEncoding(),
            named=set() if split == ALL else {Path(line.split()[0]).stem for line in lines_beside(self.root / "*.txt")},
            modalities=modalities,
            classes=MFNET_CLASSES,
            palette=MFNET_PALETTE,
            **common,
        )

    def read_frame(self, frame: Frame, names: Sequence[str]) -> Sample:
        """Decodes a packed image once; mirrors copies that have no files of their own."""
        if self.packed and {"rgb", "thermal"} <= set(names):
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
        raise ValueError(f"variant is {variant!r}; expected None or one of {one_of(MFNET_VARIANTS, variant)}")
    return variant


def _listed(root: Path, split: str) -> list[tuple[str, str]]:
    """Stems of the lists whose names are joined by "+"."""
    if not any((root / f"{name}.txt").is_file() for name in MFNET_LISTS):
        raise FileNotFoundError(
            f"{root}: no list {split}.txt, nor another of MFNet's; get the lists that its authors publish, or take "
            f"split={ALL!r} with holdout='exclude' and 'only'"
        )
    return [pair for name in split.split("+") for pair in listed_stems(root / inside(root, f"{name}.txt", "split"))]


def listed_stems(list_file: Path) -> list[tuple[str, str]]:
    """Stem of every line of a list and where it stands; a folder, a suffix or a second column on a line is dropped.

    Raises:
        FileNotFoundError, ValueError: no such list, or nothing in it.
    """
    lines = list_lines(list_file, "one stem each")
    return [(Path(inside(".", line.split()[0], origin)).stem, origin) for line, origin in lines]


def _frame(stem: str, folders: Mapping[str, Path], files: Mapping[str, Mapping[str, Path]], origin: str) -> Frame:
    source = stem if stem in files["rgb"] else stem.removesuffix(FLIP)
    found = {name: files[name].get(source, folder / join_name(source)) for name, folder in folders.items()}
    return Frame(stem, found, origin, mirrored=source != stem)


def read_four_channels(path: File) -> np.ndarray:
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
