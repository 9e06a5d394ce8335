"""What lies where in folders of images, and what its values mean: as data, in Python or in a file `dataset.toml`.

Every mistake in a file is an error that names the file, the key, what was found and what was expected.
"""

from __future__ import annotations

import math
import posixpath
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from rgbx._files import inside, read_text
from rgbx._text import nearest
from rgbx.datasets.sample import check_names
from rgbx.datasets.timestamps import PER_SECOND
from rgbx.maps import UNITS, Encoding, LabelEncoding, MapSpec
from rgbx.maps.arrays import LAYOUTS
from rgbx.maps.folders import ANY
from rgbx.maps.labels import Colour
from rgbx.maps.palette import default_palette
from rgbx.maps.spec import MOST_CHANNELS

SPLIT = "{split}"
_SPLIT_FORMS = "a list file NAME.txt, a folder's name, an array of stems, or a table of lists with timestamps"
_FILE_KEYS = ("folder", "suffix", "prefix")
_OWN_KEYS = {
    "metre": {"scale", "bits", "missing"},
    "sensor": {"scale", "add", "missing", "channels", "layout", "shown"},
    "relative": {"scale", "missing", "channels", "layout", "shown"},
}
_DEEPEST = 20
Kind = TypeVar("Kind")


@dataclass(frozen=True)
class DeclaredMap:
    """Where the files of a modality lie, and how they hold it.

    Attributes:
        folder: relative to the root; may hold `{split}` and the names of `Declaration.choices`.
        encoding: what the values mean.
        suffix: what follows the stem in the file's name, such as ".png" or "_depth.png"; "*" for any image, of which
            each frame has one.
        prefix: what the file's name begins with, before the last part of the stem, such as "depth_".
    """

    folder: str
    encoding: Encoding
    suffix: str = ANY
    prefix: str = ""


@dataclass(frozen=True)
class DeclaredLabel:
    """The same of the label."""

    folder: str
    encoding: LabelEncoding = field(default_factory=LabelEncoding)
    suffix: str = ANY
    prefix: str = ""


@dataclass(frozen=True)
class Streams:
    """A split of maps that were recorded at times of their own, paired by the nearest.

    Attributes:
        lists: by map, the first modality's among them, a list file NAME.txt with lines `timestamp path`, or a folder of
            files that are named by their time.
        max_gap: the largest difference of a pair in seconds.
        delays: seconds by which a map lags, taken off its times.
        time_unit: of whole numbers in names of files, one of `rgbx.datasets.timestamps.PER_SECOND`; None tells it.
    """

    lists: Mapping[str, str]
    max_gap: float = 0.02
    delays: Mapping[str, float] = field(default_factory=dict)
    time_unit: str | None = None


@dataclass(frozen=True)
class Declaration:
    """A dataset in folders.

    Attributes:
        name: of the dataset or of its file, for messages.
        classes: in the order of the train ids.
        palette: one [r, g, b] per class.
        modalities: by name, in the order of the model's stack.
        label: None for translation.
        splits: per name a list file NAME.txt, an array of stems, lists with timestamps, or what replaces `{split}` in
            the folders, where every file of the first modality is a frame. One text for all: with `{split}` in it for
            the name.
        choices: values of further placeholders in folders, the default first.
    """

    name: str
    classes: tuple[str, ...]
    palette: list[list[int]]
    modalities: Mapping[str, DeclaredMap]
    label: DeclaredLabel | None
    splits: Mapping[str, str | tuple[str, ...] | Streams] | str = SPLIT
    choices: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def maps(self) -> dict[str, DeclaredMap | DeclaredLabel]:
        """The modalities, and the label under "label"."""
        return {**self.modalities, **({"label": self.label} if self.label else {})}

    def chosen(self, given: Mapping[str, str]) -> dict[str, str]:
        """Values of all choices.

        Raises:
            TypeError: a choice that there is not.
            ValueError: a value that there is not.
        """
        for name, value in given.items():
            if name not in self.choices:
                raise TypeError(f"{self.name} got an unexpected keyword argument {name!r}")
            if value not in self.choices[name]:
                raise ValueError(f"{name} must be {' or '.join(map(repr, self.choices[name]))}, found {value!r}")
        return {name: given.get(name, values[0]) for name, values in self.choices.items()}

    def folders(self, split: str, given: Mapping[str, str] | None = None) -> dict[str, str]:
        """The folder of each map, relative to the root.

        Raises:
            ValueError: the split leads out of the root, or a wrong choice.
        """
        words = {SPLIT: split, **{f"{{{name}}}": value for name, value in self.chosen(given or {}).items()}}
        found = {}
        for name, item in self.maps.items():
            folder = item.folder
            for word, value in words.items():
                folder = folder.replace(word, value)
            found[name] = inside(".", folder, f"{self.name}: folder of {name} in split {split!r}")
        return found


