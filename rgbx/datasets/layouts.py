"""The layouts that `rgbx.datasets.recognise` knows.

A further layout is one `Layout` in `LAYOUTS`: what it looks like, a function that gives the evidence for it (nothing
where the folder is not of this layout), and what builds the dataset.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from rgbx.datasets.cityscapes import Cityscapes
from rgbx.datasets.deliver import DELIVER, DELIVER_WEATHERS
from rgbx.datasets.fmb import FMB, FMB_FOLDERS
from rgbx.datasets.folder import DECLARATION, FolderDataset
from rgbx.datasets.listing import IMAGE_SUFFIXES
from rgbx.datasets.mfnet import MFNET_VARIANTS, PACKED, MFNet
from rgbx.datasets.nyudv2 import NYUDv2Folders, NYUDv2Lists
from rgbx.datasets.pst900 import PST900, PST900_FOLDERS
from rgbx.datasets.reading import read_image
from rgbx.datasets.sample import DenseDataset
from rgbx.datasets.side_by_side import SideBySide
from rgbx.datasets.taskonomy import TASKONOMY_DOMAINS, Taskonomy

Evidence = list[str]
SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Layout:
    """A layout that can be recognised.

    Attributes:
        name: the dataset, for messages.
        shape: what it looks like, for messages.
        evidence: what in a folder speaks for it; an empty list where it is not this layout.
        build: called as `build(root, split, **options)`.
    """

    name: str
    shape: str
    evidence: Callable[[Path], Evidence]
    build: Callable[..., DenseDataset]


def _has(root: Path, *folders: str) -> Evidence:
    """Evidence that all the folders are there; nothing if one is missing. Letter case counts everywhere."""
    for folder in folders:
        place = root
        for part in Path(folder).parts:
            if not place.is_dir() or part not in {path.name for path in place.iterdir() if path.is_dir()}:
                return []
            place /= part
    return [f"it has {', '.join(f'{folder}/' for folder in folders)}"]


def _first(root: Path, pattern: str) -> Evidence:
    path = next(root.glob(pattern), None)
    return [] if path is None else [f"it holds {path.relative_to(root).as_posix()}"]


def _lists(root: Path) -> Iterator[tuple[str, str]]:
    """Names of the lists in a folder, each with its first line."""
    for path in sorted(root.glob("*.txt")):
        if path.stem.split("_")[0] in SPLITS:
            with path.open(encoding="utf-8-sig", errors="replace") as file:
                yield path.name, next((line.rstrip("\r\n") for line in file if line.strip()), "")


def _images(folder: Path, count: int = 1) -> list[Path]:
    files = (path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES) if folder.is_dir() else ()
    return list(islice(files, count))


def _declared(root: Path) -> Evidence:
    return [f"it has {DECLARATION}"] if (root / DECLARATION).is_file() else []


def _three_columns(root: Path) -> Evidence:
    return [
        f"{name} begins with three tab-separated columns, {line.split()[0]} and so on"
        for name, line in _lists(root)
        if len(line.split("\t")) == 3
    ]


def _nyudv2_folders(root: Path) -> Evidence:
    stems = [f"{name} lists bare stems" for name, line in _lists(root) if len(line.split()) == 1 and "/" not in line]
    folders = _has(root, "rgb", "depth", "label")
    return folders + stems if stems and folders else []


def _mfnet(root: Path) -> Evidence:
    variants = [variant for variant in MFNET_VARIANTS if variant != PACKED]
    evidence = [text for variant in variants for text in _has(root, *MFNET_VARIANTS[variant].values())]
    for path in _images(root / MFNET_VARIANTS[PACKED]["rgb"]):
        image = read_image(path)
        if image.ndim == 3 and image.shape[2] == 4:
            evidence.append(f"images/{path.name} has four channels")
    return evidence


def _split_folders(folders: dict[str, str]) -> Callable[[Path], Evidence]:
    return lambda root: [
        text for split in SPLITS for text in _has(root, *(f"{split}/{name}" for name in folders.values()))
    ]


def _deliver(root: Path) -> Evidence:
    if not _has(root, "img", "semantic"):
        return []
    return [text for weather in DELIVER_WEATHERS for text in _first(root, f"img/{weather}/*/*/*_rgb_front.png")]


def _taskonomy(root: Path) -> Evidence:
    domains = TASKONOMY_DOMAINS.values()
    found = [text for name in domains for text in _first(root, f"{name}/*_domain_{name}.png")]
    return found if len(found) > 1 else []


def _side_by_side(root: Path) -> Evidence:
    evidence = []
    for split in SPLITS:
        for path in _images(root / split):
            height, width = read_image(path).shape[:2]
            if width == 2 * height:
                evidence.append(f"{split}/{path.name} is twice as wide as high")
    return evidence


def _nyudv2_lists(root: str | Path, split: str = "train", **options: Any) -> DenseDataset:
    return NYUDv2Lists(root, f"{split}.txt", **options)


DECLARED = Layout("your own dataset", f"a {DECLARATION}", _declared, FolderDataset)
LAYOUTS: tuple[Layout, ...] = (
    DECLARED,
    Layout(
        "NYUDv2Lists",
        "{train,val}.txt with tab-separated columns rgb, masks, depth",
        _three_columns,
        _nyudv2_lists,
    ),
    Layout("NYUDv2Folders", "rgb/, depth/, label/ and lists of stems", _nyudv2_folders, NYUDv2Folders),
    Layout(
        "Cityscapes",
        "{leftImg8bit,gtFine,disparity,camera}/{split}/{city}/",
        lambda root: _has(root, "leftImg8bit", "gtFine"),
        Cityscapes,
    ),
    Layout("MFNet", "images/ of four channels and labels/, RGB/Modal/Label, or rgb/ther/labels", _mfnet, MFNet),
    Layout("FMB", "{train,test}/{Visible,Infrared,Label}/", _split_folders(FMB_FOLDERS), FMB),
    Layout("PST900", "{train,test}/{rgb,thermal,labels}/", _split_folders(PST900_FOLDERS), PST900),
    Layout("DELIVER", "{img,hha,depth,lidar,event,semantic}/{weather}/{split}/MAP_*/", _deliver, DELIVER),
    Layout("Taskonomy", "{domain}/point_*_view_*_domain_{domain}.png", _taskonomy, Taskonomy),
    Layout("SideBySide", "{split}/ of images twice as wide as high, A left and B right", _side_by_side, SideBySide),
)
