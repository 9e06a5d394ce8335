"""What the files of an unknown map hold, as far as a few of them tell: kinds of arrays, units of depth, class ids."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from rgbx._files import read_text
from rgbx.datasets.layouts.pairing import Group
from rgbx.maps import IGNORE_INDEX, METRE_STEPS
from rgbx.maps.files import read_ids, read_image, stored_kind

MAP_FILES = 8  # read of each map, evenly spread
NAME_LISTS = ("classes.txt", "class_names.txt", "labels.txt", "names.txt")
VOID_NAMES = ("void", "unlabeled", "unlabelled", "ignore", "ignored", "unknown", "no class")
FEW_IDS, EVEN = 64, 0.85  # of labels found by their content: distinct values, and the share of equal neighbours


class Look:
    """A group with what a few of its files hold."""

    def __init__(self, root: Path, group: Group) -> None:
        self.root, self.group = root, group
        self.dropped = group.keep_declared()
        self.paths = [root / group.files[key] for key in sorted(group.files)]
        self.arrays: list[np.ndarray] = []
        self.fault = ""
        for path in spread(self.paths, MAP_FILES):
            try:
                self.arrays.append(read_image(path))
            except (OSError, ValueError) as error:
                self.fault = self.fault or " ".join(str(error).split())

    def shares(self, other: Look) -> bool:
        """Whether at least half of the frames of the smaller are frames of the other too."""
        common = len(self.group.files.keys() & other.group.files.keys())
        return common > 0 and 2 * common >= min(len(self.group.files), len(other.group.files))

    @property
    def held(self) -> str:
        """ "3 channels of 8 bits", or what it is for arrays of floats."""
        if not self.arrays:
            return "files that cannot be read"
        array = self.arrays[0]
        return f"{stored_kind(array)}{', floats' if array.dtype.kind == 'f' else ''}"

    @property
    def channels(self) -> int:
        return 0 if not self.arrays else 1 if self.arrays[0].ndim == 2 else self.arrays[0].shape[2]

    @property
    def bytes(self) -> int:
        return self.arrays[0].itemsize if self.arrays else 0

    @property
    def colourful(self) -> bool:
        return any(array.ndim == 3 and np.any(array[..., 0] != array[..., 1]) for array in self.arrays)

    @property
    def floats(self) -> bool:
        return bool(self.arrays) and self.arrays[0].dtype.kind == "f"

    def values(self) -> np.ndarray:
        """Those above 0 of the first channel, [N] float64, every seventh."""
        planes = [(array if array.ndim == 2 else array[..., 0]).ravel()[::7] for array in self.arrays]
        joined = np.concatenate([plane.astype(np.float64) for plane in planes]) if planes else np.zeros(0)
        return joined[np.isfinite(joined) & (joined > 0)]

    @property
    def holes(self) -> float:
        """The share of pixels that hold 0 in the first channel."""
        planes = [array if array.ndim == 2 else array[..., 0] for array in self.arrays]
        return float(np.mean([(plane == 0).mean() for plane in planes])) if planes else 0.0

    @property
    def like_ids(self) -> bool:
        """Whether files hold few whole values in even areas, as labels do and measurements do not."""
        try:
            ids = [read_ids(path) for path in spread(self.paths, MAP_FILES)]
        except (OSError, ValueError):
            return False
        equal = np.mean([(plane[:, 1:] == plane[:, :-1]).mean() for plane in ids if plane.shape[1] > 1] or [0])
        return len(np.unique(np.concatenate([np.unique(plane) for plane in ids]))) <= FEW_IDS and bool(equal > EVEN)


def spread(paths: Sequence[Path], count: int) -> list[Path]:
    """At most `count` of them, evenly."""
    return [paths[i * len(paths) // count] for i in range(count)] if len(paths) > count else list(paths)


def depth_scale(values: np.ndarray, *, floats: bool, holes: float) -> tuple[float, str]:
    """How many raw units of a depth file are a metre, most likely, and the reason.

    Args:
        values: raw values above 0, [N].
        floats: whether files hold floats.
        holes: the share of pixels that hold 0.
    """
    if not values.size:
        return 1000.0, "a guess: no value above 0 was seen"
    middle, high = float(np.median(values)), float(np.percentile(values, 99.5))
    if floats and middle < 200:
        return 1.0, f"floats with a median of {middle:.3g}, as metres have"
    seen = f"the median {middle:.0f} is then {{:.3g}} m, and nearly all lie below {{:.3g}} m"
    if not floats and high > 6000 and len(np.unique(values)) > 64 and not np.any(values % 5):
        scale, why = 5000, "whole millimetres times 5, as all are multiples of 5: "
    elif not floats and middle > 12000:
        scale, why = 5000, f"as millimetres the median would be {middle / 1000:.0f} m: "
    elif not floats and holes > 0.5 and high > 8000:
        scale, why = 256, f"{holes:.0%} of the pixels are empty and values reach {high:.0f}, as lidar's on roads: "
    elif middle < 300:
        scale, why = 100, f"as millimetres the median would be {middle / 1000:.2g} m: "
    else:
        scale, why = 1000, ""
    others = [f"{1 / step * middle:.3g} m in {unit}" for step, unit in METRE_STEPS.items() if step != scale][:2]
    return float(
        scale
    ), f"{METRE_STEPS[scale]}: {why}{seen.format(middle / scale, high / scale)}; not {' or '.join(others)}"


def is_stretched(values: Sequence[int]) -> bool:
    """Whether stored ids, ascending, lie evenly apart as those that were multiplied to be seen: 0, 127, 254."""
    gaps = np.diff(values)
    even = len(gaps) > 0 and values[0] == 0 and gaps.min() >= 3 and np.ptp(gaps) <= 1
    return bool(even and (values[-1] >= 200 or len(values) > 3))


def label_ids(ids: Sequence[int], counts: np.ndarray) -> tuple[list[str], int, str]:
    """Keys of [label] for the stored values and their counts [256]; how many classes there are, and why."""
    own = [value for value in ids if value != IGNORE_INDEX]
    ends = counts[[0, IGNORE_INDEX]].sum() / max(counts.sum(), 1)
    if not ids:
        return [], 2, "a guess, as no ids could be read"
    if list(ids) == [0, IGNORE_INDEX] or (IGNORE_INDEX in ids and len(own) > 8 and ends > EVEN):
        return (
            ["values = [0, 255]  # stored value of each class; without this key 255 is no class"],
            2,
            "0 and 255 as background and foreground",
        )
    for stretched in (ids, own):
        if is_stretched(stretched):
            return (
                [f"values = {list(stretched)}  # stored value of each class"],
                len(stretched),
                "evenly apart, as multiplied",
            )
    if not own:
        return [], 2, "a guess, as 255 is no class"
    if own[0] == 1:
        return (
            ["offset = 1", "void = [0]"],
            own[-1],
            "ids count from 1; 0, if it occurs, is taken for no class" + ", as is 255" * (IGNORE_INDEX in ids),
        )
    if own[-1] > 60 and own[-1] > 4 * len(own):
        return [f"values = {own}  # stored value of each class"], len(own), "few values far apart"
    return [], max(own[-1] + 1, 2), "ids from 0" + ("; 255 is no class" if IGNORE_INDEX in ids else "")


def named_ids(root: Path) -> tuple[str, dict[int, str]]:
    """A list of class names in a folder, and the names by stored value; "" where there is none that is clear.

    Lines are `ID NAME` (or with a colon, comma or tab between them), or names alone, which count from 0. Numbers and
    names of files are those of frames.
    """
    for list_name in NAME_LISTS:
        try:
            lines = [line.strip() for line in read_text(root / list_name).split("\n") if line.strip()]
        except (OSError, ValueError):
            continue
        numbered = [re.fullmatch(r"(\d{1,3})[\s:,;]+(\S.*)", line) for line in lines]
        if not any(numbered):
            found = dict(enumerate(lines))
        elif all(numbered):
            found = {int(match[1]): match[2].strip() for match in numbered if match}
        else:
            continue
        words = all(re.search(r"[^\W\d]", name) and not re.search(r"[/\\]|\.\w+$", name) for name in found.values())
        if words and len(lines) == len(found) == len(set(found.values())) <= IGNORE_INDEX:
            return list_name, found
    return "", {}


def named_classes(named: Mapping[int, str], ids: Sequence[int]) -> tuple[list[str], list[str]]:
    """Names of classes and keys of [label], of named stored values; none where a value that occurs has no name."""
    if not set(ids) <= {*named, IGNORE_INDEX}:
        return [], []
    void = [value for value in named if named[value].lower() in VOID_NAMES]
    values = sorted(value for value in named if value not in (*void, IGNORE_INDEX))
    first = values[0] if values else 0
    if not values or values != list(range(first, first + len(values))):
        keys = [f"values = {values}  # stored value of each class"]
    else:
        keys = [f"offset = {first}"] if first else []
    return [named[value] for value in values], keys + ([f"void = {void}"] if void else [])


def listed(values: Sequence[int]) -> str:
    return ", ".join(map(str, values[:12])) + (f" and {len(values) - 12} more" if len(values) > 12 else "")