def bitwise_palette(count: int) -> list[list[int]]:
    """The usual 256-colour palette: bit 3j + c of the index is bit 7 - j of channel c.

    Entry 0 is black.
    """
    return [
        [sum(((index >> (3 * j + c)) & 1) << (7 - j) for j in range(8)) for c in range(3)] for index in range(count)
    ]


def read_declaration(file: str | Path) -> Declaration:
    """Reads and checks a `dataset.toml`.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not TOML, or a key that is missing, unknown or wrong.
    """
    file = Path(file)
    if not file.exists():
        raise FileNotFoundError(f"{file}: no such file; it declares classes, label, modalities and splits")
    text = read_text(file, limit=1 << 20)
    try:
        top = Table(file, "", tomllib.loads(text))
    except (ValueError, RecursionError) as error:  # a number may be too long for Python
        raise ValueError(f"{file}: not valid TOML: {error}") from error
    if not _is_plain(top.values):
        raise ValueError(
            f"{file}: a whole number beyond 64 bits, or more than {_DEEPEST} tables or arrays in each other"
        )
    top.only(("classes", "label", "modalities", "splits"))
    tables = Table(file, "modalities", top.get("modalities", dict, "a table [modalities.NAME] per modality"))
    check_names(tables.values, f"{file}: [modalities]")
    modalities = {
        name: _modality(name, Table(file, f"modalities.{name}", tables.values[name])) for name in tables.values
    }
    classes, palette, label = _classes_and_label(file, top)
    splits = Table(file, "splits", top.get("splits", dict, "a table with one entry per split"))
    names = (*modalities, *(("label",) if label else ()))
    declared = {name: _split(splits, name, names) for name in splits.values}
    result = Declaration(str(file), classes, palette, modalities, label, declared)
    for name, value in declared.items():
        places = [item.folder for item in result.maps.values()]
        parted = any(SPLIT in place or f"{place}/".startswith(f"{value}/") for place in places)
        if isinstance(value, str) and not value.endswith(".txt") and not parted:
            raise splits.wrong(name, f"a list NAME.txt or an array of stems, as no folder holds {SPLIT}")
    return result


def _classes_and_label(file: Path, top: Table) -> tuple[tuple[str, ...], list[list[int]], DeclaredLabel | None]:
    if "classes" not in top.values and "label" not in top.values:
        return (), [], None
    classes = Table(file, "classes", top.get("classes", dict, "a table with names, as there is a [label]"))
    classes.only(("names", "palette"))
    names = classes.get("names", list, "an array of class names in the order of the train ids")
    if not all(isinstance(name, str) for name in names) or len(set(names)) != len(names) or len(names) > 255:
        raise classes.wrong("names", "an array of at most 255 distinct class names")
    palette = classes.get("palette", list, "one [red, green, blue] per class", default_palette(len(names)))
    if len(palette) != len(names) or not all(_is_colour(colour) for colour in palette):
        raise classes.wrong("palette", f"one [red, green, blue] of 0..255 for each of the {len(names)} classes")
    label = Table(file, "label", top.get("label", dict, "a table with folder and suffix"))
    return tuple(names), palette, _label(label, len(names), palette if "palette" in classes.values else None)


