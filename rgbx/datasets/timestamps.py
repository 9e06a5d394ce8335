"""Maps recorded at times of their own: lists with timestamps, paired by the nearest, as TUM RGB-D has them."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from rgbx.datasets.listing import list_lines
from rgbx.maps.folders import MAP_SUFFIXES


class Stamped(NamedTuple):
    """A file and when it was recorded, in seconds, with where the list says so."""

    time: float
    path: str
    origin: str


def read_stamps(list_file: Path) -> list[Stamped]:
    """The lines `timestamp path` of a list, without comments (#), in the order of time.

    Raises:
        FileNotFoundError: no such list.
        ValueError: nothing in it, another kind of line, or a time that is there twice.
    """
    found = []
    for line, origin in list_lines(list_file, "timestamp and file name"):
        if line.lstrip().startswith("#"):
            continue
        columns = stamped_columns(line)
        if len(columns) != 1:
            raise ValueError(f"{origin}: expected a timestamp in seconds and a file name, found {line!r}")
        found.append(Stamped(*columns[0], origin))
    if not found:
        raise ValueError(f"{list_file}: only comments; expected lines of timestamp and file name")
    found.sort()
    for one, other in pairwise(found):
        if one.time == other.time:
            raise ValueError(f"{other.origin}: the timestamp {other.time:g} is there already, at {one.origin}")
    return found


def stamped_columns(line: str) -> list[tuple[float, str]]:
    """The pairs of timestamp and file name in a line that holds nothing else; empty where it holds anything else."""
    columns = line.split()
    paths = columns[1::2]
    if len(columns) % 2 or not all(PurePosixPath(path).suffix.lower() in MAP_SUFFIXES for path in paths):
        return []
    try:
        times = [float(text) for text in columns[::2]]
    except ValueError:
        return []
    return list(zip(times, paths, strict=True)) if all(map(math.isfinite, times)) else []


def pair_stamps(first: Sequence[Stamped], second: Sequence[Stamped], max_gap: float) -> dict[int, int]:
    """Which of the second goes with which of the first: the closest pairs first, each taken once.

    As the tool `associate.py` of the TUM RGB-D benchmark pairs (Sturm et al., IROS 2012).

    Args:
        first: in the order of time.
        second: in the order of time.
        max_gap: the largest difference of a pair in seconds.

    Returns:
        Positions in `second` by positions in `first`.
    """
    times = [item.time for item in second]
    gaps = []
    for i, item in enumerate(first):
        j = bisect_left(times, item.time - max_gap)
        while j < len(times) and times[j] - item.time <= max_gap:
            gaps.append((abs(times[j] - item.time), i, j))
            j += 1
    pairs: dict[int, int] = {}
    taken: set[int] = set()
    for _, i, j in sorted(gaps):
        if i not in pairs and j not in taken:
            pairs[i] = j
            taken.add(j)
    return dict(sorted(pairs.items()))


def pair_all(
    stamps: Mapping[str, Sequence[Stamped]], max_gap: float, where: str
) -> tuple[list[dict[str, Stamped]], str]:
    """The frames of maps that were recorded at times of their own: those of the first that have all others.

    Args:
        stamps: by map, each in the order of time.
        max_gap: see `pair_stamps`.
        where: begins messages.

    Returns:
        Per frame what each map has of it, and what was left over, in words; "" where nothing was.

    Raises:
        ValueError: a map that has none of the first's, with the smallest difference; or no frame that has all.
    """
    (name, first), *others = stamps.items()
    pairs = {other: pair_stamps(first, items, max_gap) for other, items in others}
    told = []
    for other, found in pairs.items():
        if not found:
            raise ValueError(
                f"{where}: no {other} was recorded within {max_gap:g} s (max_gap) of any {name}; the closest two are "
                f"{smallest_gap(first, stamps[other]):g} s apart"
            )
        left = len(stamps[other]) - len(found)
        if left or len(found) < len(first):
            told.append(f"{len(first) - len(found)} of {len(first)} {name} without {other}, {left} {other} over")
    rows = [
        {name: item, **{other: stamps[other][found[i]] for other, found in pairs.items()}}
        for i, item in enumerate(first)
        if all(i in found for found in pairs.values())
    ]
    if not rows:
        raise ValueError(f"{where}: no {name} has all of {list(pairs)} within {max_gap:g} s")
    return rows, f"{where}: within {max_gap:g} s: {'; '.join(told)}" if told else ""


def smallest_gap(first: Sequence[Stamped], second: Sequence[Stamped]) -> float:
    """The smallest difference of any pair in seconds; both lists in the order of time."""
    times = [item.time for item in second]
    at = [bisect_left(times, item.time) for item in first]
    near = [(i, j) for i, k in enumerate(at) for j in (k - 1, k) if 0 <= j < len(times)]
    return min(abs(first[i].time - times[j]) for i, j in near)
