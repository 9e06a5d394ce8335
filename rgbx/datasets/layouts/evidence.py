"""What in a folder speaks for a layout: sentences, and none where the folder is not of that layout."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from rgbx._files import read_text
from rgbx.datasets.declaration import Declaration
from rgbx.datasets.families.deliver import DELIVER_WEATHERS
from rgbx.datasets.families.mfnet import MFNET_VARIANTS, PACKED
from rgbx.datasets.families.sunrgbd_scenes import CAMERAS, scene_folders
from rgbx.datasets.families.taskonomy import TASKONOMY_DOMAINS
from rgbx.datasets.families.visible_infrared import visible_infrared
from rgbx.datasets.folder import DECLARATION
from rgbx.datasets.rooms.dataset import MANIFEST, read_manifest
from rgbx.datasets.shards.manifest import MANIFEST as SHARDS
from rgbx.maps.files import read_ids, read_image
from rgbx.maps.folders import IMAGE_SUFFIXES, is_hidden

Evidence = list[str]
SPLITS = ("train", "val", "test")


def has_folders(root: Path, *folders: str) -> Evidence:
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
    """Names of the lists in a folder, each with its first line; what is no text is no list."""
    for path in sorted(root.glob("*.txt")):
        if path.stem.split("_")[0] in SPLITS:
            lines = _rows(path)
            yield path.name, lines[0] if lines else ""


def _rows(path: Path) -> list[str]:
    """The lines of a text file that are not blank; none where it cannot be read."""
    try:
        return [line for line in read_text(path).split("\n") if line.strip()]
    except (OSError, ValueError):
        return []


def _images(folder: Path, count: int = 1) -> list[Path]:
    there = folder.iterdir() if folder.is_dir() else ()
    files = (path for path in there if path.suffix.lower() in IMAGE_SUFFIXES and not is_hidden(path.name))
    return list(islice(files, count))


def declared(root: Path) -> Evidence:
    return [f"it has {DECLARATION}"] if (root / DECLARATION).is_file() else []


def sharded(root: Path) -> Evidence:
    return [f"it has {SHARDS}"] if (root / SHARDS).is_file() else []


def _three_columns(root: Path) -> Evidence:
    return [
        f"{name} begins with three tab-separated columns, {line.split()[0]} and so on"
        for name, line in _lists(root)
        if len(line.split("\t")) == 3
    ]


def nyudv2_lists(root: Path) -> Evidence:
    columns, void = _three_columns(root), _void_of_masks(root)
    return [*columns, f"its masks hold {void}"] if columns and void != "0 for void" else []


def sunrgbd_lists(root: Path) -> Evidence:
    columns, void = _three_columns(root), _void_of_masks(root)
    return [*columns, f"its masks hold {void}"] if columns and void not in ("255 for void", NO_IDS) else []


NO_IDS = "no class ids: are the columns swapped?"  # the reader of NYUDv2's lists then says which line and why


def _void_of_masks(root: Path, count: int = 8) -> str:
    """How the masks of the lists' first frames mark void: NYUDv2's by 255, SUN RGB-D's by 0 below 37 classes."""
    for path in sorted(root.glob("*.txt")):
        rows = [line.split("\t") for line in _rows(path)]
        masks = [root / row[1].strip() for row in rows if len(row) == 3][:count]
        try:
            values = {int(value) for mask in masks if mask.is_file() for value in np.unique(read_ids(mask))}
        except ValueError:
            return NO_IDS
        if values:
            return "255 for void" if values & {255, 38, 39} else "0 for void"
    return "nothing that can be read"


def cmx(label: str, *, by_split: bool) -> Callable[[Path], Evidence]:
    """RGB, Depth or HHA, a folder of labels, and lists whose names begin with their split or do not."""

    def evidence(root: Path) -> Evidence:
        names = [(name, Path(line.split()[0]).stem) for name, line in _lists(root) if line and len(line.split()) < 3]
        fit = [f"{name} lists {s}" for name, s in names if s.startswith(("train_", "test_")) == by_split]
        folders = has_folders(root, "RGB", "Depth", label) or has_folders(root, "RGB", "HHA", label)
        return folders + fit if folders and fit else []

    return evidence


def nyudv2_folders(root: Path) -> Evidence:
    stems = [f"{name} lists bare stems" for name, line in _lists(root) if len(line.split()) == 1 and "/" not in line]
    folders = has_folders(root, "rgb", "depth", "label")
    return folders + stems if stems and folders else []


def mfnet(root: Path) -> Evidence:
    variants = [variant for variant in MFNET_VARIANTS if variant not in PACKED]
    evidence = [text for variant in variants for text in has_folders(root, *MFNET_VARIANTS[variant].values())]
    for folder in dict.fromkeys(MFNET_VARIANTS[variant]["rgb"] for variant in PACKED):
        for path in _images(root / folder):
            image = read_image(path)
            if image.ndim == 3 and image.shape[2] == 4:
                evidence.append(f"{folder}/{path.name} has four channels")
    return evidence


def folders_of(declaration: Declaration, *names: str) -> Callable[[Path], Evidence]:
    """The folders of the named maps of a declaration, by default of all, in any split."""

    def evidence(root: Path) -> Evidence:
        parted = isinstance(declaration.splits, str)
        placed = [declaration.folders(split) for split in (SPLITS if parted else declaration.splits)]
        return [text for at in placed for text in has_folders(root, *(at[name] for name in names or at))]

    return evidence


def pairs(root: Path) -> Evidence:
    """Folders of visible and of infrared images."""
    declaration = visible_infrared(root)
    if declaration is None:
        return []
    placed = [declaration.folders(split) for split in declaration.splits]
    return [text for at in placed for text in has_folders(root, *at.values())]


def sunrgbd_scenes(root: Path) -> Evidence:
    """A folder of scenes below one of the cameras."""
    images = root / "SUNRGBD" if (root / "SUNRGBD").is_dir() else root
    cameras = [camera for camera in CAMERAS if (images / camera).is_dir()]
    scene = next(scene_folders(images), None) if cameras else None
    return [f"it has {', '.join(f'{camera}/' for camera in cameras)} and the scene {scene}"] if scene else []


def deliver(root: Path) -> Evidence:
    if not has_folders(root, "img", "semantic"):
        return []
    return [text for weather in DELIVER_WEATHERS for text in _first(root, f"img/{weather}/*/*/*_rgb_front.png")]


def taskonomy(root: Path) -> Evidence:
    domains = TASKONOMY_DOMAINS.values()
    found = [text for name in domains for text in _first(root, f"{name}/*_domain_{name}.png")]
    return found if len(found) > 1 else []


def side_by_side(root: Path) -> Evidence:
    evidence = []
    for split in SPLITS:
        for path in _images(root / split):
            height, width = read_image(path).shape[:2]
            if width == 2 * height:
                evidence.append(f"{split}/{path.name} is twice as wide as high")
    return evidence


def rooms_manifest(root: Path) -> dict[str, Any]:
    """The manifest of rendered rooms; empty where there is none."""
    try:
        return read_manifest(root / MANIFEST)
    except (OSError, ValueError):
        return {}


def rendered_rooms(root: Path) -> Evidence:
    fields = rooms_manifest(root)
    return [f"its {MANIFEST} names renderer {fields['renderer']}"] if fields else []
