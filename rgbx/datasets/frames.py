"""Frames on disk: what they name is compared with what lies there, before any is read."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath

from rgbx._files import existing_file
from rgbx.maps.folders import MAP_SUFFIXES, is_hidden, split_name


@dataclass(frozen=True)
class Frame:
    """One frame on disk.

    Attributes:
        sample_id: unique in its split; names the results.
        files: the file behind each map and behind "label"; a test frame may have no label. Files of modalities that
            nobody asks for may be listed: they are not opened.
        origin: where the frame was listed ("…/train.txt:12"), for messages; "" where folders were listed.
        mirrored: whether the frame is the mirror image of its files, which another frame may have too.
        origins: the same of single maps, which stand in lists of their own.
    """

    sample_id: str
    files: Mapping[str, Path] = field(repr=False)
    origin: str = ""
    mirrored: bool = False
    origins: Mapping[str, str] = field(default_factory=dict, repr=False)

    def origin_of(self, name: str) -> str:
        """Where the file of a map was listed."""
        return self.origins.get(name, self.origin)


def check_ids(frames: Sequence[Frame]) -> None:
    """Refuses two frames of one id, which would be scored twice and written to one file.

    Raises:
        ValueError: naming both places.
    """
    seen: dict[str, Frame] = {}
    for frame in frames:
        first = seen.setdefault(frame.sample_id, frame)
        if first is not frame:
            place, other = (at.origin or str(next(iter(at.files.values()), "")) for at in (frame, first))
            raise ValueError(f"{place}: frame {frame.sample_id!r} is there already, at {other}")


def check_files(frames: Sequence[Frame], names: Sequence[str]) -> tuple[str, list[str]]:
    """Looks for the files of the named maps of all frames, a folder at a time.

    Returns:
        What is missing, with counts and the first names ("" where nothing is), and all files of the folders.

    Raises:
        ValueError: a folder, a named pipe or a device where a file should be.
    """
    folders: dict[str, dict[str, bool]] = {}
    missing: dict[str, list[tuple[Frame, Path]]] = {}
    for frame in frames:
        for name in names:
            if name not in frame.files:
                continue
            path = frame.files[name]
            folder, base = os.path.split(path)
            if folder not in folders:
                folders[folder] = _entries(folder or os.curdir)
            if folders[folder].get(base):
                continue
            if not path.exists():
                missing.setdefault(name, []).append((frame, path))
            else:
                existing_file(path, f"{frame.origin_of(name)}: {name}".removeprefix(": "))
    files = [
        f"{folder}{os.sep}{base}" for folder, bases in folders.items() for base, is_file in bases.items() if is_file
    ]
    return _told(missing, len(frames)) if missing else "", files


def left_over(
    frames: Sequence[Frame], names: Sequence[str], files: Iterable[str], named: Collection[str]
) -> dict[str, list[str]]:
    """Files that look like a frame's and are none: a partner is missing, the suffix is another, or no list has them.

    How a map's files are named is seen from the frames: as their ids, with something before and behind.

    Args:
        frames: of the split.
        names: of the maps to look at.
        files: paths of the files that lie around.
        named: names of frames that other splits or lists have, with their folders or without.

    Returns:
        Paths per map, only of maps that have any.
    """
    taken = {os.fspath(path) for frame in frames for path in frame.files.values()}
    rest = [os.path.split(path) for path in files if path not in taken]
    found: dict[str, list[str]] = {}
    known = set(named)
    forms = {name: form for name in names if (form := _form(frames, name))}
    for name, (prefix, tail) in sorted(forms.items(), key=lambda item: -len("".join(item[1]))):
        suffixes = [tail + ending for ending in MAP_SUFFIXES]
        own = [(frame, *os.path.split(frame.files[name])) for frame in frames if name in frame.files]
        places = {base: base for base in {_base(folder, frame.sample_id) for frame, folder, _ in own}}
        stems = {(folder, split_name(base, prefix, suffixes)) for _, folder, base in own}
        others = []
        for folder, base in rest:
            place = _place(folder, places)
            stem = split_name(base, prefix, suffixes) if place and not is_hidden(base) else ""
            if not stem:
                others.append((folder, base))
            elif (folder, stem) not in stems and not {stem, f"{folder}{os.sep}{stem}"[len(place) + 1 :]} & known:
                found.setdefault(name, []).append(f"{folder}{os.sep}{base}")
        rest = others
    return {name: sorted(found[name]) for name in names if name in found}


def first_of(names: Sequence[str], count: int = 3) -> str:
    """The first of some names, for messages."""
    return f"[{', '.join(map(repr, names[:count]))}{', …' * (len(names) > count)}]"


def _entries(folder: str) -> dict[str, bool]:
    """Whether each entry of a folder is a regular file or a link to one; nothing where there is no folder."""
    try:
        with os.scandir(folder) as entries:
            return {entry.name: entry.is_file() for entry in entries}
    except (FileNotFoundError, NotADirectoryError):
        return {}


def _told(missing: Mapping[str, Sequence[tuple[Frame, Path]]], count: int) -> str:
    first, ((frame, path), *_) = next(iter(missing.items()))
    counts = [
        f"{name} of {len(listed)} of {count} frames is missing, such as {first_of([at.sample_id for at, _ in listed])}"
        for name, listed in missing.items()
    ]
    return f"{frame.origin_of(first)}: {path}: no such file; {', '.join(counts)}".removeprefix(": ")


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
    return folder.removesuffix(f"{os.sep}{inner}") if inner else folder


def _place(folder: str, places: dict[str, str]) -> str:
    """The one of the places that a folder is, or lies below; "" for none. Remembers the answer there."""
    if folder not in places:
        above = os.path.split(folder)[0]
        places[folder] = _place(above, places) if above != folder else ""
    return places[folder]