def _label(table: Table, count: int, palette: list[list[int]] | None) -> DeclaredLabel:
    """The label of so many classes, whose colours are those of the palette where one is written."""
    table.only((*_FILE_KEYS, "offset", "void", "values", "colours", "key"))
    colours = _label_colours(table, count, palette)
    void = table.values.get("void", [])
    meaning, fits = ("[red, green, blue] of 0..255", _is_colour) if colours else ("whole numbers", _is_whole)
    if not isinstance(void, list) or not all(map(fits, void)):
        raise table.wrong("void", f"an array of stored {meaning} that mean no class")
    offset = table.get("offset", int, "an integer; train id = stored value - offset", 0)
    if not 0 <= offset <= 255:
        raise table.wrong("offset", "0..255; train id = stored value - offset")
    values = table.get("values", list, "the stored whole number of each class", [])
    if values and (len(values) != count or not all(map(_is_whole, values))):
        raise table.wrong("values", f"the stored whole number of each of the {count} classes, in their order")
    key = table.get("key", str, "the name of an array of the .npz files", "")
    stated = tuple(tuple(value) if colours else value for value in void)
    try:
        encoding = LabelEncoding(offset, stated, values=tuple(values), colours=colours, key=key)
    except ValueError as error:
        at = next((name for name in ("values", "colours") if name in table.values), "void")
        raise ValueError(f"{table.file}: [label] {at}: {error}") from error
    folder, suffix, prefix = _place(table)
    return DeclaredLabel(folder, encoding, suffix, prefix)


def _label_colours(table: Table, count: int, palette: list[list[int]] | None) -> tuple[Colour, ...]:
    """The colour that stands for each class; empty where labels hold numbers."""
    if "colours" not in table.values or table.values["colours"] is False:
        return ()
    written = table.values["colours"] is True
    colours = palette if written else table.values["colours"]
    expected = (
        f"true, where [classes] has a palette, or one [red, green, blue] of 0..255 for each of the {count} classes"
    )
    if not isinstance(colours, list) or len(colours) != count or not all(map(_is_colour, colours)):
        raise table.wrong("colours", expected)
    return tuple((red, green, blue) for red, green, blue in colours)


def _modality(name: str, table: Table) -> DeclaredMap:
    unit = table.choice("unit", UNITS)
    own = _OWN_KEYS.get(unit, set())
    for key in sorted(set().union(*_OWN_KEYS.values()) & table.values.keys() - own):
        raise ValueError(f"{table.file}: [{table.name}] {key}: unit {unit!r} has no {key}")
    table.only((*_FILE_KEYS, "unit", "interpolation", "key", *sorted(own)))
    interpolation = table.choice("interpolation", ("linear", "nearest"), UNITS[unit][2])
    folder, suffix, prefix = _place(table)
    channels, shown = _channels(table)
    spec = MapSpec.of_unit(name, unit, interpolation, channels=channels, shown=shown)
    return DeclaredMap(folder, _encoding(table, spec), suffix, prefix)


def _channels(table: Table) -> tuple[int | None, list[int]]:
    """How many channels a map has, None where nothing is said, and the three of them that pictures show."""
    channels = table.get("channels", int, f"a whole number of 1 to {MOST_CHANNELS}", 1)
    if not 1 <= channels <= MOST_CHANNELS:
        raise table.wrong("channels", f"a whole number of 1 to {MOST_CHANNELS}")
    if channels == 1 and (own := sorted({"layout", "shown"} & table.values.keys())):
        raise ValueError(f"{table.place(own[0])} is for maps of several channels; expected channels = NUMBER beside it")
    shown: list[int] = table.get("shown", list, "three numbers of channels, counted from 0", [])
    whole = all(_is_whole(channel) and 0 <= channel < channels for channel in shown)
    if shown and (len(shown) != 3 or not whole):
        raise table.wrong("shown", f"three numbers of channels, 0 to {channels - 1}: red, green and blue of pictures")
    return channels if "channels" in table.values else None, shown


