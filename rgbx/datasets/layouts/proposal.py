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
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from rgbx.datasets.declaration import SPLIT, read_declaration
from rgbx.datasets.folder import DECLARATION, FolderDataset
from rgbx.datasets.layouts.contents import (
    FEW_IDS,
    Look,
    depth_scale,
    label_ids,
    listed,
    named_classes,
    named_ids,
    spread,
)
from rgbx.datasets.layouts.pairing import (
    SPLIT_WORDS,
    Group,
    Key,
    find_groups,
    split_lists,
    timestamps,
)
from rgbx.datasets.sample import validate_sample
from rgbx.datasets.timestamps import TIME_WORDS, Stamped, named_stamps, pair_all
from rgbx.maps import IGNORE_INDEX
from rgbx.maps.files import read_colours, read_ids

HELD_OUT = "a part of them is to be held out, as `rgbx init` does"
LABEL_FILES = 256  # read to learn the classes, evenly spread
MOST_STEMS = 2000  # that a proposal lists
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
    faults: list[str] = []  # of times, for the user to mend
    recorded = _recorded(root, looks, faults) if timestamps(groups) else None
    common = set.intersection(*(set(look.group.files) for look in (first, *shared)))
    if recorded and (not shared or recorded.frames > len(common)):
        return recorded
    if not shared:
        return Proposal(None, notes=(*faults, *_unpaired(groups)))
    notes = faults + [
        f"{look.group.name}: left out, as few of its names stand beside others" for look in rest if look not in shared
    ]
    chosen = _choose([first, *shared], notes)
    keys = set.intersection(*(set(look.group.files) for look in chosen.values()))
    if not keys or len(chosen) < 2:
        return Proposal(None, notes=(*_unpaired(groups), *notes))
    try:
        return _declare(root, chosen, keys, notes)
    except NoClassesError:
        return Proposal(None, notes=tuple(notes))


class NoClassesError(Exception):
    """No class can be told from the labels, so that whatever is declared would be refused; a note says why."""


def _unpaired(groups: Sequence[Group]) -> tuple[str, ...]:
    found = ", ".join(f"{group.name} ({len(group.files)})" for group in groups[:6])
    text = f"no two kinds of files share their names, so that none are known to be one frame: {found}"
    if timestamps(groups):
        text += "; they are named by the time of recording: pair them in a list by the nearest times"
    return (text,)


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
            notes.append(f"{name}: {lacking} stems lack a file of this or of another map, such as {lone!r}; left out")
    splits, folders = _splits(root, chosen, keys, notes)
    return _proposed(root, chosen, folders, ["[splits]", *splits], len(keys), notes)


def _recorded(root: Path, looks: Sequence[Look], faults: list[str]) -> Proposal | None:
    """Maps that are named by the time of their recording, to be paired by the nearest; None where they are no pair.

    Names that are no times as they stand, such as two of one time, are added to the faults.
    """
    notes: list[str] = []
    chosen = {name: look for name, look in _choose(looks, notes).items() if all(not key[0] for key in look.group.files)}
    if len(chosen) < 2 or next(iter(chosen)) == "label":
        return None
    stamps: dict[str, list[Stamped]] = {}
    folders = {name: look.group.place.folder for name, look in chosen.items()}
    try:
        for name, look in chosen.items():
            paths = [path.as_posix() for path in look.group.files.values()]
            stamps[name], unit = named_stamps(root, paths, [stem for _, stem in look.group.files])
    except ValueError as error:
        faults.append(str(error))
        return None
    try:
        spans = [
            float(np.median(np.diff([item.time for item in items])))
            for name, items in stamps.items()
            if name != "label" and len(items) > 1
        ]
        gap = float(f"{max(spans, default=0.04) / 2:.2g}")
        leading = "label" if "label" in stamps else next(iter(stamps))  # as they will be read
        frames, told = pair_all({leading: stamps[leading], **stamps}, gap, "frames")
    except ValueError:
        return None
    notes += [told.removeprefix("frames: ")] if told else []
    notes.append("by how much a sensor lags is for `rgbx doctor` to say, and for delays = {NAME = SECONDS} to state")
    splits = [
        "[splits.train]",
        f"# files are named by their time in {TIME_WORDS[unit]}; max_gap is half a frame of the slowest modality",
        *(f"{name} = {json.dumps(folder, ensure_ascii=False)}" for name, folder in folders.items()),
        f"max_gap = {gap:g}",
    ]
    return _proposed(root, chosen, folders, splits, len(frames), notes)


