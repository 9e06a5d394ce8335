"""Which frames there are: lists in text files, and folders whose files share their stems."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from rgbx.datasets.files import Frame

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp")


def read_list(path: str | Path) -> list[tuple[int, str]]:
    """Lines of a list file with their numbers, empty ones left out.

    Raises:
        FileNotFoundError: no such file; the message names the lists beside it.
        ValueError: the list is empty.
    """
    path = Path(path)
    if not path.is_file():
        beside = sorted(item.name for item in path.parent.glob("*.txt")) if path.parent.is_dir() else []
        raise FileNotFoundError(f"{path}: no such list file; {path.parent} has the lists {beside}")
    lines = enumerate(path.read_text(encoding="utf-8-sig").splitlines(), start=1)
    entries = [(number, line.strip()) for number, line in lines if line.strip()]
    if not entries:
        raise ValueError(f"{path}: the list is empty; expected one frame per line")
    return entries


def image_files(folder: Path) -> dict[str, Path]:
    """Images directly in a folder by their stems, sorted.

    Raises:
        FileNotFoundError: no such folder, or no image in it.
        ValueError: two images of one stem.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder")
    files: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in IMAGE_SUFFIXES or path.name.startswith("."):
            continue
        if path.stem in files:
            raise ValueError(f"{folder}: {files[path.stem].name} and {path.name} have one stem; which is the frame's?")
        files[path.stem] = path
    if not files:
        raise FileNotFoundError(f"{folder}: no images ({', '.join(IMAGE_SUFFIXES)})")
    return files


def folder_frames(folders: Mapping[str, Path], needed: Sequence[str]) -> list[Frame]:
    """Frames of folders that hold one image per frame under equal stems.

    Args:
        folders: where the images of each map, and of "label", lie.
        needed: names whose images every frame must have; the folders of others are not opened.

    Raises:
        FileNotFoundError: a folder that is not there, or frames that some folder lacks, with the first stems.
        ValueError: two images of one stem.
    """
    files = {name: image_files(folders[name]) for name in needed}
    stems = sorted(set().union(*files.values()))
    for name, found in files.items():
        missing = [stem for stem in stems if stem not in found]
        if missing:
            raise FileNotFoundError(
                f"{folders[name]}: {name} of {len(missing)} of {len(stems)} frames is missing, such as {missing[:3]}"
            )
    return [Frame(stem, {name: found[stem] for name, found in files.items()}) for stem in stems]


def find_image(folder: Path, stem: str) -> Path:
    """The image of a stem whatever its suffix; where there is none, the path of the PNG that should be there."""
    for suffix in IMAGE_SUFFIXES:
        path = folder / f"{stem}{suffix}"
        if path.is_file():
            return path
    return folder / f"{stem}.png"