def _encoding(table: Table, spec: MapSpec) -> Encoding:
    key = table.get("key", str, "the name of an array of the .npz files", "")
    missing = tuple(table.get("missing", list, "stored numbers that stand for no measurement, such as [-1, 65535]", []))
    if not all(_is_number(value) for value in missing):
        raise table.wrong("missing", "stored numbers that stand for no measurement, such as [-1, 65535]")
    layout = table.choice("layout", LAYOUTS) if "layout" in table.values else ""
    if spec.unit == "relative":
        scale = _scale(table, "the raw value that counts as 1") if "scale" in table.values else None
        return Encoding(spec, scale=scale, missing=missing, key=key, layout=layout)
    if spec.unit == "sensor":
        add = table.get("add", (int, float), "a number", 0.0)
        if not _is_number(add):
            raise table.wrong("add", "a number")
        scale = _scale(table, "raw units per unit", 1.0)
        return Encoding(spec, scale=scale, add=float(add), missing=missing, key=key, layout=layout)
    if spec.unit == "metre":
        bits = table.choice("bits", (8, 16), 16)
        scale = _scale(table, "raw units per metre, such as 1000 for millimetres")
        stated = bits if "bits" in table.values else None
        return Encoding(spec, scale=scale, bits=stated, missing=missing, key=key)
    return Encoding(spec, normalise=spec.unit == "unit_vector", missing=missing, key=key)


def _scale(table: Table, meaning: str, default: float | None = None) -> float:
    scale = table.get("scale", (int, float), f"a number > 0: {meaning}", default)
    if not 0 < scale < math.inf:
        raise table.wrong("scale", f"a number > 0: {meaning}")
    return float(scale)


def _place(table: Table) -> tuple[str, str, str]:
    """Folder, suffix and prefix of the files."""
    folder = table.get("folder", str, f"a folder relative to the root, which may hold {SPLIT}").replace("\\", "/")
    if folder.startswith("/") or "{" in folder.replace(SPLIT, ""):
        raise table.wrong("folder", f"a folder relative to the root, with no placeholder but {SPLIT}")
    inside(table.file.parent, folder, table.place("folder"))
    suffix = table.get("suffix", str, "what follows the stem in a file's name", ".png").replace("\\", "/")
    if ("." not in suffix and suffix != ANY) or posixpath.normpath(f"x{suffix}") != f"x{suffix}":
        raise table.wrong("suffix", "what follows the stem in a file's name, such as '.png' or '_depth.png', or '*'")
    prefix = table.values.get("prefix", "")
    if not isinstance(prefix, str) or set(prefix) & set("/\\{\0"):
        raise table.wrong("prefix", "what a file's name begins with, such as 'depth_'; folders stand in 'folder'")
    return folder, suffix, prefix


def _split(table: Table, name: str, maps: Sequence[str]) -> str | tuple[str, ...] | Streams:
    value = table.get(name, (str, list, dict), _SPLIT_FORMS)
    if isinstance(value, str):
        inside(table.file.parent, value, table.place(name))
        return value
    if isinstance(value, dict):
        return _streams(Table(table.file, f"splits.{name}", value), maps)
    if not all(isinstance(stem, str) and stem for stem in value):
        raise table.wrong(name, "an array of stems")
    return tuple(value)


def _is_plain(value: object, depth: int = 0) -> bool:
    """Whether all whole numbers have 64 bits, as TOML demands, and no value lies too deep to be shown."""
    if isinstance(value, (dict, list)):
        items = value.values() if isinstance(value, dict) else value
        return depth < _DEEPEST and all(_is_plain(item, depth + 1) for item in items)
    return not isinstance(value, int) or -(2**63) <= value < 2**64


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < math.inf


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63


def _streams(table: Table, maps: Sequence[str]) -> Streams:
    table.only((*maps, "max_gap", "delays", "time_unit"))
    gap = table.get("max_gap", (int, float), "seconds, at least 0", 0.02)
    if not 0 <= gap < math.inf:
        raise table.wrong("max_gap", "seconds, at least 0")
    lists = {
        name: table.get(name, str, "a list file of timestamps and file names, or a folder of files named by time")
        for name in maps
        if name in table.values or name == maps[0]
    }
    if len(lists) < 2:
        raise ValueError(f"{table.file}: [{table.name}]: expected lists of {maps[0]} and of another map, to be paired")
    for name, file in lists.items():
        inside(table.file.parent, file, table.place(name))
    delays = Table(table.file, f"{table.name}.delays", table.values.get("delays", {}))
    delays.only(lists)
    late = {name: delays.get(name, (int, float), "seconds by which it lags") for name in delays.values}
    if wrong := [name for name, delay in late.items() if not _is_number(delay)]:
        raise delays.wrong(wrong[0], "seconds by which it lags")
    unit = table.choice("time_unit", PER_SECOND) if "time_unit" in table.values else None
    return Streams(lists, float(gap), {name: float(delay) for name, delay in late.items()}, unit)