def _proposed(
    root: Path,
    chosen: Mapping[str, Look],
    folders: Mapping[str, str],
    splits: Sequence[str],
    frames: int,
    notes: list[str],
) -> Proposal:
    """The text of a declaration, and what reading says of it."""
    maps = {name: look.group.name for name, look in chosen.items()}
    lines = _label(chosen["label"], folders["label"], notes) if "label" in chosen else []
    for name, look in chosen.items():
        if name != "label":
            lines += ["", f"[modalities.{name}]", *_place(look.group, folders[name]), *_meaning(name, look)]
    count = sum(len(look.group.files) for look in chosen.values())
    head = [
        f"# Proposed from the names and some contents of {count} files: {frames} frames with {', '.join(chosen)}.",
        "# Look at the reasons, and put the names of your classes; docs/datasets.md tells what each key means.",
        *(f"# Note: {note}" for note in notes),
    ]
    text = "\n".join([*head, *lines, "", *splits, ""])
    return Proposal(text, maps, frames, (*notes, *_refusals(root, text)))


def _place(group: Group, folder: str) -> list[str]:
    prefix = [f"prefix = {json.dumps(group.place.prefix)}"] if group.place.prefix else []
    suffix = [] if group.suffix == ".png" else [f"suffix = {json.dumps(group.suffix)}"]
    return [f"folder = {json.dumps(folder, ensure_ascii=False)}", *prefix, *suffix]


def _meaning(name: str, look: Look) -> list[str]:
    """Unit and scale of a modality, each with its reason."""
    held = look.held
    if name == "rgb" and look.bytes == 1:
        return [f'unit = "rgb8"        # {held}']
    if look.channels > 1 and name != "normal" and (look.channels not in (3, 4) or look.bytes > 1):
        return [
            'unit = "sensor"',
            f"channels = {look.channels:<7}  # {held}: values as stored, each channel by itself",
        ]
    if look.channels >= 3:
        unit = "unit_vector" if name == "normal" else "encoded"
        return [
            f'unit = "{unit}"     # {held}: a picture of {name}' + ("" if unit != "encoded" else ", no measurement")
        ]
    if name == "depth" and (look.bytes > 1 or look.floats):
        scale, reason = depth_scale(look.values(), floats=look.floats, holes=look.holes)
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
    if not ids:
        raise NoClassesError
    list_name, named = named_ids(look.root)
    names, keys = named_classes(named, ids)
    if names:
        told = ", ".join(json.dumps(name, ensure_ascii=False) for name in names)
        said = f"# {len(names)} classes, as {list_name} names them and {len(paths)} label files hold no other values"
        return ["", "[classes]", said, f"names = [{told}]", "", "[label]", *_place(look.group, folder), *keys]
    lines, count, reason = label_ids(ids, counts)
    seen = f"of {len(paths)} of {len(look.paths)} label files"
    said = f"# {count} classes, as the values {listed(ids)} {seen} say: {reason}"
    return [*_classes(said, count), "", "[label]", *_place(look.group, folder), *lines]


def _classes(reason: str, count: int) -> list[str]:
    names = ", ".join(f'"class {k}"' for k in range(count))
    return ["", "[classes]", reason, f"names = [{names}]"]


