"""Which frames there are: lists in text files, and folders whose files share their stems."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from rgbx.datasets.files import Frame

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp")


def list_lines(list_file: Path, expected: str) -> list[tuple[str, str]]:
    """The lines of a list that are not blank, each with where it stands ("…/train.txt:12").

    Args:
        list_file: UTF-8 text.
        expected: what a line holds, for the message about an empty list.

    Raises:
        FileNotFoundError: no such list; the message names the lists beside it.
        ValueError: nothing in it.
    """
    if not list_file.is_file():
        beside = sorted(path.name for path in list_file.parent.glob("*.txt"))
        raise FileNotFoundError(f"{list_file}: no such list file; {list_file.parent} has the lists {beside}")
    lines = enumerate(list_file.read_text(encoding="utf-8-sig").splitlines(), start=1)
    found = [(line, f"{list_file}:{number}") for number, line in lines if line.strip()]
    if not found:
        raise ValueError(f"{list_file}: the list is empty; expected lines of {expected}")
    return found


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


def folder_frames(folders: Mapping[str, Path], modalities: Sequence[str]) -> list[Frame]:
    """Frames of folders that hold one image per frame under equal stems.

    Args:
        folders: where the images of each map, and of "label", lie.
        modalities: the maps that every frame must have, beside the label if there is a folder of labels; the folders of
            others are not opened. Names without a folder are left to `FileDataset` to refuse.

    Raises:
        FileNotFoundError: a folder that is not there, or frames that some folder lacks, with the first stems.
        ValueError: two images of one stem.
    """
    files = {name: image_files(folders[name]) for name in folders if name in modalities or name == "label"}
    stems = sorted(set().union(*files.values()))
    for name, found in files.items():
        missing = [stem for stem in stems if stem not in found]
        if missing:
            raise FileNotFoundError(
                f"{folders[name]}: {name} of {len(missing)} of {len(stems)} frames is missing, such as {missing[:3]}"
            )
    return [Frame(stem, {name: found[stem] for name, found in files.items()}) for stem in stems]


def find_folder(root: Path, *names: str) -> Path:
    """The first of the names that is a folder of root.

    Raises:
        FileNotFoundError: none is.
    """
    for name in names:
        if (root / name).is_dir():
            return root / name
    raise FileNotFoundError(f"{root}: no folder {' or '.join(names)}")


def find_image(folder: Path, stem: str) -> Path:
    """The image of a stem whatever its suffix; where there is none, the path of the PNG that should be there."""
    for suffix in (*IMAGE_SUFFIXES, *map(str.upper, IMAGE_SUFFIXES)):
        path = folder / f"{stem}{suffix}"
        if path.is_file():
            return path
    return folder / f"{stem}.png"
