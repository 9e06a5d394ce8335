"""A `dataset.toml` for a folder whose layout nobody declared: proposed from the names and contents of its files.

Names count first (`rgbx.datasets.layouts.pairing`), then what files hold; every choice stands in the text with its
reason, so that a wrong guess can be seen and corrected.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from rgbx.datasets.declaration import SPLIT, read_declaration
from rgbx.datasets.folder import DECLARATION, FolderDataset
from rgbx.datasets.layouts.pairing import (
    ARRAY_SUFFIXES,
    SPLIT_WORDS,
    Group,
    Key,
    find_groups,
    split_lists,
    timestamps,
)
from rgbx.datasets.sample import validate_sample
from rgbx.maps import IGNORE_INDEX
from rgbx.maps.files import read_ids, read_image, stored_kind

MAP_FILES, LABEL_FILES = 8, 256  # read of each map and of the labels, evenly spread
MOST_STEMS = 2000  # that a proposal lists
_FEW_IDS, _EVEN = 64, 0.85  # of a label found by its content: distinct values, and share of equal neighbours
_UNITS = {1000: "millimetres", 5000: "1/5000 m", 256: "1/256 m", 10000: "1/10000 m", 100: "centimetres"}
_ORDER = ("rgb", "depth", "thermal")


@dataclass(frozen=True)
class Proposal:
    """What a folder may be declared as.

    Attributes:
        text: a whole `dataset.toml`, with the reason of every choice; None where no frames were found.
        maps: name of each modality, and "label", to the files that it has (`images/*.png`).
        frames: how many frames have all of them.
        notes: what was left aside, what could not be told, and what readers refuse.
    """

    text: str | None
    maps: Mapping[str, str] = field(default_factory=dict)
    frames: int = 0
    notes: tuple[str, ...] = ()


def propose(root: str | Path) -> Proposal:
    """Looks at all names and some contents below a folder, and says how it may be declared.

    Args:
        root: the folder; nothing is written.

    Raises:
        FileNotFoundError: no such folder.
    """
    root = Path(root).expanduser()
    if not root.is_dir():
        raise FileNotFoundError(f"{root}: no such folder")
    groups = find_groups(root)
    if not groups:
        return Proposal(None, notes=(f"{root} holds no images and no arrays",))
    looks = [Look(root, group) for group in groups]
    first, rest = looks[0], looks[1:]
    shared = [look for look in rest if look.shares(first)]
    if not shared:
        return Proposal(None, notes=_unpaired(groups))
    notes = [
        f"{look.group.name}: left out, as few of its names stand beside others" for look in rest if look not in shared
    ]
    chosen = _choose([first, *shared], notes)
    keys = set.intersection(*(set(look.group.files) for look in chosen.values()))
    if not keys or len(chosen) < 2:
        return Proposal(None, notes=(*_unpaired(groups), *notes))
    return _declare(root, chosen, keys, notes)


def _unpaired(groups: Sequence[Group]) -> tuple[str, ...]:
    found = ", ".join(f"{group.name} ({len(group.files)})" for group in groups[:6])
    text = f"no two kinds of files share their names, so that none are known to be one frame: {found}"
    if timestamps(groups):
        text += "; they are named by the time of recording: pair them in a list by the nearest times"
    return (text,)


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
                self.arrays.append(stored(path))
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
    def like_ids(self) -> bool:
        """Whether files hold few whole values in even areas, as labels do and measurements do not."""
        try:
            ids = [read_ids(path) for path in spread(self.paths, MAP_FILES)]
        except (OSError, ValueError):
            return False
        equal = np.mean([(plane[:, 1:] == plane[:, :-1]).mean() for plane in ids if plane.shape[1] > 1] or [0])
        return len(np.unique(np.concatenate([np.unique(plane) for plane in ids]))) <= _FEW_IDS and bool(equal > _EVEN)


def spread(paths: Sequence[Path], count: int) -> list[Path]:
    """At most `count` of them, evenly."""
    return [paths[i * len(paths) // count] for i in range(count)] if len(paths) > count else list(paths)


def stored(path: Path) -> np.ndarray:
    """A file as it is: [H, W] or [H, W, C].

    Raises:
        OSError, ValueError: missing, damaged, or no image.
    """
    array = np.load(path, allow_pickle=False) if path.suffix.lower() in ARRAY_SUFFIXES else read_image(path)
    if array.ndim not in (2, 3) or not array.size or array.shape[2:] > (4,):
        raise ValueError(f"{path}: expected an image, found an array of {array.shape}")
    return array


def _choose(looks: Sequence[Look], notes: list[str]) -> dict[str, Look]:
    """The looks by the names of their modalities, in the order of a model's stack, the label last."""
    told: dict[str, list[Look]] = {}
    unnamed = []
    for look in looks:
        kind = look.group.kind
        if look.fault and not look.arrays:
            notes.append(f"{look.group.name}: left out, {look.fault}")
        elif kind == "instance":
            notes.append(f"{look.group.name}: left out, as instances are no classes")
        elif kind:
            told.setdefault(kind, []).append(look)
        else:
            unnamed.append(look)
    truth = told.pop("gt", [])
    told.setdefault("label", []).extend(truth)
    for kind, fits in (
        ("rgb", lambda look: look.colourful and look.bytes == 1),
        ("label", lambda look: look.like_ids),
        ("depth", lambda look: look.channels == 1 and (look.bytes == 2 or look.floats)),
        ("rgb", lambda look: look.channels >= 3 and look.bytes == 1),
    ):
        if not told.get(kind):
            told[kind] = [look for look in unnamed if fits(look)][:1]
            unnamed = [look for look in unnamed if look not in told[kind]]
    chosen: dict[str, Look] = {}
    for kind in (*_ORDER, *sorted(set(told) - {*_ORDER, "label"}), "label"):
        several = sorted(told.get(kind, []), key=lambda look: (*_worth(kind, look), len(look.group.name)))
        if several:
            chosen[kind] = several[0]
        notes += [f"{look.group.name}: left out, as {several[0].group.name} is the {kind}" for look in several[1:]]
    label = {"label": chosen.pop("label")} if "label" in chosen else {}
    for look in unnamed:
        chosen[_identifier(look.group, chosen)] = look
    return {**chosen, **label}


