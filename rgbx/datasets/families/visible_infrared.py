"""Pairs of visible and infrared images as image fusion has them: MSRS, M3FD, LLVIP and others."""

from __future__ import annotations

from pathlib import Path
from typing import Unpack

from rgbx.datasets.declaration import SPLIT, Declaration, DeclaredLabel, DeclaredMap
from rgbx.datasets.families.lists import Chosen
from rgbx.datasets.families.mfnet import ALL, MFNET_CLASSES, MFNET_PALETTE
from rgbx.datasets.folder import FolderDataset
from rgbx.maps import RGB, THERMAL

SPLITS = ("train", "val", "test")
_VISIBLE = ("vi", "vis", "visible")
_INFRARED = ("ir", "infrared")
_LABELS = ("segmentation_labels",)  # MSRS has MFNet's frames and classes
_OTHERS = ("label", "labels")  # of FMB and of one's own, whose classes are others


class VisibleInfrared(FolderDataset):
    """Folders vi and ir (Vis and Ir, visible and infrared), in a folder per split, around one, or flat.

    "thermal" is infrared on the camera's scale. With `Segmentation_labels` beside them (MSRS) there are labels of
    MFNet's 9 classes, 0, "unlabelled", among them; otherwise the pairs are for translation. Flat folders (M3FD) are
    the split "all": see `holdout`.

    Args:
        root: holds the folders.
        split: one that is there; the first of train, val, test and all by default.
        chosen: see `Chosen`.

    Raises:
        FileNotFoundError, ValueError: no such pair of folders, or naming the file.
    """

    def __init__(self, root: str | Path, split: str | None = None, **chosen: Unpack[Chosen]) -> None:
        declared = visible_infrared(Path(root))
        if declared is None:
            raise FileNotFoundError(f"{root}: no folders {' or '.join(_VISIBLE)} beside {' or '.join(_INFRARED)}")
        super().__init__(root, split or next(iter(declared.splits)), declaration=declared, **chosen)


def visible_infrared(root: Path) -> Declaration | None:
    """What a folder of such pairs declares; None where it is none."""
    here, before, after, splits = _folders(root), "", "", [ALL]
    parted = [split for split in SPLITS if _pair(_folders(root / split))]
    if pair := _pair(here):
        inner = [split for split in SPLITS if (root / pair[0] / split).is_dir()]
        after, splits = (f"/{SPLIT}", inner) if inner else ("", [ALL])
    elif parted:
        here, before, splits = _folders(root / parted[0]), f"{SPLIT}/", parted
        pair = _pair(here)
    if not pair:
        return None
    visible, infrared = (f"{before}{folder}{after}" for folder in pair)
    label = next((f"{before}{here[name]}{after}" for name in _LABELS if name in here), None)
    return Declaration(
        "VisibleInfrared",
        MFNET_CLASSES if label else (),
        MFNET_PALETTE if label else [],
        {"rgb": DeclaredMap(visible, RGB), "thermal": DeclaredMap(infrared, THERMAL)},
        DeclaredLabel(label) if label else None,
        {split: split for split in splits},
    )


def _folders(place: Path) -> dict[str, str]:
    """Folders in a place by their names in lower case."""
    return {path.name.lower(): path.name for path in sorted(place.iterdir()) if path.is_dir()} if place.is_dir() else {}


def _pair(folders: dict[str, str]) -> tuple[str, str] | None:
    visible = next((folders[name] for name in _VISIBLE if name in folders), None)
    infrared = next((folders[name] for name in _INFRARED if name in folders), None)
    return (visible, infrared) if visible and infrared and not set(_OTHERS) & set(folders) else None
