"""Files of maps in folders: which there are, and which of several folders belong to one frame, by their stems."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable
from pathlib import Path

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp")
MAP_SUFFIXES = (*IMAGE_SUFFIXES, ".npy", ".npz", ".exr")
ANY = "*"  # the suffix of any image
HIDDEN = ("__macosx", "thumbs.db", "desktop.ini", "@eadir")  # in lower case, beside names that begin with a dot


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
