"""Frames on disk: what they name is compared with what lies there, before any is read, a folder at a time."""

from __future__ import annotations

import os
from array import array
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import PurePath

import numpy as np

from rgbx._files import existing_file
from rgbx.datasets.frames import Frame, ids_of, names_in, paths_at, paths_of
from rgbx.datasets.texts import collected, first_twice
from rgbx.maps.folders import MAP_SUFFIXES, is_hidden, packed, split_name, unpacked

Folders = Iterable[tuple[str, Sequence[str]]]  # each with "/" at its end, and with the names of files in it


def check_ids(frames: Sequence[Frame]) -> None:
    """Refuses two frames of one id, which would be scored twice and written to one file.

    Raises:
        ValueError: naming both places.
    """
    if twice := first_twice(ids_of(frames), lambda at: frames[at].sample_id):
        first, second = (frames[at] for at in twice)
        place, other = (at.origin or str(next(iter(at.files.values()), "")) for at in (second, first))
        raise ValueError(f"{place}: frame {second.sample_id!r} is there already, at {other}")


class FrameFiles:
    """The files of frames, by the folders that they lie in; of each, 4 bytes are held.

    Args:
        frames: of a split.
    """

    def __init__(self, frames: Sequence[Frame]) -> None:
        self.frames = frames
        self._folders: dict[str, int] = {}
        self._order: dict[str, np.ndarray] = {}  # by map, int32 [N]: the frames by the folder of their file
        self._starts: dict[str, np.ndarray] = {}  # where each folder begins there, behind frames without a file
        self._spare: dict[str, bytes] = {}  # by folder, files that no frame has
        for name in names_in(frames):
            numbers = np.fromiter(map(self._number, paths_of(frames, name)), np.int32, len(frames))
            order = np.argsort(numbers, kind="stable").astype(np.int32)
            self._order[name] = order
            self._starts[name] = np.searchsorted(numbers[order], np.arange(len(self._folders) + 1))

    def _number(self, path: str) -> int:
        return self._folders.setdefault(path[: path.rfind(os.sep) + 1], len(self._folders)) if path else -1

    def _within(self, folder: str, name: str) -> np.ndarray:
        """Positions of the frames whose file of a map lies in a folder, int32 [N]."""
        at, starts = self._folders.get(folder, len(self._folders)), self._starts.get(name, ())
        return self._order[name][starts[at] : starts[at + 1]] if at + 1 < len(starts) else np.zeros(0, np.int32)

    def within(self, folder: str, name: str) -> Iterator[tuple[int, str]]:
        """The frames whose file of a map lies in a folder, as positions, each with the file's name."""
        positions = self._within(folder, name)
        bases = (path[len(folder) :] for path in paths_at(self.frames, positions, name))
        return zip(positions.data, bases, strict=True)

    def check(self, names: Sequence[str]) -> str:
        """Looks for the files of the named maps of all frames.

        Returns:
            What is missing, see `told`.

        Raises:
            ValueError: a folder, a named pipe or a device where a file should be.
        """
        return self.told(self.missing(names))

    def missing(self, names: Sequence[str]) -> dict[str, np.ndarray]:
        """Looks for the files of the named maps of all frames: by map the frames without theirs, int64 [n].

        Only maps of which any is missing are there. Frames that name no file of a map do not count.

        Raises:
            ValueError: a folder, a named pipe or a device where a file should be.
        """
        missing = {name: array("q") for name in names}
        for folder in self._folders:
            if not any(len(self._within(folder, name)) for name in names):
                continue
            there = collected(_files_in(folder))
            taken = collected(self._bases(folder, there, missing))
            self._spare[folder] = packed(base for base in there if base not in taken)
        return {name: np.sort(np.array(found, np.int64)) for name, found in missing.items() if found}

    def _bases(self, folder: str, there: Collection[str], missing: Mapping[str, array[int]]) -> Iterator[str]:
        """Names of the frames' files in a folder; frames of asked maps without their file are added to `missing`."""
        for name in self._order:
            for index, base in self.within(folder, name):
                if base not in there and name in missing and self._is_missing(index, name):
                    missing[name].append(index)
                yield base

    def _is_missing(self, index: int, name: str) -> bool:
        """Whether nothing lies where a file should; something else that lies there is refused."""
        path = self.frames[index].files[name]
        if not path.exists():
            return True
        existing_file(path, f"{self.frames[index].origin_of(name)}: {name}".removeprefix(": "))
        return False

    def told(
        self,
        missing: Mapping[str, np.ndarray],  # int64 [n] each
    ) -> str:
        """What `missing` found, with the first file, counts and the first names; "" where that is nothing."""
        if not missing:
            return ""
        first = min(missing, key=lambda name: missing[name][0])
        frame = self.frames[missing[first][0]]
        path, counts = frame.files[first], self.counts(missing)
        return f"{frame.origin_of(first)}: {path}: no such file; {counts}".removeprefix(": ")

    def counts(
        self,
        missing: Mapping[str, np.ndarray],  # int64 [n] each
    ) -> str:
        """Of how many frames each map is missing, and the first of them."""
        counts = [
            f"{name} of {len(missing[name])} of {len(self.frames)} frames is missing, such as "
            f"{first_of([self.frames[at].sample_id for at in missing[name][:4]])}"
            for name in sorted(missing, key=lambda name: missing[name][0])
        ]
        return ", ".join(counts)

    def beside(self) -> Folders:
        """The folders that `check` has looked into, with the files there that no frame has."""
        return ((folder, unpacked(names)) for folder, names in self._spare.items())

    def of_no_frame(self, folder: str, names: Sequence[str]) -> Sequence[str]:
        """Those of a folder's files that no frame has."""
        if folder not in self._folders:
            return names
        if folder in self._spare:
            spare = set(unpacked(self._spare[folder]))
            return [name for name in names if name in spare] if spare else ()
        taken = collected(base for name in self._order for _, base in self.within(folder, name))
        return [name for name in names if name not in taken]


