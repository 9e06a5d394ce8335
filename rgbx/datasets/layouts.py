"""The layouts that `rgbx.datasets.recognise` knows.

A further layout is one `Layout` in `LAYOUTS`: what it looks like, a function that gives the evidence for it (nothing
where the folder is not of this layout), and what builds the dataset.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from rgbx.datasets.cityscapes import Cityscapes
from rgbx.datasets.deliver import DELIVER, DELIVER_WEATHERS
from rgbx.datasets.fmb import FMB, FMB_FOLDERS
from rgbx.datasets.folder import DECLARATION, FolderDataset, read_declaration
from rgbx.datasets.listing import IMAGE_SUFFIXES
from rgbx.datasets.mfnet import MFNET_VARIANTS, PACKED, MFNet
from rgbx.datasets.nyudv2 import NYUDv2CMX, NYUDv2Folders, NYUDv2Lists
from rgbx.datasets.nyudv2.esanet import NYUDv2ESANet
from rgbx.datasets.nyudv2.mat import NYUDv2Mat
from rgbx.datasets.pst900 import PST900, PST900_FOLDERS
from rgbx.datasets.reading import read_image, read_label
from rgbx.datasets.rooms import MANIFEST, SyntheticRooms
from rgbx.datasets.sample import DenseDataset
from rgbx.datasets.side_by_side import SideBySide
from rgbx.datasets.sunrgbd import SUNRGBD, SUNRGBDFolders, SUNRGBDLists
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
        splits: names that `build` may take for a folder of this layout; one of them may still be absent.
    """

    name: str
    shape: str
    evidence: Callable[[Path], Evidence]
    build: Callable[..., DenseDataset]
    splits: Callable[[Path], Sequence[str]] = lambda root: SPLITS


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


def _nyudv2_lists(root: Path) -> Evidence:
    columns, void = _three_columns(root), _void_of_masks(root)
    return [*columns, f"its masks hold {void}"] if columns and void != "0 for void" else []


def _sunrgbd_lists(root: Path) -> Evidence:
    columns, void = _three_columns(root), _void_of_masks(root)
    return [*columns, f"its masks hold {void}"] if columns and void != "255 for void" else []


def _void_of_masks(root: Path, count: int = 8) -> str:
    """How the masks of the lists' first frames mark void: NYUDv2's by 255, SUN RGB-D's by 0 below 37 classes."""
    for path in sorted(root.glob("*.txt")):
        rows = [line.split("\t") for line in path.read_text(encoding="utf-8-sig").splitlines()]
        masks = [root / row[1].strip() for row in rows if len(row) == 3][:count]
        values = {int(value) for mask in masks if mask.is_file() for value in np.unique(read_label(mask))}
        if values:
            return "255 for void" if values & {255, 38, 39} else "0 for void"
    return "nothing that can be read"


def _cmx(label: str, *, by_split: bool) -> Callable[[Path], Evidence]:
    """RGB, Depth or HHA, a folder of labels, and lists whose names begin with their split or do not."""

    def evidence(root: Path) -> Evidence:
        names = [(name, Path(line.split()[0]).stem) for name, line in _lists(root) if line and len(line.split()) < 3]
        fit = [f"{name} lists {s}" for name, s in names if s.startswith(("train_", "test_")) == by_split]
        folders = _has(root, "RGB", "Depth", label) or _has(root, "RGB", "HHA", label)
        return folders + fit if folders and fit else []

    return evidence


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


def _from_list(kind: Callable[..., DenseDataset]) -> Callable[..., DenseDataset]:
    return lambda root, split="train", **options: kind(root, f"{split}.txt", **options)


def _listed_splits(root: Path) -> list[str]:
    return [name for name in SPLITS if (root / f"{name}.txt").is_file()]


def _rooms(root: Path) -> dict[str, Any]:
    """The manifest of rendered rooms; empty where there is none."""
    path = root / MANIFEST
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def _rendered(root: Path) -> Evidence:
    return [f"its {MANIFEST} names renderer {_rooms(root)['renderer']}"] if "renderer" in _rooms(root) else []


