"""Maps recorded at times of their own, paired by the nearest: lists with timestamps, as TUM RGB-D has them, and files
that are named by their time, as recordings of ROS are exported."""

from __future__ import annotations

import math
import re
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from rgbx.datasets.listing import list_lines
from rgbx.maps.folders import MAP_SUFFIXES

PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}  # units of time in names of files
TIME_WORDS = {"s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds"}
_TIME = re.compile(r"\d{1,19}(\.\d+)?")
_EPOCH_S = (600_000_000, 4_000_000_000)  # 1989 to 2096, of which no two units can be meant


class Stamped(NamedTuple):
    """A file and when it was recorded, in seconds, with where the list says so, or the file itself."""

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
    return in_order(found)


def in_order(found: Iterable[Stamped]) -> list[Stamped]:
    """In the order of time.

    Raises:
        ValueError: a time that is there twice.
    """
    ordered = sorted(found)
    for one, other in pairwise(ordered):
        if one.time == other.time:
            stamp = np.format_float_positional(other.time, trim="-")
            raise ValueError(f"{other.origin}: the timestamp {stamp} is there already, at {one.origin}")
    return ordered


def named_stamps(
    folder: Path, names: Sequence[str], stems: Sequence[str], unit: str | None = None
) -> tuple[list[Stamped], str]:
    """Files that are named by their time, in the order of time, and the unit of the names.

    Names with a decimal point are in seconds. Whole numbers are in the unit in which they are times of our days,
    between 1989 and 2096, counted as computers do, from 1970 on: 1305031102175304000 is in nanoseconds. Among names
    with a decimal point they are in seconds.

    Args:
        folder: of the files.
        names: of the files, relative to it, which become the paths.
        stems: what of each name is the time.
        unit: of whole numbers, one of `PER_SECOND`; None tells it from the names.

    Raises:
        ValueError: no files, names that are no times, a time that is there twice, or whole numbers whose unit cannot be
            told.
    """
    if not names:
        raise ValueError(f"{folder}: no files; expected some that are named by their time, such as 12.533.png")
    texts = [stem.rpartition("/")[2] for stem in stems]
    for name, text in zip(names, texts, strict=True):
        if not _TIME.fullmatch(text):
            raise ValueError(
                f"{folder}/{name}: expected a name that is a time, such as 1305031102.175304, found {text!r}"
            )
    whole = [int(text) for text in texts if "." not in text]
    if not whole or (unit is None and len(whole) < len(texts)):
        unit = "s"
    elif unit is None:
        unit = _unit_of(whole, folder)
    times = [float(text) if "." in text else int(text) / PER_SECOND[unit] for text in texts]
    stamped = (Stamped(time, name, f"{folder}/{name}") for time, name in zip(times, names, strict=True))
    return in_order(stamped), unit


def _unit_of(values: Sequence[int], folder: Path) -> str:
    """The only unit in which all values are times since 1970."""
    low, high = _EPOCH_S
    fits = [unit for unit, per in PER_SECOND.items() if low * per <= min(values) and max(values) <= high * per]
    if len(fits) != 1:
        raise ValueError(
            f"{folder}: the names are whole numbers from {min(values)} to {max(values)}, in which no unit of time can "
            f"be told; say time_unit, one of {', '.join(PER_SECOND)}"
        )
    return fits[0]


def without_delay(stamps: Iterable[Stamped], delay: float) -> list[Stamped]:
    """Stamps of a sensor that lags by so many seconds, put at the times of what it shows."""
    return [item._replace(time=item.time - delay) for item in stamps]


def window_at(times: Sequence[float], time: float, offset: int, count: int) -> range | None:
    """`count` positions from `offset` after the nearest to a time; None where they are not all there.

    Args:
        times: in seconds, ascending.
        time: in seconds.
        offset: of the first position against the nearest.
        count: how many.
    """
    begin = nearest_of(times, time) + offset
    return range(begin, begin + count) if begin >= 0 and begin + count <= len(times) else None


def nearest_of(times: Sequence[float] | np.ndarray, time: float) -> int:
    """The position of the time that is nearest, of ascending ones; of two the earlier."""
    at = bisect_left(times, time)
    near = [k for k in (at - 1, at) if 0 <= k < len(times)]
    return min(near, key=lambda k: abs(times[k] - time))


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
        lone = ((len(first) - len(found), name, other), (len(stamps[other]) - len(found), other, name))
        told += [_without(count, one, partner) for count, one, partner in lone if count]
    rows = [
        {name: item, **{other: stamps[other][found[i]] for other, found in pairs.items()}}
        for i, item in enumerate(first)
        if all(i in found for found in pairs.values())
    ]
    if not rows:
        raise ValueError(f"{where}: no {name} has all of {list(pairs)} within {max_gap:g} s")
    return rows, f"{where}: within {max_gap:g} s, {', '.join(told)}: they are left out" if told else ""


def _without(count: int, name: str, partner: str) -> str:
    return f"{count} {name} frames have no {partner}" if count > 1 else f"1 {name} frame has no {partner}"


def smallest_gap(first: Sequence[Stamped], second: Sequence[Stamped]) -> float:
    """The smallest difference of any pair in seconds; both lists in the order of time."""
    times = [item.time for item in second]
    at = [bisect_left(times, item.time) for item in first]
    near = [(i, j) for i, k in enumerate(at) for j in (k - 1, k) if 0 <= j < len(times)]
    return min(abs(first[i].time - times[j]) for i, j in near)
