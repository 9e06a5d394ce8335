"""Files of an unknown folder as frames: which of them stand at one stem, told from their names alone.

A group is what a declaration can name: the files `{folder}/{prefix}{stem}{suffix}`, where `{split}` may stand in the
folder. How the names of a folder part into prefix, stem and suffix is chosen by how many frames that pairs with others.
"""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from rgbx._files import read_text
from rgbx.datasets.declaration import SPLIT
from rgbx.maps.folders import ANY, IMAGE_SUFFIXES, MAP_SUFFIXES, is_hidden

MOST_FILES = 100_000
SPLIT_WORDS = {
    "train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "dev": "val",
    "test": "test", "testing": "test",
}  # fmt: skip
# What names say of a map; the first kind of which a name holds a word counts, so that depth_images is depth.
WORDS: dict[str, frozenset[str]] = {
    "instance": frozenset(("instance", "inst", "instanceid", "bbox", "box")),
    "label": frozenset(
        ("label", "labelid", "lbl", "mask", "semantic", "seg", "segm", "segmentation", "annotation", "annot", "ann")
    ),
    "hha": frozenset(("hha",)),
    "normal": frozenset(("normal",)),
    "edge": frozenset(("edge",)),
    "disparity": frozenset(("disparity", "disp")),
    "thermal": frozenset(("thermal", "ther", "thr", "ir", "infrared", "lwir", "tir", "flir", "fir", "modal")),
    "depth": frozenset(("depth", "dep", "depthmap")),
    "gt": frozenset(("gt", "groundtruth", "truth")),
    "rgb": frozenset(("rgb", "color", "colour", "image", "img", "visible", "vis", "vi", "photo", "picture")),
}  # fmt: skip
_TOKEN = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
_SPLIT = re.compile(
    rf"(?<![A-Za-z])({'|'.join(sorted(SPLIT_WORDS, key=len, reverse=True))})(?![A-Za-z])", re.IGNORECASE
)

Key = tuple[str, str]  # the split as folders write it, "" where they name none, and the stem


class Found(NamedTuple):
    """A file in a declared folder: the split that folders name, and the folders that belong to its stem."""

    split: str
    inner: tuple[str, ...]
    path: Path


class Place(NamedTuple):
    """Where the files of a group lie; `word` is what follows the stem, without the ending of the format."""

    folder: str
    prefix: str
    word: str
    ending: str = ""


@dataclass
class Group:
    """The files of one place.

    Attributes:
        place: where they lie.
        files: relative to the root, by split and stem.
    """

    place: Place
    files: dict[Key, Path] = field(default_factory=dict)

    @property
    def suffix(self) -> str:
        """The `suffix` of a declaration: "*" where files of several formats share a folder."""
        endings = Counter(path.suffix for path in self.files.values())
        if self.place.prefix or self.place.word or len(endings) == 1 or not self._plain(endings):
            return self.place.word + endings.most_common(1)[0][0]
        return ANY

    def _plain(self, endings: Iterable[str]) -> bool:
        return all(e.lower() in IMAGE_SUFFIXES for e in endings) and not any("/" in stem for _, stem in self.files)

    def keep_declared(self) -> list[Path]:
        """Drops what the suffix does not reach; returns it."""
        suffix = self.suffix
        dropped = {} if suffix == ANY else {k: p for k, p in self.files.items() if not p.name.endswith(suffix)}
        self.files = {key: path for key, path in self.files.items() if key not in dropped}
        return list(dropped.values())

    @property
    def kind(self) -> str:
        """A key of `WORDS`, told from the names of the files, then of their folder; "" where they say nothing."""
        folders = reversed(PurePosixPath(self.place.folder).parts)
        return next(filter(None, map(kind_of, (self.place.prefix + " " + self.place.word, *folders))), "")

    @property
    def name(self) -> str:
        """How messages call it: `images/*.png`."""
        return f"{self.place.folder}/{self.place.prefix}*{self.suffix.removeprefix(ANY)}".removeprefix("./")


def kind_of(text: str) -> str:
    """The first of `WORDS` that a name holds a word of; "" for none."""
    words = {word.lower() for word in _TOKEN.findall(text)}
    words |= {word.removesuffix("s") for word in words}
    return next((kind for kind, known in WORDS.items() if words & known), "")


def find_groups(root: Path) -> list[Group]:
    """The groups of a folder, those with most partners first; hidden files and folders are no data."""
    by_folder: dict[str, list[Found]] = defaultdict(list)
    for path in data_files(root):
        folder, split, inner = _place_of(path.parent.parts)
        by_folder[folder].append(Found(split, inner, path))
    for folder in [name for name in by_folder if not kind_of(name)]:
        _enter_folders(by_folder, folder)
    readings: dict[str, list[list[Group]]] = {name: list(_readings(name, files)) for name, files in by_folder.items()}
    groups: list[Group] = []
    for folder, own in readings.items():
        others = [group for name, ways in readings.items() if name != folder for way in ways for group in way]
        best: list[Group] = max(own, key=lambda way: _partners(way, others))  # of equal ones the first, the plainer
        groups += best
    return sorted(groups, key=lambda group: -_partners([group], [g for g in groups if g is not group]))


def data_files(root: Path) -> Iterator[Path]:
    """Images and arrays below a folder, relative to it, also in linked folders, each folder once.

    Raises:
        ValueError: a name that no text can hold.
    """
    seen: set[str] = set()
    count = 0
    for folder, folders, names in os.walk(root, followlinks=True):
        if (real := os.path.realpath(folder)) in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not is_hidden(name))
        for name in sorted(names):
            path = Path(folder, name)
            if not str(path.relative_to(root)).isprintable():
                raise ValueError(f"{str(path)!a}: the name holds characters that no list can hold; rename it")
            if path.suffix.lower() in MAP_SUFFIXES and not is_hidden(name) and path.is_file():
                yield path.relative_to(root)
                count += 1
                if count == MOST_FILES:
                    return