def _coloured(look: Look, paths: Sequence[Path], folder: str, notes: list[str]) -> list[str]:
    """The tables for labels that hold a colour per class."""
    colours: Counter[tuple[int, ...]] = Counter()
    for path in paths:
        try:
            found, counts = np.unique(read_colours(path).reshape(-1, 3), axis=0, return_counts=True)
        except (OSError, ValueError) as error:
            notes.append(f"label: {' '.join(str(error).split())}")
            break
        colours.update({tuple(map(int, colour)): int(number) for colour, number in zip(found, counts, strict=True)})
        if len(colours) > IGNORE_INDEX:
            notes.append(
                f"label: {look.group.name} holds more colours than classes can have, as JPEG or resizing leave"
            )
            raise NoClassesError
    if not colours:
        raise NoClassesError
    palette = [list(colour) for colour in sorted(colours)[:FEW_IDS]]
    said = f"# {len(palette)} classes, one per colour of {len(paths)} of {len(look.paths)} label files"
    return [
        *_classes(said, len(palette)),
        f"palette = {palette}",
        "",
        "[label]",
        *_place(look.group, folder),
        "colours = true  # files hold the palette's colours; take the colour of void out, and write void = [[r, g, b]]",
    ]


def _splits(
    root: Path, chosen: Mapping[str, Look], keys: set[Key], notes: list[str]
) -> tuple[list[str], dict[str, str]]:
    """The lines of [splits], and the folder of each map."""
    folders = {name: look.group.place.folder for name, look in chosen.items()}
    found = Counter(split for split, _ in keys)
    whole = all(set(look.group.files) == keys for look in chosen.values())
    if "" not in found:
        words = sorted(found, key=lambda word: -found[word])
        names = {name: word for word in reversed(words) if (name := SPLIT_WORDS[word.lower()])}
        if left := [word for word in words if word not in names.values()]:
            notes.append(f"left out: the folders of {', '.join(left)}, as a split has one name")
        if not whole:
            notes.append("frames without all maps stop a training: complete them, or take their other files away")
        if "val" not in names:
            notes.append(f"no validation split besides the training frames: {HELD_OUT}")
        return _split_lines(names), folders
    first = next(iter(chosen.values())).group
    lines = {stem: (stem, first.files["", stem].as_posix(), first.files["", stem].name) for _, stem in keys}
    if lists := split_lists(root, lines):
        if "val" not in lists:
            notes.append(f"no validation list besides the training frames: {HELD_OUT}")
        return _split_lines(lists), folders
    notes.append(f"no splits were found, so that all frames are for training: {HELD_OUT}")
    if whole:
        parted = {name: SPLIT if folder == "." else f"{SPLIT}/{folder}" for name, folder in folders.items()}
        return ['train = "."  # all frames; stands for {split} in the folders'], parted
    stems = sorted(stem for _, stem in keys)
    if len(stems) > MOST_STEMS:
        notes.append(f"train names the first {MOST_STEMS} of {len(stems)} whole frames: write a list train.txt instead")
    listed = ",\n".join(f"    {json.dumps(stem, ensure_ascii=False)}" for stem in stems[:MOST_STEMS])
    return ["train = [  # the frames that have all maps", f"{listed},", "]"], folders


def _split_lines(entries: Mapping[str, str]) -> list[str]:
    names = [name for name in ("train", "val", "test") if name in entries]
    return [f"{name} = {json.dumps(entries[name], ensure_ascii=False)}" for name in names]


def _refusals(root: Path, text: str) -> list[str]:
    """What reading the first frame of each split by a declaration says against it."""
    found = []
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, DECLARATION)
        file.write_text(text, encoding="utf-8")
        try:
            declared = replace(read_declaration(file), name=str(root / DECLARATION))  # as where it will lie
            for split in declared.splits:
                dataset = FolderDataset(root, split, declaration=declared)
                validate_sample(dataset.read(0), dataset.maps, dataset.num_classes)
        except (OSError, ValueError) as error:
            found.append("reading says: " + " ".join(str(error).split()).replace(f"{file}", DECLARATION))
    return found
