"""Which frames there are: lists in text files, and a part held out of them; see `rgbx.maps.folders` for folders."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Literal, TypeVar, cast, overload

import numpy as np

from rgbx._files import text_lines
from rgbx.datasets.frames import ListedFrames, Origins
from rgbx.datasets.texts import Texts, first_twice

Holdout = Literal["exclude", "only"] | None
Item = TypeVar("Item")


class Lines(Sequence[tuple[str, str]]):
    """The lines of a list that are not blank, each with where it stands ("…/train.txt:12"), in little memory.

    Args:
        list_file: text, see `rgbx._files.text_lines`.
        made: what is kept of a line, of which it is told where it stands; by default the line as it is.

    Attributes:
        texts: the lines.
        origins: where they stand.

    Raises:
        FileNotFoundError, ValueError: no such file, or no text.
    """

    def __init__(self, list_file: Path, made: Callable[[str, str], str] = lambda line, _: line) -> None:
        numbers = array("I")
        lines = _counted(text_lines(list_file), numbers)
        self.texts = Texts(made(line, f"{list_file}:{numbers[-1]}") for line in lines)
        self.origins = Origins(str(list_file), np.frombuffer(numbers, np.uint32))

    def __len__(self) -> int:
        return len(self.texts)

    @overload
    def __getitem__(self, index: int) -> tuple[str, str]: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[tuple[str, str]]: ...
    def __getitem__(self, index: int | slice) -> tuple[str, str] | Sequence[tuple[str, str]]:
        if isinstance(index, slice):
            return [self[at] for at in range(*index.indices(len(self)))]
        return self.texts[index], self.origins[index]

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return ((line, self.origins[at]) for at, line in enumerate(self.texts))


def _counted(lines: Iterable[str], numbers: array[int]) -> Iterator[str]:
    """The lines that are not blank; their numbers are added to an array."""
    for number, line in enumerate(lines, start=1):
        if line and not line.isspace():
            numbers.append(number)
            yield line


def list_lines(list_file: Path, expected: str, made: Callable[[str, str], str] = lambda line, _: line) -> Lines:
    """The lines of a list that are not blank, of which there may be millions.

    Args:
        list_file: text, see `rgbx._files.read_text`.
        expected: what a line holds, for the message about an empty list.
        made: see `Lines`.

    Raises:
        FileNotFoundError: no such list; the message names the lists beside it.
        ValueError: no text, or nothing in it.
    """
    if not list_file.exists():
        beside = sorted(path.name for path in list_file.parent.glob("*.txt"))
        raise FileNotFoundError(f"{list_file}: no such list file; {list_file.parent} has the lists {beside}")
    lines = Lines(list_file, made)
    if not lines:
        raise ValueError(f"{list_file}: the list is empty; expected lines of {expected}")
    return lines


def lines_beside(list_file: Path) -> Iterator[str]:
    """The lines of a list and of all others in its folder, to know which files some list names."""
    for path in sorted(list_file.parent.glob("*.txt")):
        with suppress(OSError, ValueError):  # not asked for: other text may lie there
            yield from filter(None, map(str.strip, text_lines(path)))


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
    return list(map(id_of_path(paths, paths.__getitem__), paths))


def id_of_path(paths: Iterable[str], at: Callable[[int], str]) -> Callable[[str], str]:
    """What makes the id of a frame of its path, see `distinct_ids`; `at` gives the path at a position."""
    return stem_of if first_twice(map(stem_of, paths), lambda index: stem_of(at(index))) is None else _without_suffix


def stem_of(path: str) -> str:
    """A file's name without folders and suffix."""
    name = path.rpartition("/")[2]
    dot = name.rfind(".")
    return name[:dot] if 0 < dot < len(name) - 1 else name


def _without_suffix(path: str) -> str:
    folder, slash, _ = path.rpartition("/")
    return f"{folder}{slash}{stem_of(path)}"


def held_out(items: Sequence[Item], holdout: Holdout) -> Sequence[Item]:
    """The part of a list that `holdout_indices` tells."""
    positions = holdout_positions(len(items), holdout)
    if isinstance(items, ListedFrames):
        return cast(Sequence[Item], items if holdout is None else items.part(positions))
    return [items[index] for index in positions.tolist()]


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
    return holdout_positions(count, holdout, block=block, every=every).tolist()


def holdout_positions(count: int, holdout: Holdout, *, block: int = 16, every: int = 10) -> np.ndarray:
    """See `holdout_indices`; int64 [N]."""
    indices = np.arange(count)
    if holdout is None:
        return indices
    if holdout not in ("exclude", "only"):
        raise ValueError(f"holdout must be 'exclude', 'only' or None, found {holdout!r}")
    if count < 2:
        raise ValueError(f"a list of {count} frames is too short to hold out a part of it")
    held = (indices // block) % every == every // 2
    if not held.any():
        held[count // 2 : count // 2 + max(1, count // every)] = True
    return np.flatnonzero(held if holdout == "only" else ~held)