def _rendered_rooms(root: str | Path, split: str = "train", **options: Any) -> DenseDataset:
    manifest = _rooms(Path(root))
    if split not in manifest["splits"]:
        raise ValueError(f"{root}: expected one of the splits {list(manifest['splits'])}, found split {split!r}")
    return SyntheticRooms(root=root, split=split, seed=manifest["seed"], size=tuple(manifest["size"]), **options)


def _all_frames(root: str | Path, split: str = "all", **options: Any) -> DenseDataset:
    if split != "all":
        raise ValueError(f"{root}: these folders have no splits; use split='all', found {split!r}")
    return SUNRGBDFolders(root, **options)


DECLARED = Layout(
    "your own dataset",
    f"a {DECLARATION}",
    _declared,
    FolderDataset,
    lambda root: tuple(read_declaration(root / DECLARATION).splits),
)
LAYOUTS: tuple[Layout, ...] = (
    DECLARED,
    Layout(
        "NYUDv2Lists",
        "{train,val}.txt with tab-separated columns rgb, masks, depth",
        _nyudv2_lists,
        _from_list(NYUDv2Lists),
        _listed_splits,
    ),
    Layout(
        "SUNRGBDLists",
        "{train,test}.txt with tab-separated columns rgb, masks, depth, void as 0",
        _sunrgbd_lists,
        _from_list(SUNRGBDLists),
        _listed_splits,
    ),
    Layout("NYUDv2CMX", "RGB/, Depth/, HHA/, Label/ and lists of names", _cmx("Label", by_split=False), NYUDv2CMX),
    Layout("SUNRGBD", "RGB/, Depth/, HHA/, labels/ and lists of train_0 ...", _cmx("labels", by_split=True), SUNRGBD),
    Layout(
        "SUNRGBDFolders",
        "image/, depth/, depth_bfx/, label37/",
        lambda root: _has(root, "image", "label37"),
        _all_frames,
        lambda root: ("all",),
    ),
    Layout(
        "NYUDv2ESANet",
        "{train,test}/{rgb,depth,depth_raw,labels_40}/",
        _split_folders({"rgb": "rgb", "label": "labels_40"}),
        NYUDv2ESANet,
    ),
    Layout(
        "NYUDv2Mat",
        "nyu_depth_v2_labeled.mat",
        lambda root: ["it has nyu_depth_v2_labeled.mat"] if (root / "nyu_depth_v2_labeled.mat").is_file() else [],
        NYUDv2Mat,
    ),
    Layout("NYUDv2Folders", "rgb/, depth/, label/ and lists of stems", _nyudv2_folders, NYUDv2Folders),
    Layout(
        "Cityscapes",
        "{leftImg8bit,gtFine,disparity,camera}/{split}/{city}/",
        lambda root: _has(root, "leftImg8bit", "gtFine"),
        Cityscapes,
    ),
    Layout(
        "MFNet",
        "images/ of four channels and labels/, RGB/Modal/Label, or rgb/ther/labels",
        _mfnet,
        MFNet,
        _listed_splits,
    ),
    Layout("FMB", "{train,test}/{Visible,Infrared,Label}/", _split_folders(FMB_FOLDERS), FMB),
    Layout("PST900", "{train,test}/{rgb,thermal,labels}/", _split_folders(PST900_FOLDERS), PST900),
    Layout("DELIVER", "{img,hha,depth,lidar,event,semantic}/{weather}/{split}/MAP_*/", _deliver, DELIVER),
    Layout("Taskonomy", "{domain}/point_*_view_*_domain_{domain}.png", _taskonomy, Taskonomy),
    Layout(
        "SyntheticRooms",
        f"{{train,test}}/ and the {MANIFEST} of tools/render_rooms.py",
        _rendered,
        _rendered_rooms,
        lambda root: tuple(_rooms(root)["splits"]),
    ),
    Layout("SideBySide", "{split}/ of images twice as wide as high, A left and B right", _side_by_side, SideBySide),
)
