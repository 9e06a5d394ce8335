"""Which frames there are: lists in text files, folders whose files share their stems, and a part held out of them."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import Literal, TypeVar

from rgbx._files import read_text

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp")
MAP_SUFFIXES = (*IMAGE_SUFFIXES, ".npy", ".npz", ".exr")
ANY = "*"  # the suffix of any image
HIDDEN = ("__macosx", "thumbs.db", "desktop.ini", "@eadir")  # in lower case, beside names that begin with a dot

Holdout = Literal["exclude", "only"] | None
Item = TypeVar("Item")


def list_lines(list_file: Path, expected: str) -> list[tuple[str, str]]:
    """The lines of a list that are not blank, each with where it stands ("…/train.txt:12").

    Args:
        list_file: text, see `rgbx._files.read_text`.
        expected: what a line holds, for the message about an empty list.

    Raises:
        FileNotFoundError: no such list; the message names the lists beside it.
        ValueError: no text, or nothing in it.
    """
    if not list_file.exists():
        beside = sorted(path.name for path in list_file.parent.glob("*.txt"))
        raise FileNotFoundError(f"{list_file}: no such list file; {list_file.parent} has the lists {beside}")
    lines = enumerate(read_text(list_file).split("\n"), start=1)
    found = [(line, f"{list_file}:{number}") for number, line in lines if line.strip()]
    if not found:
        raise ValueError(f"{list_file}: the list is empty; expected lines of {expected}")
    return found


def lines_beside(list_file: Path) -> list[str]:
    """The lines of a list and of all others in its folder, to know which files some list names."""
    lines: list[str] = []
    for path in sorted(list_file.parent.glob("*.txt")):
        try:
            lines += read_text(path).split("\n")
        except (OSError, ValueError):  # not asked for: other text may lie there
            continue
    return [line.strip() for line in lines if line.strip()]


def is_hidden(name: str) -> bool:
    """Whether a file or folder is the system's or an editor's: none of those is a frame."""
    return name.startswith(".") or name.lower() in HIDDEN


def files_below(folder: Path) -> list[str]:
    """Names of the files below a folder, relative to it with "/", sorted; none where there is no such folder.

    Linked folders are followed, but not into a folder that they lie in. Hidden files and folders are left out.
    """
    found: list[str] = []

    def visit(place: str, prefix: str, above: tuple[str, ...]) -> None:
        with os.scandir(place) as entries:
            for entry in entries:
                if is_hidden(entry.name):
                    continue
                if not entry.is_dir():
                    found.append(prefix + entry.name)
                elif not entry.is_symlink():
                    visit(entry.path, f"{prefix}{entry.name}/", (*above, f"{above[-1]}{os.sep}{entry.name}"))
                elif (target := os.path.realpath(entry.path)) not in above:
                    visit(entry.path, f"{prefix}{entry.name}/", (*above, target))

    if folder.is_dir():
        visit(str(folder), "", (os.path.realpath(folder),))
    return sorted(found)


def split_name(name: str, prefix: str, suffixes: Iterable[str]) -> str:
    """The stem of a file's relative name, or "" where the name is of another form.

    Args:
        name: "day/rgb_0001.png" has the stem "day/0001" for the prefix "rgb_" and the suffix ".png".
        prefix: how the name in its folder begins.
        suffixes: how it may end, in any letter case.
    """
    lower = name.lower()
    for suffix in suffixes:
        if lower.endswith(suffix.lower()):
            break
    else:
        return ""
    folder, slash, base = name[: len(name) - len(suffix)].rpartition("/")
    stem = base.removeprefix(prefix)
    return f"{folder}{slash}{stem}" if stem and base.startswith(prefix) else ""


def join_name(stem: str, prefix: str = "", suffix: str = ANY) -> str:
    """The file's relative name that has this stem; a PNG's where the suffix is `ANY`."""
    folder, slash, base = stem.rpartition("/")
    return f"{folder}{slash}{prefix}{base}{'.png' if suffix == ANY else suffix}"


def suffixes_of(suffix: str, names: Iterable[str]) -> tuple[str, ...]:
    """The suffix, or what `ANY` means among some files: an image's, and where there is none, an array's."""
    if suffix != ANY:
        return (suffix,)
    return IMAGE_SUFFIXES if any(name.lower().endswith(IMAGE_SUFFIXES) for name in names) else MAP_SUFFIXES


def files_by_stem(
    folder: Path, names: Collection[str], prefix: str = "", suffix: str = ANY, *, wanted: Collection[str] | None = None
) -> dict[str, Path]:
    """Those of a folder's files that have a prefix and a suffix, by their stems.

    Args:
        folder: holds the files.
        names: relative to it, as `files_below` gives them.
        prefix: see `split_name`.
        suffix: how the names end, in any letter case; `ANY` for any image's, and for an array's of a wanted stem that
            has none, or in a folder that has none.
        wanted: only these stems; None takes all.

    Raises:
        ValueError: two files of one stem.
    """
    files: dict[str, str] = {}
    suffixes = suffixes_of(suffix, names)
    for name in names:
        stem = split_name(name, prefix, suffixes)
        if not stem or (wanted is not None and stem not in wanted):
            continue
        if files.setdefault(stem, name) != name:
            raise ValueError(f"{folder}: {files[stem]} and {name} have one stem; which is the frame's?")
    if suffix == ANY and wanted is not None and suffixes != MAP_SUFFIXES and (left := set(wanted) - set(files)):
        arrays = [name for name in names if not name.lower().endswith(IMAGE_SUFFIXES)]
        return {**files_by_stem(folder, arrays, prefix, wanted=left), **{s: folder / n for s, n in files.items()}}
    return {stem: folder / name for stem, name in files.items()}


def image_files(folder: Path) -> dict[str, Path]:
    """Images below a folder by their stems, sorted.

    Raises:
        FileNotFoundError: no such folder, or no image in it.
        ValueError: two images of one stem.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder")
    files = files_by_stem(folder, files_below(folder))
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


def distinct_ids(paths: Sequence[str]) -> list[str]:
    """Ids of frames that are listed by paths: their stems, or where those repeat, the paths without their suffixes."""
    stems = [PurePosixPath(path).stem for path in paths]
    return stems if len(set(stems)) == len(stems) else [str(PurePosixPath(path).with_suffix("")) for path in paths]


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
