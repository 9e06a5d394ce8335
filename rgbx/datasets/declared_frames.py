"""The frames of one split of a declaration: from folders, from lists of stems, or from lists with timestamps."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path, PurePosixPath

from rgbx._files import inside, read_text
from rgbx._text import one_of
from rgbx.datasets.declaration import SPLIT, Declaration, Streams
from rgbx.datasets.frames import Frame
from rgbx.datasets.listing import distinct_ids, lines_beside, list_lines
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
from rgbx.maps.folders import ANY, MAP_SUFFIXES, files_below, files_by_stem, join_name, split_name, suffixes_of

_LOG = logging.getLogger("rgbx")


class DeclaredFrames:
    """Lists the frames of a split.

    Args:
        root: the folder that the declaration's paths are relative to.
        declared: what lies where.
        split: one of its splits.
        modalities: those whose files must be there, beside those of the label.
        choices: of the declaration's `choices`.

    Attributes:
        frames: in the order of the list, or of their names.
        around: paths of the files that lie in the folders of the asked maps.
        named: names of the frames of all lists of the declaration, without folders.
        streams: how a split with times of its own is paired; None of others.
        stamps: of a split with times, the files of each map that has them in the order of time, delays taken off.
        times: of such a split, when the label of each frame was recorded, or where that has no times, its first map.

    Raises:
        FileNotFoundError, ValueError: naming the declaration and the key, or the list and the line.
    """

    def __init__(
        self, root: Path, declared: Declaration, split: str, modalities: Sequence[str], choices: Mapping[str, str]
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
        self.around = [f"{root / folder}/{name}" for folder, names in self.below.items() for name in names]
        self.named: set[str] = set() if in_folders else set(self._names(split))
        self.streams = entry if isinstance(entry, Streams) else None
        self.stamps: dict[str, list[Stamped]] = {}
        self.times: list[float] = []
        if isinstance(entry, Streams):
            self.frames = self._paired(entry)
        elif isinstance(entry, tuple):
            self.frames = self._listed([(stem, self.where) for stem in entry])
        elif in_folders:
            self.frames = self._all(asked)
        else:
            self.frames = self._listed(list_lines(root / inside(root, entry, self.where), "one stem each"))

    def _entry(self, split: str) -> str | tuple[str, ...] | Streams:
        splits = self.declared.splits
        if isinstance(splits, str):
            return splits.replace(SPLIT, inside(self.root, split, self.where))
        if split not in splits:
            raise ValueError(f"{self.owner}: [splits] has {one_of(splits, split)}; found split {split!r}")
        return splits[split]

    def _all(self, asked: Sequence[str]) -> list[Frame]:
        """Every file of the first modality is a frame; where its suffix is free, of every asked map whose suffix is."""
        free = [name for name in asked if self.maps[name].suffix == ANY]
        if self.maps[self.first].suffix != ANY or not free:
            free = [self.first]
        stems = sorted({stem for name in free for stem in self._files(name)})
        if not stems:
            folder, item = self.root / self.folders[free[0]], self.maps[free[0]]
            if not folder.is_dir():
                raise FileNotFoundError(f"{self.where}: {folder}: no such folder")
            raise FileNotFoundError(f"{self.where}: no files {folder}/{item.prefix}*{item.suffix.removeprefix(ANY)}")
        return self._frames([(stem, "") for stem in stems])

    def _listed(self, lines: Sequence[tuple[str, str]]) -> list[Frame]:
        """Frames of lines with stems, paths of the first modality's files, or timestamps and paths of several maps."""
        told = [(line, origin) for line, origin in lines if not line.lstrip().startswith("#")]
        rows = [stamped_columns(line) for line, _ in told]
        if told and all(rows):
            owned = [self._owners(row, origin) for row, (_, origin) in zip(rows, told, strict=True)]
            return self._recorded(owned)
        known = set(self._files(self.first))
        return self._frames([(self._stem(line, known, origin), origin) for line, origin in lines])

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
        known = set(self._files(self.first))
        first = [row[self.first] for row in rows]
        by_stem = self._frames([(self._stem(item.path, known, item.origin), item.origin) for item in first])
        return [
            Frame(
                own,
                {**frame.files, **{name: self.root / item.path for name, item in row.items()}},
                frame.origin,
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

    def _stem(self, line: str, known: set[str], origin: str) -> str:
        """The stem that a line means: as it is, or without the first modality's folder, prefix and suffix."""
        path = inside(self.root, line, origin).removeprefix(f"{self.folders[self.first]}/")
        forms = [form for form in self._forms(path) if form]
        return next((form for form in forms if form in known), forms[0])

    def _forms(self, name: str) -> list[str]:
        """What a name may mean as a stem, the likeliest first; empty texts are none."""
        item = self.maps[self.first]
        suffixes = (*suffixes_of(item.suffix, ()), *MAP_SUFFIXES)
        return [
            split_name(name, item.prefix, suffixes),
            split_name(name, "", suffixes),
            name,
            split_name(name, item.prefix, ("",)),
        ]

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
                try:
                    yield from read_text(self.root / inside(self.root, file, self.where)).split("\n")
                except (OSError, ValueError):  # another split's: it is refused where that is opened
                    continue

    def _scan(self, folder: str) -> list[str]:
        """Names below a folder, without those in folders of other maps inside it."""
        inner = [other for other in self.folders.values() if other != folder and _is_inside(other, folder)]
        places = tuple(f"{other.removeprefix(f'{folder}/')}/" for other in inner)
        return [name for name in files_below(self.root / folder) if not name.startswith(places)]

    def _files(self, name: str, wanted: set[str] | None = None) -> dict[str, Path]:
        """Files of a map by stem. Of maps in one folder, a file belongs to the one that says most about its name."""
        folder, item = self.folders[name], self.maps[name]
        names: Iterable[str] = self.below[folder] if folder in self.below else self._scan(folder)
        for other, rival in self.maps.items():
            if self.folders[other] == folder and _length(rival.prefix, rival.suffix) > _length(
                item.prefix, item.suffix
            ):
                suffixes = suffixes_of(rival.suffix, ())
                names = [name for name in names if not split_name(name, rival.prefix, suffixes)]
        return files_by_stem(self.root / folder, list(names), item.prefix, item.suffix, wanted=wanted)

    def _frames(self, stems: Sequence[tuple[str, str]]) -> list[Frame]:
        """Frames of stems, each with its origin; a file that is not there has the name that it should have."""
        wanted = {stem for stem, _ in stems}
        found = {name: self._files(name, wanted) for name in self.maps if self.folders[name] in self.below}
        places = [
            (name, found.get(name, {}), self.root / self.folders[name], item.prefix, item.suffix)
            for name, item in self.maps.items()
            if name in found or item.suffix != ANY
        ]
        return [
            Frame(
                stem,
                {
                    name: files.get(stem) or folder / join_name(stem, prefix, suffix)
                    for name, files, folder, prefix, suffix in places
                },
                origin,
            )
            for stem, origin in stems
        ]


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