def left_over(files: FrameFiles, names: Sequence[str], around: Folders, named: Iterable[str]) -> dict[str, list[str]]:
    """Files that look like a frame's and are none: a partner is missing, the suffix is another, or no list has them.

    How a map's files are named is seen from the frames: as their ids, with something before and behind.

    Args:
        files: of the frames of the split.
        names: of the maps to look at.
        around: folders with the files that lie in them.
        named: names of frames that other splits or lists have, with their folders or without; asked for once, and only
            where there are files that may be theirs.

    Returns:
        Paths per map, only of maps that have any.
    """
    forms = {name: form for name in names if (form := _form(files.frames, name))}
    naming = [_Naming(files, name, *form) for name, form in forms.items()]
    naming.sort(key=lambda item: -len(item.prefix + item.tail))
    found: dict[str, list[str]] = {}
    known: Collection[str] | None = None
    for folder, bases in around:
        for base in files.of_no_frame(folder, bases):
            item = next((item for item in naming if item.stem(folder, base)), None)
            if item is None or is_hidden(base) or item.is_known(folder, base):
                continue
            known = collected(named) if known is None else known
            if not any(text in known for text in item.ids(folder, base)):
                found.setdefault(item.name, []).append(folder + base)
    return {name: sorted(found[name]) for name in names if name in found}


class _Naming:
    """How the files of a map are named: `prefix`, the frame's name, `tail`, and any map's suffix."""

    def __init__(self, files: FrameFiles, name: str, prefix: str, tail: str) -> None:
        self.name, self.prefix, self.tail, self._files = name, prefix, tail, files
        self._suffixes = [tail + ending for ending in MAP_SUFFIXES]
        self._known: tuple[str | None, Collection[str]] = None, ()

    @cached_property
    def _places(self) -> dict[str, str]:
        frames = self._files.frames
        pairs = zip(ids_of(frames), paths_of(frames, self.name), strict=True)
        return {base: base for base in {_base(path[: path.rfind(os.sep) + 1], own) for own, path in pairs if path}}

    def stem(self, folder: str, base: str) -> str:
        """What of a file's name is the frame's; "" where it is named otherwise, or lies elsewhere."""
        stem = split_name(base, self.prefix, self._suffixes)
        return stem if stem and _place(folder, self._places) else ""

    def is_known(self, folder: str, base: str) -> bool:
        """Whether a frame has a file of that stem there, which so is the same in another format."""
        if self._known[0] != folder:
            own = (split_name(other, self.prefix, self._suffixes) for _, other in self._files.within(folder, self.name))
            self._known = folder, collected(own)
        return self.stem(folder, base) in self._known[1]

    def ids(self, folder: str, base: str) -> tuple[str, str]:
        """The name that a frame of the file would have, without its folders and with them."""
        stem = self.stem(folder, base)
        return stem, (folder + stem)[len(_place(folder, self._places)) :]


def first_of(names: Sequence[str], count: int = 3) -> str:
    """The first of some names, for messages."""
    return f"[{', '.join(map(repr, names[:count]))}{', …' * (len(names) > count)}]"


def _files_in(folder: str) -> Iterator[str]:
    """The regular files of a folder, and links to such; none where there is no folder."""
    try:
        with os.scandir(folder or os.curdir) as entries:
            yield from (entry.name for entry in entries if entry.is_file())
    except (FileNotFoundError, NotADirectoryError):
        return


def _form(frames: Sequence[Frame], name: str) -> tuple[str, str] | None:
    """What stands before and behind a frame's name in the names of a map's files; None where they are not named so."""
    for frame in frames:
        if name in frame.files and not frame.mirrored:
            own, base = PurePath(frame.sample_id).name, frame.files[name].name
            prefix, found, rest = base.partition(own)
            return (prefix, PurePath(f"x{rest}").stem[1:]) if found else None
    return None


def _base(folder: str, sample_id: str) -> str:
    """A file's folder without those that belong to the frame's name."""
    inner = sample_id.rpartition("/")[0]
    return folder[: -len(inner) - 1] if inner and folder.endswith(f"{os.sep}{inner}{os.sep}") else folder


def _place(folder: str, places: dict[str, str]) -> str:
    """The one of the places that a folder is, or lies below; "" for none. Remembers the answer there."""
    if folder not in places:
        above = folder[: folder.rfind(os.sep, 0, -1) + 1]
        places[folder] = _place(above, places) if above != folder else ""
    return places[folder]
