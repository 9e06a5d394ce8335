"""The frames of one split of a declaration: from folders, from lists of stems, or from lists with timestamps."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cache
from itertools import chain
from pathlib import Path, PurePosixPath

from rgbx._files import inside, text_lines
from rgbx._text import one_of
from rgbx.datasets.declaration import SPLIT, Declaration, Streams
from rgbx.datasets.frame_files import Folders
from rgbx.datasets.frames import FilesOfStems, Frame, Origins, StemFrames, ids_of, two_of_one_stem
from rgbx.datasets.listing import Lines, distinct_ids, lines_beside, list_lines
from rgbx.datasets.texts import Texts, first_twice
from rgbx.datasets.timestamps import (
    TIME_WORDS,
    Stamped,
    in_order,
    named_stamps,
    pair_all,
    read_stamps,
    stamped_columns,
    without_delay,
)
from rgbx.maps.folders import ANY, MAP_SUFFIXES, FilesBelow, files_below, split_name, suffixes_of

_LOG = logging.getLogger("rgbx")


class DeclaredFrames:
    """Lists the frames of a split.

    Args:
        root: the folder that the declaration's paths are relative to.
        declared: what lies where.
        split: one of its splits.
        modalities: those whose files must be there, beside those of the label.
        choices: of the declaration's `choices`.
        of_any: whether a split that is a folder has the frames of all asked modalities, and not of the first.

    Attributes:
        frames: in the order of the list, or of their names.
        streams: how a split with times of its own is paired; None of others.
        stamps: of a split with times, the files of each map that has them in the order of time, delays taken off.
        times: of such a split, when the label of each frame was recorded, or where that has no times, its first map.

    Raises:
        FileNotFoundError, ValueError: naming the declaration and the key, or the list and the line.
    """

    def __init__(
        self,
        root: Path,
        declared: Declaration,
        split: str,
        modalities: Sequence[str],
        choices: Mapping[str, str],
        *,
        of_any: bool = False,
    ) -> None:
        self.root, self.declared, self.maps = root, declared, declared.maps
        self.owner = declared.name if str(root) in declared.name else f"{root}: {declared.name}"
        self.where = f"{self.owner}: [splits] {split}"
        entry = self._entry(split)
        in_folders = isinstance(entry, str) and not entry.endswith(".txt")
        self.folders = declared.folders(entry if in_folders and isinstance(entry, str) else split, choices)
        self.first = next(iter(self.maps))
        asked = [name for name in self.maps if name in modalities or name == "label"]
        self.below = {self.folders[name]: self._scan(self.folders[name]) for name in asked}
        self._split = "" if in_folders else split
        self.streams = entry if isinstance(entry, Streams) else None
        self.stamps: dict[str, list[Stamped]] = {}
        self.times: list[float] = []
        if isinstance(entry, Streams):
            self.frames: Sequence[Frame] = self._paired(entry)
        elif isinstance(entry, tuple):
            self.frames = self._listed([(stem, self.where) for stem in entry])
        elif in_folders:
            self.frames = self._all(asked, of_any)
        else:
            self.frames = self._listed(list_lines(root / inside(root, entry, self.where), "one stem each"))

    def _entry(self, split: str) -> str | tuple[str, ...] | Streams:
        splits = self.declared.splits
        if isinstance(splits, str):
            return splits.replace(SPLIT, inside(self.root, split, self.where))
        if split not in splits:
            raise ValueError(f"{self.owner}: [splits] has {one_of(splits, split)}; found split {split!r}")
        return splits[split]

    def around(self) -> Folders:
        """The folders of the asked maps, and those in them, with the files that lie there."""
        return chain.from_iterable(files.folders() for files in self.below.values())

    def named(self) -> Iterator[str]:
        """Names of the frames, and without folders those of all lists of the declaration."""
        if self._split:
            yield from self._names(self._split)
        yield from ids_of(self.frames)

    def _all(self, asked: Sequence[str], of_any: bool) -> StemFrames:
        """Every file of the first modality is a frame; where its suffix is free, of every asked map whose suffix is."""
        free = [name for name in asked if self.maps[name].suffix == ANY]
        if self.maps[self.first].suffix != ANY or not free:
            free = [self.first]
        if of_any:
            free = [name for name in asked if name != "label"]
        stems = sorted({stem for name in free for stem in self._stems(name)})
        if not stems:
            folder, item = self.root / self.folders[free[0]], self.maps[free[0]]
            if not folder.is_dir():
                raise FileNotFoundError(f"{self.where}: {folder}: no such folder")
            raise FileNotFoundError(f"{self.where}: no files {folder}/{item.prefix}*{item.suffix.removeprefix(ANY)}")
        return self._frames(Texts(stems), Origins())

    def _listed(self, lines: Sequence[tuple[str, str]]) -> Sequence[Frame]:
        """Frames of lines with stems, paths of the first modality's files, or timestamps and paths of several maps."""

        def told() -> Iterator[tuple[str, str]]:
            return ((line, origin) for line, origin in lines if not line.lstrip().startswith("#"))

        if any(True for _ in told()) and all(stamped_columns(line) for line, _ in told()):
            return self._recorded([self._owners(stamped_columns(line), origin) for line, origin in told()])
        known = self._stems(self.first)
        stems = Texts(self._stem(line, known, origin) for line, origin in lines)
        return self._frames(stems, lines.origins if isinstance(lines, Lines) else Origins(self.where))

    def _paired(self, streams: Streams) -> list[Frame]:
        """Frames of times per map: those of the label, or where that has none, of the first modality."""
        stamps = {
            name: without_delay(self._stamped(name, place, streams), streams.delays.get(name, 0.0))
            for name, place in streams.lists.items()
        }
        leading = "label" if "label" in stamps else self.first
        found, told = pair_all({leading: stamps[leading], **stamps}, streams.max_gap, self.where)
        if told:
            _warn_once(told)
        return self._recorded(found, stamps)

    def _stamped(self, name: str, place: str, streams: Streams) -> list[Stamped]:
        """What a list holds, or the files of a folder, which are named by their time."""
        place = inside(self.root, place, self.where)
        if place.endswith(".txt"):
            return read_stamps(self.root / place)
        item, names = self.maps[name], files_below(self.root / place)
        stems = {own: split_name(own, item.prefix, suffixes_of(item.suffix, names)) for own in names}
        owned = [own for own, stem in stems.items() if stem]
        stamps, unit = named_stamps(self.root / place, owned, [stems[own] for own in owned], streams.time_unit)
        _LOG.info("%s: %d files of %s are named by their time in %s", self.where, len(owned), name, TIME_WORDS[unit])
        return [item._replace(path=f"{place}/{item.path}") for item in stamps]

    def _recorded(
        self, rows: Sequence[Mapping[str, Stamped]], stamps: Mapping[str, Sequence[Stamped]] | None = None
    ) -> list[Frame]:
        """Frames whose files are named one by one; maps without one are found by the stem of the first."""
        rows = [{name: self._placed(name, item) for name, item in row.items()} for row in rows]
        listed = stamps or _files_in(rows)
        self.stamps = {name: [self._placed(name, item) for item in items] for name, items in listed.items()}
        self.times = [row.get("label", row[self.first]).time for row in rows]
        ids = distinct_ids([row[self.first].path for row in rows])
        known = self._stems(self.first)
        first = [row[self.first] for row in rows]
        by_stem = self._frames(Texts(self._stem(item.path, known, item.origin) for item in first), Origins())
        return [
            Frame(
                own,
                {**frame.files, **{name: self.root / item.path for name, item in row.items()}},
                row[self.first].origin,
                origins={name: item.origin for name, item in row.items()},
            )
            for own, frame, row in zip(ids, by_stem, rows, strict=True)
        ]

    def _placed(self, name: str, item: Stamped) -> Stamped:
        """With its path relative to the root."""
        return item._replace(path=self._path(name, item.path, item.origin))

    def _path(self, name: str, text: str, origin: str) -> str:
        """A map's file, relative to the root; lists name it from the root, or from the map's folder."""
        path, folder = inside(self.root, text, origin), self.folders[name]
        return path if folder == "." or path.startswith(f"{folder}/") else f"{folder}/{path}"

    def _owners(self, row: Sequence[tuple[float, str]], origin: str) -> dict[str, Stamped]:
        """The maps that the paths of a line belong to, by their folders."""
        found: dict[str, Stamped] = {}
        for time, path in row:
            fit = [name for name in self.maps if self._holds(name, inside(self.root, path, origin))]
            if len(fit) != 1 or fit[0] in found:
                raise ValueError(f"{origin}: {path} is of {fit or 'no map'}; the folders are {self.folders}")
            found[fit[0]] = Stamped(time, path, origin)
        if self.first not in found:
            raise ValueError(f"{origin}: expected a file of {self.first}, found {list(found)}")
        return found

    def _holds(self, name: str, path: str) -> bool:
        folder, item = self.folders[name], self.maps[name]
        inner = path if folder == "." else path.removeprefix(f"{folder}/")
        return (folder == "." or inner != path) and bool(
            split_name(inner, item.prefix, suffixes_of(item.suffix, [inner]))
        )

    def _stem(self, line: str, known: Collection[str], origin: str) -> str:
        """The stem that a line means: as it is, or without the first modality's folder, prefix and suffix."""
        path = inside(self.root, line, origin).removeprefix(f"{self.folders[self.first]}/")
        likeliest = next(self._forms(path))
        return (
            likeliest if likeliest in known else next((form for form in self._forms(path) if form in known), likeliest)
        )

    def _forms(self, name: str) -> Iterator[str]:
        """What a name may mean as a stem, the likeliest first."""
        item = self.maps[self.first]
        suffixes = (*suffixes_of(item.suffix, ()), *MAP_SUFFIXES)
        for prefix in dict.fromkeys((item.prefix, "")):
            if form := split_name(name, prefix, suffixes):
                yield form
        yield name
        if form := split_name(name, item.prefix, ("",)):
            yield form

    def _names(self, split: str) -> Iterator[str]:
        """What the lines of all lists may name, without folders."""
        for line in self._lines(split):
            for word in {line, *line.split()}:
                yield from filter(None, self._forms(PurePosixPath(word.strip().replace("\\", "/")).name))

    def _lines(self, split: str) -> Iterator[str]:
        splits = self.declared.splits
        if isinstance(splits, str):
            yield from lines_beside(self.root / splits.replace(SPLIT, split))
            return
        for entry in splits.values():
            if isinstance(entry, tuple):
                yield from entry
                continue
            for file in entry.lists.values() if isinstance(entry, Streams) else [entry] * entry.endswith(".txt"):
                if not file.endswith(".txt"):
                    yield from files_below(self.root / inside(self.root, file, self.where))
                    continue
                with suppress(OSError, ValueError):  # another split's: it is refused where that is opened
                    yield from text_lines(self.root / inside(self.root, file, self.where))

    def _scan(self, folder: str) -> FilesBelow:
        """Names below a folder, without those in folders of other maps inside it."""
        inner = [other for other in self.folders.values() if other != folder and _is_inside(other, folder)]
        return FilesBelow(self.root / folder, tuple(f"{other.removeprefix(f'{folder}/')}/" for other in inner))

    def _files(self, name: str) -> FilesBelow:
        """Names of a map's files. Of maps in one folder, a file belongs to the one that says most about its name."""
        folder, item = self.folders[name], self.maps[name]
        names = self.below[folder] if folder in self.below else self._scan(folder)
        for other, rival in self.maps.items():
            if self.folders[other] == folder and _length(rival.prefix, rival.suffix) > _length(
                item.prefix, item.suffix
            ):
                names = names.without(rival.prefix, suffixes_of(rival.suffix, ()))
        return names

    def _stems(self, name: str) -> Texts:
        """The stems of a map's files."""
        item, names = self.maps[name], self._files(name)
        suffixes = suffixes_of(item.suffix, names)
        stems = Texts(stem for own in names if (stem := split_name(own, item.prefix, suffixes)))
        if twice := first_twice(stems, stems.__getitem__):
            both = [own for own in names if split_name(own, item.prefix, suffixes) == stems[twice[0]]]
            raise two_of_one_stem(self.root / self.folders[name], *both[:2])
        return stems

    def _frames(self, stems: Texts, origins: Origins) -> StemFrames:
        """Frames of stems; a file that is not there has the name that it should have."""
        files = {}
        for name, item in self.maps.items():
            asked = self.folders[name] in self.below
            if asked or item.suffix != ANY:
                names = self._files(name) if asked else ()
                files[name] = FilesOfStems(self.root / self.folders[name], stems, item.prefix, item.suffix, names)
        return StemFrames(files, stems, origins)


@cache
def _warn_once(told: str) -> None:
    """A folder is opened many times, by its splits, its checks and its readers."""
    _LOG.warning(told)


def _files_in(rows: Sequence[Mapping[str, Stamped]]) -> dict[str, list[Stamped]]:
    """By map the files of all rows in the order of time, each once: several rows may name one.

    Raises:
        ValueError: two files of one time.
    """
    found: dict[str, dict[tuple[float, str], Stamped]] = {}
    for row in rows:
        for name, item in row.items():
            found.setdefault(name, {}).setdefault((item.time, item.path), item)
    return {name: in_order(items.values()) for name, items in found.items()}


def _is_inside(folder: str, other: str) -> bool:
    return other == "." or folder.startswith(f"{other}/")


def _length(prefix: str, suffix: str) -> int:
    return len(prefix) + len(suffix.replace(ANY, ""))
