"""Which frames there are: lists in text files, folders whose files share their stems, and a part held out of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, TypeVar

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp")

Holdout = Literal["exclude", "only"] | None
Item = TypeVar("Item")


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


def held_out(items: Sequence[Item], holdout: Holdout) -> list[Item]:
    """The part of a list that `holdout_indices` tells."""
    return [items[index] for index in holdout_indices(len(items), holdout)]


def holdout_indices(count: int, holdout: Holdout, *, block: int = 16, every: int = 10) -> list[int]:
    """Positions of a list that belong to the training or to the held-out part.

    Video data sets list neighbouring frames of one scene next to each other, so holding out every
    tenth *frame* would put near copies of the validation frames into training. Here contiguous
    blocks are held out: of the list cut into blocks of `block` frames, the middle one of each
    `every` (for 795 frames: 5 blocks of 16, about 10 %). A list too short for that, of at most
    `block` * (`every` // 2) frames, has one block held out from its middle on: of 1/`every` of
    its frames, at least one.

    Args:
        count: length of the list.
        holdout: "exclude" gives the training part, "only" the held-out part, None everything.
        block: frames per block.
        every: one block in this many is held out.

    Raises:
        ValueError: an unknown part, or a list of one frame, which leaves nothing to train on.
    """
    if holdout is None:
        return list(range(count))
    if holdout not in ("exclude", "only"):
        raise ValueError(f"holdout must be 'exclude', 'only' or None, found {holdout!r}")
    if count < 2:
        raise ValueError(f"a list of {count} frames is too short to hold out a part of it; use holdout=None")
    held = [index for index in range(count) if (index // block) % every == every // 2]
    held = held or list(range(count // 2, count // 2 + max(1, count // every)))
    if holdout == "only":
        return held
    excluded = set(held)
    return [index for index in range(count) if index not in excluded]
