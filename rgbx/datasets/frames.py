"""What is a frame, and many of them: those of a list are made when they are asked for, so that it may have millions."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Self, overload

import numpy as np

from rgbx.datasets.texts import Texts
from rgbx.maps.folders import ANY, IMAGE_SUFFIXES, MAP_SUFFIXES, join_name, split_name, suffixes_of


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


@dataclass(frozen=True)
class Origins:
    """Where frames were listed, for messages.

    Attributes:
        file: the list, or the place that is the same for all; "" where folders were listed.
        lines: of each frame its line in the list, counted from 1, uint32 [N]; None where there is no list.
    """

    file: str = ""
    lines: np.ndarray | None = None

    def part(self, positions: np.ndarray) -> Origins:
        """Those of the frames at some positions, int64 [N]."""
        return Origins(self.file, None if self.lines is None else self.lines[positions])

    def __getitem__(self, index: int) -> str:
        return self.file if self.lines is None else f"{self.file}:{self.lines[index]}"


class ListedFrames(Sequence[Frame], ABC):
    """Frames that are made when they are asked for, of a text each: some 50 bytes in place of 1500.

    Args:
        names: of the maps whose files are known, in the order of `Frame.files`.
        rows: the texts.
        origins: where they were listed.
    """

    _lacking: Mapping[str, np.ndarray] = MappingProxyType({})  # by map, bool [rows]: those without a file of it

    def __init__(self, names: Sequence[str], rows: Texts, origins: Origins) -> None:
        self.names, self._rows, self._origins = tuple(names), rows, origins
        self._chosen: np.ndarray | None = None  # int64 [N], positions of the rows

    @abstractmethod
    def _id(self, row: str) -> str:
        """The frame's name."""

    @abstractmethod
    def _path(self, at: int, row: str, name: str) -> str:
        """The path of a map's file; `at` is the position of the row."""

    def __len__(self) -> int:
        return len(self._rows if self._chosen is None else self._chosen)

    @overload
    def __getitem__(self, index: int) -> Frame: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Frame]: ...
    def __getitem__(self, index: int | slice) -> Frame | Sequence[Frame]:
        if isinstance(index, slice):
            return [self[each] for each in range(*index.indices(len(self)))]
        return self._frame(*next(self._at(np.array([range(len(self))[index]]))))

    def __iter__(self) -> Iterator[Frame]:
        return (self._frame(at, row) for at, row in self._all())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ListedFrames) and len(self) == len(other) and all(map(Frame.__eq__, self, other))

    __hash__ = None  # type: ignore[assignment]

    def part(self, positions: np.ndarray) -> Self:
        """Those at some positions, int64 [N], in their order."""
        part = copy.copy(self)
        part._chosen = positions if self._chosen is None else self._chosen[positions]
        return part

    def lacking(self, absent: Mapping[str, np.ndarray]) -> Self:
        """The same frames, of which some have no file of a map: by map their positions, int64 [n]."""
        found, rows = copy.copy(self), len(self._rows)
        found._lacking = {name: self._lacking.get(name, np.zeros(rows, bool)).copy() for name in absent}
        for name, positions in absent.items():
            found._lacking[name][positions if self._chosen is None else self._chosen[positions]] = True
        found._lacking = {**self._lacking, **found._lacking}
        return found

    def has(self, name: str) -> np.ndarray:
        """Which frames have a file of a map, bool [N]."""
        if name not in self.names or name not in self._lacking:
            return np.full(len(self), name in self.names)
        return ~(self._lacking[name] if self._chosen is None else self._lacking[name][self._chosen])

    def ids(self) -> Iterator[str]:
        """The names of all frames."""
        return (self._id(row) for _, row in self._all())

    def paths(self, name: str) -> Iterator[str]:
        """The paths of a map's files, of all frames; "" for a frame without one."""
        return (self._found(at, row, name) for at, row in self._all())

    def paths_at(self, positions: np.ndarray, name: str) -> Iterator[str]:
        """The paths of a map's files, of the frames at some positions, int64 [N]."""
        return (self._found(at, row, name) for at, row in self._at(positions))

    def _at(self, positions: np.ndarray) -> Iterator[tuple[int, str]]:
        """Rows with their positions, of the frames at some positions, int64 [N]."""
        places = positions if self._chosen is None else self._chosen[positions]
        return zip(places.data, self._rows.at(places.data), strict=True)

    def _found(self, at: int, row: str, name: str) -> str:
        """As `_path`; "" for a frame without a file of the map."""
        return "" if name in self._lacking and self._lacking[name][at] else self._path(at, row, name)

    def _all(self) -> Iterator[tuple[int, str]]:
        return enumerate(self._rows) if self._chosen is None else self._at(np.arange(len(self)))

    def _frame(self, at: int, row: str) -> Frame:
        paths = {name: self._found(at, row, name) for name in self.names}
        files = {name: Path(path) for name, path in paths.items() if path}
        return Frame(self._id(row), files, self._origins[at])


class ColumnFrames(ListedFrames):
    """Frames of lines that name each map's file.

    Args:
        root: of the paths.
        names: of the maps, in the order of the columns.
        rows: paths relative to the root, with tabs between them.
        origins: see `ListedFrames`.
        id_of: what makes a frame's name of the path in the first column.
    """

    def __init__(
        self, root: Path, names: Sequence[str], rows: Texts, origins: Origins, id_of: Callable[[str], str]
    ) -> None:
        super().__init__(names, rows, origins)
        self._root, self._id_of = _with_end(root), id_of
        self._columns = {name: column for column, name in enumerate(names)}

    def _id(self, row: str) -> str:
        return self._id_of(row.partition("\t")[0])

    def _path(self, at: int, row: str, name: str) -> str:
        return self._root + row.split("\t")[self._columns[name]]