def _worth(kind: str, look: Look) -> tuple[bool, int]:
    """Whether files are less than their names tell, labels or as many bits; how many there are, the most first."""
    fits = look.like_ids if kind == "label" else look.channels >= 3 if kind == "rgb" else look.bytes > 1
    return not fits, -len(look.group.files)


def _identifier(group: Group, taken: Mapping[str, Look]) -> str:
    words = re.findall(r"[a-z]+", f"{group.place.prefix} {group.place.word} {group.place.folder}".lower())
    word = next((word for word in words if word not in ("split", *SPLIT_WORDS)), "map")
    return next(name for name in (word, *(f"{word}_{n}" for n in range(2, 99))) if name not in taken)


def _declare(root: Path, chosen: Mapping[str, Look], keys: set[Key], notes: list[str]) -> Proposal:
    """The text for the chosen maps and the frames that have all of them, and what reading says of it."""
    for name, look in chosen.items():
        if look.dropped:
            notes.append(f"{look.group.name}: {len(look.dropped)} files of other formats left out, {look.dropped[0]}")
        if lacking := len(keys ^ set(look.group.files)):
            lone = min(stem for _, stem in keys ^ set(look.group.files))
            notes.append(
                f"{name}: {lacking} files have no partner in each of the other folders, such as {lone!r}; left out"
            )
    maps = {name: look.group.name for name, look in chosen.items()}
    splits, folders = _splits(root, chosen, keys, notes)
    count = sum(len(look.group.files) for look in chosen.values())
    lines = [
        f"# Proposed from the names and some contents of {count} files: {len(keys)} frames with {', '.join(chosen)}.",
        "# Look at the reasons, and put the names of your classes; docs/datasets.md tells what each key means.",
        *(f"# Note: {note}" for note in notes),
    ]
    if "label" in chosen:
        lines += _label(chosen["label"], folders["label"], notes)
    for name, look in chosen.items():
        if name != "label":
            lines += ["", f"[modalities.{name}]", *_place(look.group, folders[name]), *_meaning(name, look)]
    text = "\n".join([*lines, "", "[splits]", *splits, ""])
    return Proposal(text, maps, len(keys), (*notes, *_refusals(root, text)))