def _place_of(parts: Sequence[str]) -> tuple[str, str, tuple[str, ...]]:
    """The declared folder of a path's folders, the split that they name, and what of them belongs to the stem."""
    split = ""
    shown: list[str] = []
    for part in parts:
        match = _SPLIT.search(part)
        if match and split in ("", match[1]):
            split = match[1]
            part = part[: match.start()] + SPLIT + part[match.end() :]
        shown.append(part)
    told = next((i for i, part in enumerate(parts) if kind_of(part)), None)
    if told is None:
        last = next((i for i, part in enumerate(shown) if SPLIT in part), -1)
    else:
        last = told + (shown[told + 1 : told + 2] == [SPLIT])
    folder = "/".join(shown[: last + 1]) or "."
    return folder, split if SPLIT in folder else "", tuple(parts[last + 1 :])


def _enter_folders(by_folder: dict[str, list[Found]], folder: str) -> None:
    """Declares the folders within one whose name says nothing: its only one, or those that hold the same names.

    Folders with the same names are maps, not scenes, unless the names tell a map themselves.
    """
    within: dict[str, list[Found]] = defaultdict(list)
    for found in by_folder[folder]:
        within["/".join(found.inner[:1])].append(found)
    names = [{(found.split, *found.inner[1:], found.path.stem) for found in files} for files in within.values()]
    alike = any(2 * len(one & other) >= min(len(one), len(other)) for one, other in combinations(names, 2))
    told = any(kind_of(found.path.stem) for found in by_folder[folder])
    if len(within) == 1 or (alike and not told):
        entered = by_folder.pop(folder)
        for found in entered:
            outer = (*(() if folder == "." else (folder,)), *found.inner[:1])
            by_folder["/".join(outer) or "."].append(found._replace(inner=found.inner[1:]))


def _readings(folder: str, files: Sequence[Found]) -> Iterator[list[Group]]:
    """The groups of a folder for each way in which its names may part, the plain one first."""
    for part in (_plain, _word_after, _last_word, _word_before, _first_word):
        groups: dict[Place, Group] = {}
        for ending in (False, True):
            groups.clear()
            count = 0
            for split, inner, path in files:
                prefix, stem, word = part(path.stem)
                if stem:
                    place = Place(folder, prefix, word, path.suffix.lower() if ending else "")
                    group = groups.setdefault(place, Group(place))
                    group.files.setdefault((split, "/".join((*inner, stem))), path)
                    count += 1
            if sum(len(group.files) for group in groups.values()) > 0.75 * count:
                break  # else several formats share their stems, and tell groups apart
        if groups and len(groups) <= 16:
            yield list(groups.values())


def _plain(name: str) -> tuple[str, str, str]:
    return "", name, ""


def _first_word(name: str) -> tuple[str, str, str]:
    match = re.match(r"([A-Za-z]+[_\-. ]*)(.*\d.*)$", name)
    return (match[1], match[2], "") if match else ("", "", "")


def _last_word(name: str) -> tuple[str, str, str]:
    match = re.match(r"(.*\d.*?)([_\-. ]+[A-Za-z]+)$", name)
    return ("", match[1], match[2]) if match else ("", "", "")


def _told(name: str) -> re.Match[str] | None:
    return next((match for match in _TOKEN.finditer(name) if kind_of(match[0])), None)


def _word_before(name: str) -> tuple[str, str, str]:
    """What stands up to the first word that tells a map, with the mark after it, is the prefix."""
    match = _told(name)
    cut = re.match(r"[A-Za-z]*[_\-. ]*", name[match.end() :]) if match else None
    end = match.end() + cut.end() if match and cut else 0
    return (name[:end], name[end:], "") if end else ("", "", "")


def _word_after(name: str) -> tuple[str, str, str]:
    """What stands from the first word that tells a map on, with the mark before it, is the suffix."""
    match = _told(name)
    stem = re.sub(r"[_\-. ]+$", "", name[: match.start()]) if match else ""
    return "", stem, name[len(stem) :] if stem else ""


def _partners(groups: Sequence[Group], others: Sequence[Group]) -> int:
    """The most frames that two of the groups share, or one of them with one of the others."""
    pairs = [*combinations(groups, 2), *((one, other) for one in groups for other in others)]
    return max((len(one.files.keys() & other.files.keys()) for one, other in pairs), default=0)


def timestamps(groups: Sequence[Group]) -> bool:
    """Whether files are named by the time of their recording, as no two cameras have it alike: in seconds, or since
    1970 in milli-, micro- or nanoseconds.
    """
    stems = [stem for group in groups for _, stem in group.files]
    return bool(stems) and all(re.fullmatch(r"(.*/)?(\d{9,}\.\d{3,}|\d{13}|\d{16}|\d{19})", stem) for stem in stems)


def split_lists(root: Path, keys: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Lists of frames in a folder, by the split that their names tell.

    Args:
        root: the folder.
        keys: what a line may be, by the stem of its frame: the stem itself and the path of its first file.
    """
    known = {line for lines in keys.values() for line in lines}
    found: dict[str, str] = {}
    for path in sorted((*root.glob("*.txt"), *root.glob("*/*.txt"))):
        match = _SPLIT.search(path.stem)
        if match is None:
            continue
        try:
            lines = [line.strip() for line in read_text(path, limit=10_000_000).split("\n") if line.strip()]
        except (OSError, ValueError):  # no list
            continue
        if lines and known.issuperset(lines):
            found.setdefault(SPLIT_WORDS[match[1].lower()], path.relative_to(root).as_posix())
    return found