def stating_delays(file: str | Path, split: str, delays: Mapping[str, float]) -> str:
    """What to write where, so that a split with times states its delays: an edit of the file as it is.

    Args:
        file: a `dataset.toml`.
        split: one of its splits, a table or written in braces.
        delays: seconds by map, all that are to be stated, to the millisecond.

    Returns:
        A sentence without its full stop. The edit in it was tried; where none works it says what to state.
    """
    wanted = f"delays = {{{', '.join(f'{name} = {delay:.3f}' for name, delay in delays.items())}}}"
    try:
        lines = read_text(Path(file), limit=1 << 20).split("\n")
    except (OSError, ValueError):
        lines = []
    for number, edited, words in _edits(lines, split, wanted):
        try:
            entry = tomllib.loads("\n".join([*lines[: number - 1], *edited, *lines[number:]]))["splits"][split]
        except (ValueError, KeyError):
            continue
        if entry.get("delays") == {name: round(delay, 3) for name, delay in delays.items()}:
            return f"In {file}, {words.format(number)} {wanted}"
    return f"In {file}, state for [splits.{split}] {wanted}"


def _edits(lines: Sequence[str], split: str, wanted: str) -> Iterator[tuple[int, list[str], str]]:
    """Lines that may be meant: their number, what stands there then, and how to say it; {} is the number."""
    name = rf"""["']?{re.escape(split)}["']?"""
    for number, line in enumerate(lines, start=1):
        if re.match(rf"\s*{name}\s*=\s*{{", line):
            inner = re.compile(r"delays\s*=\s*{[^{}]*}")
            yield number, [inner.sub(wanted, line)], "line {}, write in place of its delays:"
            head = line.partition("#")[0].rpartition("}")[0]
            yield (
                number,
                [f"{head}, {wanted}}}{line[len(head) + 1 :]}"],
                "line {}, write inside the braces, after a comma:",
            )
        elif re.match(r"\s*delays\s*=", line):
            yield number, [wanted], "line {}, write instead:"
        elif re.match(rf"\s*\[\s*splits\s*\.\s*{name}\s*\]", line):
            yield number, [line, wanted], "below line {}, write:"


def _is_byte(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 255


def _is_colour(value: object) -> bool:
    return isinstance(value, list) and len(value) == 3 and all(_is_byte(channel) for channel in value)


class Table:
    """One table of a TOML file: gives its values by type and complains with file, key, found and expected."""

    def __init__(self, file: Path, name: str, values: object) -> None:
        self.file, self.name = file, name
        if not isinstance(values, dict):
            raise ValueError(f"{file}: [{name}] must be a table, found {values!r}")
        self.values: dict[str, object] = values

    def only(self, known: Iterable[str]) -> None:
        """Refuses keys that nothing would read."""
        known = list(known)
        for key in self.values:
            if key not in known:
                hint = nearest(key, known) or f"; expected {', '.join(known)}"
                raise ValueError(f"{self.place(key)}: no such key{hint}")

    def get(self, key: str, kind: type | tuple[type, ...], expected: str, default: object = None) -> Any:
        """The value of a key, of the given type; without a default the key must be there."""
        if key not in self.values:
            if default is None:
                raise ValueError(f"{self.place(key)} is missing; expected {expected}")
            return default
        value = self.values[key]
        if not isinstance(value, kind) or isinstance(value, bool) or value in ("", [], {}):
            raise self.wrong(key, expected)
        return value

    def choice(self, key: str, choices: Iterable[Kind], default: Kind | None = None) -> Kind:
        """The value of a key, one of the choices."""
        choices = list(choices)
        value: Kind = self.get(key, object, f"one of {choices}", default)
        if value not in choices:
            raise self.wrong(key, f"one of {choices}{nearest(str(value), map(str, choices))}")
        return value

    def wrong(self, key: str, expected: str) -> ValueError:
        """The error for a value that cannot be used."""
        return ValueError(f"{self.place(key)}: expected {expected}, found {self.values.get(key)!r}")

    def place(self, key: str) -> str:
        """File, table and key, for messages."""
        return f"{self.file}: [{self.name}] {key}" if self.name else f"{self.file}: {key}"
