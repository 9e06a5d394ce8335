"""Files of maps in folders: which there are, and which of several folders belong to one frame, by their stems."""

from __future__ import annotations

import copy
import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import lru_cache
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
    return sorted(FilesBelow(folder))


class FilesBelow(Iterable[str]):
    """What `files_below` lists, in little memory and a folder at a time, sorted in each.

    Args:
        folder: the folder.
        without: folders in it that are left out, each with "/" at its end.
    """

    def __init__(self, folder: Path, without: tuple[str, ...] = ()) -> None:
        self._folder = str(folder / "x")[:-1]
        found = _walk(str(folder), "", (os.path.realpath(folder),)) if folder.is_dir() else ()
        self._blocks = [(place, packed(names)) for place, names in found if names and not place.startswith(without)]

    def __iter__(self) -> Iterator[str]:
        for place, names in self._blocks:
            yield from (place + name for name in unpacked(names))

    def without(self, prefix: str, suffixes: Sequence[str]) -> FilesBelow:
        """Those whose names are of another form, see `split_name`."""
        rest = copy.copy(self)
        rest._blocks = []
        for place, names in self._blocks:
            left = [name for name in unpacked(names) if not split_name(place + name, prefix, suffixes)]
            rest._blocks += [(place, packed(left))] if left else []
        return rest

    def folders(self) -> Iterator[tuple[str, list[str]]]:
        """The path of each folder, with "/" at its end, and the names of the files in it."""
        for place, names in self._blocks:
            yield self._folder + place, unpacked(names)


def _walk(folder: str, place: str, above: tuple[str, ...]) -> Iterator[tuple[str, list[str]]]:
    names, inner = [], []
    with os.scandir(folder) as entries:
        for entry in entries:
            if is_hidden(entry.name):
                continue
            if not entry.is_dir():
                names.append(entry.name)
            elif not entry.is_symlink():
                inner.append((entry.path, f"{place}{entry.name}/", (*above, f"{above[-1]}{os.sep}{entry.name}")))
            elif (target := os.path.realpath(entry.path)) not in above:
                inner.append((entry.path, f"{place}{entry.name}/", (*above, target)))
    yield place, sorted(names)
    for each in inner:
        yield from _walk(*each)


def packed(names: Iterable[str]) -> bytes:
    """Names of files as one object, see `unpacked`."""
    return "\0".join(names).encode("utf-8", "surrogatepass")


def unpacked(names: bytes) -> list[str]:
    """The names that `packed` was given."""
    return names.decode("utf-8", "surrogatepass").split("\0") if names else []


def split_name(name: str, prefix: str, suffixes: Iterable[str]) -> str:
    """The stem of a file's relative name, or "" where the name is of another form.

    Args:
        name: "day/rgb_0001.png" has the stem "day/0001" for the prefix "rgb_" and the suffix ".png".
        prefix: how the name in its folder begins.
        suffixes: how it may end, in any letter case.
    """
    lower, suffixes = name.lower(), tuple(suffixes)
    if not lower.endswith(_lower(suffixes)):
        return ""
    for suffix in suffixes:
        if lower.endswith(suffix.lower()):
            break
    else:
        return ""
    folder, slash, base = name[: len(name) - len(suffix)].rpartition("/")
    stem = base.removeprefix(prefix)
    return f"{folder}{slash}{stem}" if stem and base.startswith(prefix) else ""


@lru_cache(maxsize=64)
def _lower(suffixes: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(suffix.lower() for suffix in suffixes)


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
