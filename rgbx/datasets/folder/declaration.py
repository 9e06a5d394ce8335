"""The declaration of one's own dataset, `dataset.toml`: what lies where and what its values mean.

Every mistake is an error that names the file, the key, what was found and what was expected.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from rgbx.datasets.files import Reader
from rgbx.datasets.folder.toml_table import Table
from rgbx.datasets.grey import read_relative, read_sensor
from rgbx.datasets.palette import bitwise_palette
from rgbx.datasets.reading import offset_lookup, read_depth8, read_depth16, read_label, read_rgb
from rgbx.datasets.sample import MapSpec
from rgbx.datasets.vectors import read_unit_vectors

UNITS: dict[str, tuple[int, str, str, frozenset[str]]] = {  # channels, dtype, interpolation, keys of its own
    "rgb8": (3, "uint8", "linear", frozenset()),
    "metre": (1, "float32", "nearest", frozenset({"scale", "bits"})),
    "sensor": (1, "float32", "linear", frozenset({"scale", "add"})),
    "relative": (1, "float32", "linear", frozenset({"scale"})),
    "unit_vector": (3, "float32", "nearest", frozenset()),
    "encoded": (3, "uint8", "linear", frozenset()),
}
_MAP_KEYS = ("folder", "suffix", "unit", "interpolation")
SPLIT = "{split}"


@dataclass(frozen=True)
class DeclaredMap:
    """Where the files of a modality or of the label lie, and how they are read.

    Attributes:
        folder: relative to the root; may hold `{split}`.
        suffix: what follows the stem in the file's name, such as ".png" or "_depth.png".
        read: turns a file into the sample's array.
        spec: what the array means; None for the label.
    """

    folder: str
    suffix: str
    read: Reader
    spec: MapSpec | None = None


@dataclass(frozen=True)
class Declaration:
    """A checked `dataset.toml`."""

    file: Path
    classes: tuple[str, ...]
    palette: list[list[int]]
    modalities: Mapping[str, DeclaredMap]
    label: DeclaredMap | None
    splits: Mapping[str, str | tuple[str, ...]]


def read_declaration(file: str | Path) -> Declaration:
    """Reads and checks a `dataset.toml`.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not TOML, or a key that is missing, unknown or wrong.
    """
    file = Path(file)
    if not file.is_file():
        raise FileNotFoundError(f"{file}: no such file; it declares classes, label, modalities and splits")
    try:
        top = Table(file, "", tomllib.loads(file.read_text(encoding="utf-8")))
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{file}: not valid TOML: {error}") from error
    top.only(("classes", "label", "modalities", "splits"))
    tables = Table(file, "modalities", top.get("modalities", dict, "a table [modalities.NAME] per modality"))
    modalities = {name: _modality(Table(file, f"modalities.{name}", tables.values[name])) for name in tables.values}
    classes, palette, label = _classes_and_label(file, top)
    splits = Table(file, "splits", top.get("splits", dict, "a table with one entry per split"))
    declared = {name: _split(splits, name) for name in splits.values}
    folders = [item.folder for item in (*modalities.values(), *([label] if label else []))]
    for name, value in declared.items():
        if isinstance(value, str) and not value.endswith(".txt") and not any(SPLIT in folder for folder in folders):
            raise splits.wrong(name, f"a list NAME.txt or an array of stems, as no folder holds {SPLIT}")
    return Declaration(file, classes, palette, modalities, label, declared)


def _classes_and_label(file: Path, top: Table) -> tuple[tuple[str, ...], list[list[int]], DeclaredMap | None]:
    if "classes" not in top.values and "label" not in top.values:
        return (), [], None
    classes = Table(file, "classes", top.get("classes", dict, "a table with names, as there is a [label]"))
    classes.only(("names", "palette"))
    names = classes.get("names", list, "an array of class names in the order of the train ids")
    if not all(isinstance(name, str) for name in names) or len(set(names)) != len(names) or len(names) > 255:
        raise classes.wrong("names", "an array of at most 255 distinct class names")
    palette = classes.get("palette", list, "one [red, green, blue] per class", bitwise_palette(len(names) + 1)[1:])
    if len(palette) != len(names) or not all(_is_colour(colour) for colour in palette):
        raise classes.wrong("palette", f"one [red, green, blue] of 0..255 for each of the {len(names)} classes")
    return tuple(names), palette, _label(Table(file, "label", top.get("label", dict, "a table with folder and suffix")))


def _label(table: Table) -> DeclaredMap:
    table.only(("folder", "suffix", "offset", "void"))
    void = table.values.get("void", [])
    if not isinstance(void, list) or not all(_is_byte(value) for value in void):
        raise table.wrong("void", "an array of stored values 0..255 that mean no class")
    offset = table.get("offset", int, "an integer; train id = stored value - offset", 0)
    if not 0 <= offset <= 255:
        raise table.wrong("offset", "0..255; train id = stored value - offset")
    try:
        lookup = offset_lookup(offset, void)
    except ValueError as error:
        raise ValueError(f"{table.file}: [label] void: {error}") from error
    return DeclaredMap(*_folder_and_suffix(table), partial(read_label, lookup=lookup))


def _modality(table: Table) -> DeclaredMap:
    unit = table.choice("unit", UNITS)
    channels, dtype, interpolation, own = UNITS[unit]
    for key in {"scale", "add", "bits"} & table.values.keys() - own:
        raise ValueError(f"{table.file}: [{table.name}] {key}: unit {unit!r} has no {key}")
    table.only((*_MAP_KEYS, *sorted(own)))
    interpolation = table.choice("interpolation", ("linear", "nearest"), interpolation)
    name = table.name.rpartition(".")[2]
    spec = MapSpec(name, channels, dtype, unit, interpolation)
    return DeclaredMap(*_folder_and_suffix(table), _reader(table, unit), spec)


def _reader(table: Table, unit: str) -> Reader:
    if unit in ("rgb8", "encoded"):
        return read_rgb
    if unit == "unit_vector":
        return read_unit_vectors
    if unit == "relative":
        full = _scale(table, "the raw value that counts as 1") if "scale" in table.values else None
        return partial(read_relative, full=full)
    if unit == "sensor":
        scale = _scale(table, "raw units per unit", 1.0)
        return partial(read_sensor, scale=scale, add=float(table.get("add", (int, float), "a number", 0.0)))
    scale = _scale(table, "raw units per metre, such as 1000 for millimetres")
    if table.choice("bits", (8, 16), 16) == 16:
        return partial(read_depth16, divisor=scale)
    return partial(read_depth8, levels_per_metre=scale, half_step=0.0)


def _scale(table: Table, meaning: str, default: float | None = None) -> float:
    scale = table.get("scale", (int, float), f"a number > 0: {meaning}", default)
    if not scale > 0:
        raise table.wrong("scale", f"a number > 0: {meaning}")
    return float(scale)


def _folder_and_suffix(table: Table) -> tuple[str, str]:
    folder = table.get("folder", str, f"a folder relative to the root, which may hold {SPLIT}")
    suffix = table.get("suffix", str, "what follows the stem in a file's name", ".png")
    if Path(folder).is_absolute() or "{" in folder.replace(SPLIT, ""):
        raise table.wrong("folder", f"a folder relative to the root, with no placeholder but {SPLIT}")
    if "." not in suffix:
        raise table.wrong("suffix", "what follows the stem in a file's name, such as '.png' or '_depth.png'")
    return folder, suffix


def _split(table: Table, name: str) -> str | tuple[str, ...]:
    value = table.get(name, (str, list), "a list file NAME.txt, a folder's name, or an array of stems")
    if isinstance(value, str):
        return value
    if not all(isinstance(stem, str) and stem for stem in value):
        raise table.wrong(name, "an array of stems")
    return tuple(value)


def _is_byte(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 255


def _is_colour(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 3 and all(_is_byte(channel) for channel in value)