class StemFrames(ListedFrames):
    """Frames whose files are named by their stems.

    Args:
        files: by map.
        stems: the frames' names.
        origins: see `ListedFrames`.
    """

    def __init__(self, files: Mapping[str, FilesOfStems], stems: Texts, origins: Origins) -> None:
        super().__init__(tuple(files), stems, origins)
        self._files = dict(files)

    def _id(self, row: str) -> str:
        return row

    def _path(self, at: int, row: str, name: str) -> str:
        return self._files[name].path(at, row)


class FilesOfStems:
    """Which of a folder's files each of some stems has: what `files_by_stem` finds, as a number per stem.

    Args:
        folder: holds the files.
        stems: of the frames.
        prefix, suffix: see `rgbx.maps.folders.files_by_stem`.
        names: of files relative to the folder, asked for several times; of a stem that has none, the file has the name
            that it should have.

    Raises:
        ValueError: two files of one stem.
    """

    def __init__(self, folder: Path, stems: Texts, prefix: str, suffix: str, names: Iterable[str] = ()) -> None:
        self._folder, self._prefix = _with_end(folder), prefix
        self._endings = [suffix]
        self._ending = np.zeros(len(stems), np.int32)  # of each stem's file, as a position in the endings
        suffixes = suffixes_of(suffix, names)
        self._find(stems, names, suffixes)
        if suffix == ANY and suffixes != MAP_SUFFIXES and not self._ending.all():
            arrays = (name for name in names if not name.lower().endswith(IMAGE_SUFFIXES))
            self._find(stems, arrays, MAP_SUFFIXES)

    def path(self, at: int, stem: str) -> str:
        """The path of the file of a stem, whose position is `at`."""
        return self._folder + self._name(at, stem)

    def _name(self, at: int, stem: str) -> str:
        return join_name(stem, self._prefix, self._endings[self._ending[at]])

    def _find(self, stems: Texts, names: Iterable[str], suffixes: Sequence[str]) -> None:
        """Takes the files of those suffixes for stems that have none yet."""
        ending, earlier = self._ending.data, len(self._endings)
        numbers: dict[str, int] = {}
        for name in names:
            stem = split_name(name, self._prefix, suffixes)
            at = stems.position(stem) if stem else None
            if at is None or 0 < ending[at] < earlier:
                continue
            if ending[at]:
                raise two_of_one_stem(Path(self._folder), self._name(at, stem), name)
            tail = name[len(stem) + len(self._prefix) :]
            if tail not in numbers:
                numbers[tail] = len(self._endings)
                self._endings.append(tail)
            ending[at] = numbers[tail]


def two_of_one_stem(folder: Path, one: str, other: str) -> ValueError:
    """The error for two files that are named as one frame's."""
    return ValueError(f"{folder}: {one} and {other} have one stem; which is the frame's?")


def ids_of(frames: Sequence[Frame]) -> Iterator[str]:
    """The names of frames."""
    return frames.ids() if isinstance(frames, ListedFrames) else (frame.sample_id for frame in frames)


def names_in(frames: Sequence[Frame]) -> tuple[str, ...]:
    """The maps that any frame has a file of."""
    return frames.names if isinstance(frames, ListedFrames) else tuple({n: 0 for frame in frames for n in frame.files})


def paths_of(frames: Sequence[Frame], name: str) -> Iterator[str]:
    """The paths of a map's files; "" for a frame without one."""
    if isinstance(frames, ListedFrames):
        return frames.paths(name) if name in frames.names else ("" for _ in range(len(frames)))
    return (str(frame.files.get(name, "")) for frame in frames)


def paths_at(frames: Sequence[Frame], positions: np.ndarray, name: str) -> Iterator[str]:
    """The paths of a map's files, of the frames at some positions, int64 [N], which have one."""
    if isinstance(frames, ListedFrames):
        return frames.paths_at(positions, name)
    return (str(frames[at].files[name]) for at in positions)


def has_file(frames: Sequence[Frame], name: str) -> np.ndarray:
    """Which frames have a file of a map, bool [N]."""
    if isinstance(frames, ListedFrames):
        return frames.has(name)
    return np.fromiter((name in frame.files for frame in frames), bool, len(frames))


def without_files(frames: Sequence[Frame], absent: Mapping[str, np.ndarray]) -> Sequence[Frame]:
    """The same frames, of which some have no file of a map: by map their positions, int64 [n]."""
    if isinstance(frames, ListedFrames):
        return frames.lacking(absent)
    left: dict[int, set[str]] = {}
    for name, positions in absent.items():
        for at in positions.tolist():
            left.setdefault(at, set()).add(name)
    return [
        replace(frame, files={name: path for name, path in frame.files.items() if name not in left.get(at, ())})
        for at, frame in enumerate(frames)
    ]


def chosen(frames: Sequence[Frame], positions: np.ndarray) -> Sequence[Frame]:
    """Those at some positions, int64 [n], in their order."""
    return frames.part(positions) if isinstance(frames, ListedFrames) else [frames[at] for at in positions.tolist()]


def _with_end(folder: Path) -> str:
    """A folder as what stands before the names of its files."""
    return str(folder / "x")[:-1]