def _place(group: Group, folder: str) -> list[str]:
    prefix = [f"prefix = {json.dumps(group.place.prefix)}"] if group.place.prefix else []
    suffix = [] if group.suffix == ".png" else [f"suffix = {json.dumps(group.suffix)}"]
    return [f"folder = {json.dumps(folder, ensure_ascii=False)}", *prefix, *suffix]


def _meaning(name: str, look: Look) -> list[str]:
    """Unit and scale of a modality, each with its reason."""
    held = look.held
    if name == "rgb" and look.bytes == 1:
        return [f'unit = "rgb8"        # {held}']
    if look.channels >= 3:
        unit = "unit_vector" if name == "normal" else "encoded"
        return [
            f'unit = "{unit}"     # {held}: a picture of {name}' + ("" if unit != "encoded" else ", no measurement")
        ]
    if name == "depth" and (look.bytes > 1 or look.floats):
        scale, reason = depth_scale(look.values(), floats=look.floats, holes=_holes(look))
        return ['unit = "metre"', f"scale = {scale:<10g}  # raw values per metre; {reason}"]
    if name == "depth":
        return [
            f'unit = "relative"    # {held}: no metres unless one scale served for all files; then write',
            '#                      unit = "metre", bits = 8, scale = ... (raw values per metre)',
        ]
    values = look.values()
    if name == "thermal" and values.size and look.bytes == 2 and 23000 < np.median(values) < 40000:
        return [
            'unit = "sensor"',
            f"scale = 100          # raw values per kelvin, as the median {np.median(values):.0f} is then "
            f"{np.median(values) / 100 - 273.15:.0f} degrees Celsius",
            "add = -273.15        # to degrees Celsius",
        ]
    unit = "relative" if name == "edge" else "sensor"
    return [f'unit = "{unit}"      # {held}: values as stored']


def _holes(look: Look) -> float:
    planes = [array if array.ndim == 2 else array[..., 0] for array in look.arrays]
    return float(np.mean([(plane == 0).mean() for plane in planes])) if planes else 0.0


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
    others = [f"{1 / step * middle:.3g} m in {unit}" for step, unit in _UNITS.items() if step != scale][:2]
    return float(scale), f"{_UNITS[scale]}: {why}{seen.format(middle / scale, high / scale)}; not {' or '.join(others)}"


def is_stretched(values: Sequence[int]) -> bool:
    """Whether stored ids, ascending, lie evenly apart as those that were multiplied to be seen: 0, 127, 254."""
    gaps = np.diff(values)
    even = len(gaps) > 0 and values[0] == 0 and gaps.min() >= 3 and np.ptp(gaps) <= 1
    return bool(even and (values[-1] >= 200 or len(values) > 3))


def _label(look: Look, folder: str, notes: list[str]) -> list[str]:
    """The tables of the classes and the label."""
    paths = spread(look.paths, LABEL_FILES)
    if look.colourful:
        return _coloured(look, paths, folder, notes)
    counts = np.zeros(256, np.int64)
    for path in paths:
        try:
            counts += np.bincount(read_ids(path).ravel(), minlength=256)
        except (OSError, ValueError) as error:
            notes.append(f"label: {' '.join(str(error).split())}")
            break
    ids = [int(value) for value in np.flatnonzero(counts)]
    lines, count, reason = _ids(ids, counts)
    seen = f"of {len(paths)} of {len(look.paths)} label files"
    said = f"# {count} classes, as the values {_listed(ids)} {seen} say: {reason}"
    return [*_classes(said, count), "", "[label]", *_place(look.group, folder), *lines]


def _classes(reason: str, count: int) -> list[str]:
    names = ", ".join(f'"class {k}"' for k in range(count))
    return ["", "[classes]", reason, f"names = [{names}]"]


def _coloured(look: Look, paths: Sequence[Path], folder: str, notes: list[str]) -> list[str]:
    """The tables for labels that hold a colour per class."""
    colours: Counter[tuple[int, ...]] = Counter()
    for path in paths:
        found, counts = np.unique(stored(path)[..., :3].reshape(-1, 3), axis=0, return_counts=True)
        colours.update({tuple(map(int, colour)): int(number) for colour, number in zip(found, counts, strict=True)})
        if len(colours) > IGNORE_INDEX:
            notes.append(
                f"label: {look.group.name} holds more colours than classes can have, as JPEG or resizing leave"
            )
            break
    palette = [list(colour) for colour in sorted(colours)[:_FEW_IDS]]
    said = f"# {len(palette)} classes, one per colour of {len(paths)} of {len(look.paths)} label files"
    return [
        *_classes(said, len(palette)),
        f"palette = {palette}",
        "",
        "[label]",
        *_place(look.group, folder),
        "colours = true  # files hold the palette's colours; take the colour of void out, and write void = [[r, g, b]]",
    ]


def _ids(ids: Sequence[int], counts: np.ndarray) -> tuple[list[str], int, str]:
    """Keys of [label] for the stored values and their counts [256]; how many classes there are, and why."""
    own = [value for value in ids if value != IGNORE_INDEX]
    ends = counts[[0, IGNORE_INDEX]].sum() / max(counts.sum(), 1)
    if not ids:
        return [], 2, "a guess, as no ids could be read"
    if list(ids) == [0, IGNORE_INDEX] or (IGNORE_INDEX in ids and len(own) > 8 and ends > _EVEN):
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


def _listed(values: Sequence[int]) -> str:
    return ", ".join(map(str, values[:12])) + (f" and {len(values) - 12} more" if len(values) > 12 else "")


def _splits(
    root: Path, chosen: Mapping[str, Look], keys: set[Key], notes: list[str]
) -> tuple[list[str], dict[str, str]]:
    """The lines of [splits], and the folder of each map."""
    folders = {name: look.group.place.folder for name, look in chosen.items()}
    found = Counter(split for split, _ in keys)
    whole = all(set(look.group.files) == keys for look in chosen.values())
    if "" not in found:
        names = {word: SPLIT_WORDS[word.lower()] for word in sorted(found)}
        if not whole:
            notes.append("frames without all maps stop a training: complete them, or take their other files away")
        if "val" not in names.values():
            notes.append("no validation split: configs/own holds a part of train out for it")
        return [f"{name} = {json.dumps(word)}  # {found[word]} frames" for word, name in names.items()], folders
    first = next(iter(chosen.values())).group
    lines = {stem: (stem, first.files["", stem].as_posix(), first.files["", stem].name) for _, stem in keys}
    if lists := split_lists(root, lines):
        if "val" not in lists:
            notes.append("no validation list: configs/own holds a part of train out for it")
        return [f'{name} = "{file}"' for name, file in lists.items()], folders
    notes.append("no splits were found: all frames are for training, and configs/own holds a part of them out")
    if whole:
        parted = {name: SPLIT if folder == "." else f"{SPLIT}/{folder}" for name, folder in folders.items()}
        return ['train = "."  # all frames; stands for {split} in the folders'], parted
    stems = sorted(stem for _, stem in keys)
    if len(stems) > MOST_STEMS:
        notes.append(f"train names the first {MOST_STEMS} of {len(stems)} whole frames: write a list train.txt instead")
    listed = ",\n".join(f"    {json.dumps(stem, ensure_ascii=False)}" for stem in stems[:MOST_STEMS])
    return ["train = [  # the frames that have all maps", f"{listed},", "]"], folders


def _refusals(root: Path, text: str) -> list[str]:
    """What reading the first frame of each split by a declaration says against it."""
    found = []
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, DECLARATION)
        file.write_text(text, encoding="utf-8")
        try:
            declared = read_declaration(file)
            for split in declared.splits:
                dataset = FolderDataset(root, split, declaration=declared)
                validate_sample(dataset.read(0), dataset.maps, dataset.num_classes)
        except (OSError, ValueError) as error:
            found.append("reading says: " + " ".join(str(error).split()).replace(f"{file}", DECLARATION))
    return found
