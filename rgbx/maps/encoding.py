"""How files hold the values of a map, read and written, in one vocabulary.

A file holds value = (map - add) * scale as whole numbers. The defaults, by the unit of the map:

| unit | bits | scale | add | the file then holds |
|---|---|---|---|---|
| rgb8, encoded | 8 | 1 | 0 | the colours |
| metre | 16 | 1000 | 0 | millimetres up to 65.535 m, 0 = no measurement |
| sensor | 16 | 1 | 0 | the sensor's values |
| relative | 16 | 65535 | 0 | 0..1 over the whole range |
| unit_vector | 16 | 32767.5 | -1 | -1..1 over the whole range; 32768 in all channels = no normal |

Files of floats hold the same values without rounding. What was not measured is NaN, an infinity or one of the values
that `missing` names; in metres 0 too, and it becomes 0. In maps of a sensor and in relative ones it becomes the spec's
fill, and a mask tells it from a value (`Encoding.read_masked`).

All options are words of `--map` and, behind a map's name, of `predict`; `scale`, `add` and `bits` are those of a
`dataset.toml` too (`rgbx.datasets.declaration`). With `log`, relative maps hold exp(log * map) - 1, and 65535 where the
map is 0, which is how Taskonomy stores depth (`log` = 11.1).
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from rgbx._files import File
from rgbx._types import Options
from rgbx.maps.arrays import LAYOUTS
from rgbx.maps.files import (
    bands_of,
    counted,
    encode_png,
    one_channel,
    read_bands,
    read_grey,
    read_image,
    read_rgb,
    replace_file,
    rgb_of,
    stored_kind,
)
from rgbx.maps.normals import unit_length
from rgbx.maps.spec import BANDS, MOST_CHANNELS, STANDARD_MAPS, UNITS, UNLESS_USUAL, MapSpec

_COLOURS = ("rgb8", "encoded")
_LONGEST = 1.001  # a component of a unit vector, rounded
_NO_METRE_ADD = (
    "has no add: half_step is added to a stored number, 0.5 for metre = (value + 0.5) / scale; other metres are to be "
    "computed first, and given as an array of floats in Python"
)
_NO_MEASUREMENT = "if they stand for no measurement", ("missing=VALUE",)


class StoredError(ValueError):
    """Stored numbers that are not of the kind that an encoding says, where saying more of them may help.

    Args:
        found: what was expected and what found.
        when: whether it helps, as the beginning of a sentence.
        options: of `Encoding`, such as ``("scale=1000", "bits=8")``; none where `found` is the whole message.
    """

    def __init__(self, found: str, when: str = "", options: tuple[str, ...] = ()) -> None:
        self.found, self.when, self.options = found, when, options
        super().__init__(self.told([option.replace("=", " = ") for option in options]))

    def told(self, options: Sequence[str]) -> str:
        """The message, with the options as who reads it writes them."""
        return f"{self.found}; {self.when}, state {' and '.join(options)}" if options else self.found


@dataclass(frozen=True)
class Encoding:
    """How the files of one map hold its values; options that are None take the default of the unit.

    Attributes:
        spec: what the map means, such as `STANDARD_MAPS["depth"]`.
        scale: of metre, steps per metre; of sensor, steps per unit; of relative, the value that stands for 1, without
            which reading takes the largest of the file's type.
        add: of sensor, what reading adds to value / scale.
        bits: 8 or 16; reading checks them where they are given, and with `log`. Metres without bits may be whole
            numbers of 16 bits or more and, where the scale is given, floats.
        log: of relative, the factor of a logarithmic file.
        half_step: reading metres, what is added to a value: 0.5 where it stands for the middle of its step.
        holes: reading metres, whether the value 0 is no measurement and stays 0.
        normalise: reading vectors, whether to make them unit vectors; without it, writing them gives the same file.
        clips: of relative, whether larger values than `scale` count as 1; without it they are refused.
        missing: stored numbers that stand for "not measured", beside NaN and the infinities.
        key: the array of an `.npz` with several.
        layout: of maps of several channels, where the arrays of `.npy` and `.npz` have these, "HWC" or "CHW"; "" for
            "HWC", unless an array fits both.

    Raises:
        ValueError: an unknown unit, bits other than 8 and 16, a scale or log that is not a positive number, or an
            option that the unit does not have.
    """

    spec: MapSpec
    scale: float | None = None
    add: float | None = None
    bits: int | None = None
    log: float | None = None
    half_step: float = 0.0
    holes: bool = True
    normalise: bool = False
    clips: bool = False
    missing: tuple[float, ...] = ()
    key: str = ""
    layout: str = field(default="", metadata=UNLESS_USUAL)

    def __post_init__(self) -> None:
        name, unit = self.spec.name, self.spec.unit
        if self.file_bits not in (8, 16) or (unit in _COLOURS and self.file_bits != 8):
            expected = "8" if unit in _COLOURS else "8 or 16"
            raise ValueError(f"{name} ({unit}): bits is {self.bits}; expected {expected}")
        if unit not in UNITS:
            raise ValueError(f"{name}: the unit {unit!r} has no file format; known: {sorted(UNITS)}")
        if self.add is not None and (unit != "sensor" or not math.isfinite(self.add)):
            has = {"sensor": "takes a finite number", "metre": _NO_METRE_ADD}.get(unit, "has no add")
            raise ValueError(f"{name}: add is {self.add}; unit {unit!r} {has}")
        if self.log is not None and (
            unit != "relative" or self.scale is not None or self.file_bits != 16 or not 0 < self.log < math.inf
        ):
            raise ValueError(
                f"{name}: log={self.log} is for relative maps of 16 bits, a number > 0 and no scale beside it"
            )
        if self.scale is not None and (unit in (*_COLOURS, "unit_vector") or not 0 < self.scale < math.inf):
            takes = "none" if unit in (*_COLOURS, "unit_vector") else "a number > 0"
            raise ValueError(f"{name}: scale is {self.scale}; unit {unit!r} takes {takes}")
        if self.missing and (unit in _COLOURS or not all(map(math.isfinite, self.missing))):
            takes = "none" if unit in _COLOURS else "finite numbers"
            raise ValueError(f"{name}: missing is {self.missing}; unit {unit!r} takes {takes}")
        if self.layout and (self.layout not in LAYOUTS or not self.spec.has_bands):
            takes = f"one of {LAYOUTS}" if self.spec.has_bands else "none, which is for several channels"
            raise ValueError(f"{name}: layout is {self.layout!r}; a map of {self.spec.channels} ({unit}) takes {takes}")

    @property
    def unit(self) -> str:
        return self.spec.unit

    @property
    def file_bits(self) -> int:
        """Bits of a channel of the files that are written."""
        return (8 if self.unit in _COLOURS else 16) if self.bits is None else self.bits

    @property
    def largest(self) -> int:
        """The largest whole number of such a file."""
        return int(2**self.file_bits - 1)

    @property
    def steps(self) -> float:
        """Whole numbers per unit of the map."""
        usual = {"metre": 1000.0, "relative": float(self.largest), "unit_vector": self.largest / 2}
        return float(usual.get(self.unit, 1.0) if self.scale is None else self.scale)

    @property
    def lowest(self) -> float:
        """The value that 0 stands for."""
        return (-1.0 if self.unit == "unit_vector" else 0.0) if self.add is None else self.add

    @property
    def highest(self) -> float:
        """The largest value that a file holds."""
        if self.log is not None:
            return math.log(self.largest) / self.log  # of the whole number before the one that is no measurement
        return self.largest / self.steps + self.lowest

    def as_dict(self) -> dict[str, Any] | None:
        """The options that are not the unit's defaults, with which `Encoding(spec, **options)` reads files alike.

        Returns:
            Plain values by name; None where files are read in a way of a subclass.
        """
        if type(self) is not Encoding:
            return None
        given = {item.name: getattr(self, item.name) for item in fields(self) if item.name != "spec"}
        return {name: value for name, value in given.items() if value != _DEFAULTS[name]}

    @classmethod
    def of_dict(cls, spec: MapSpec, options: Options) -> Encoding:
        """The encoding that `as_dict` told, where it came from a file of somebody else.

        Raises:
            ValueError: options that there are not, or of another kind.
        """
        for name, value in options.items():
            if name not in _DEFAULTS or not _is_option(_DEFAULTS[name], value):
                raise ValueError(f"{spec.name}: {name}={value!r} says nothing of how files hold a map")
        found: dict[str, Any] = {name: tuple(value) if name == "missing" else value for name, value in options.items()}
        return cls(spec, **found)

    def to_write(self) -> Encoding:
        """The same without what only reading has; by the unit's defaults where a value stands for more than itself."""
        if type(self) is not Encoding or self.half_step or not self.holes:
            return Encoding(self.spec)
        return Encoding(self.spec, self.scale, self.add, self.bits, self.log)

    def nearest(
        self,
        values: np.ndarray,  # [H, W] or [H, W, C], in the map's unit
    ) -> np.ndarray:
        """A network's answer as `write` takes it: normals of length 1, which networks do not learn.

        What lies in the last thousandth of a logarithmic range becomes the largest value of such a file.
        """
        if self.unit == "unit_vector":
            return unit_length(values)
        return values if self.log is None else np.minimum(values, self.highest)

    def describe(self) -> str:
        """What a file's values mean, in one line."""
        several = f" of {self.spec.channels} channels" if self.spec.has_bands else ""
        name, add = self.spec.name + several, self.lowest
        if self.unit in _COLOURS:
            return f"{name}: {self.unit}"
        if self.log is not None:
            return f"{name}: {self.unit} = log(1 + value) / {self.log:g}; {self.largest} = no measurement"
        more = f" {'+' if add > 0 else '-'} {abs(add):g}" if add else ""
        none = {
            "metre": "; 0 = no measurement",
            "unit_vector": f"; {self.largest // 2 + 1} in all channels = no normal",
        }
        return f"{name}: {self.unit} = value / {self.steps:g}{more}{none.get(self.unit, '')}"

    def read(self, path: File) -> np.ndarray:
        """Reads a map as `write` writes it, and files of the same kind that others wrote.

        Args:
            path: an image, `.npy` or `.npz`.

        Returns:
            [H, W] or [H, W, C] as the spec says.

        Raises:
            FileNotFoundError, ValueError: missing, truncated, or not what the spec says.
        """
        return self._read(path)[0]

    def read_masked(self, path: File) -> tuple[np.ndarray, np.ndarray | None]:
        """Reads a map as `read` does, and which pixels count where the values cannot say so.

        Returns:
            [H, W] or [H, W, C] as the spec says, and uint8 [H, W], 1 where it was measured: of a sensor's and of
            relative maps (other than depth, whose 0 says it) that are floats or have `missing`; else None, and of a
            subclass with a `read` of its own.

        Raises:
            FileNotFoundError, ValueError: see `read`.
        """
        if type(self).read is not Encoding.read:
            return self.read(path), None
        return self._read(path)

    def _read(self, path: File) -> tuple[np.ndarray, np.ndarray | None]:
        return self._masked(self.stored(path), path)

    def take(
        self,
        raw: np.ndarray,  # [H, W] or [H, W, C], stored numbers
        where: str,
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """What `read_masked` gives, of an array that holds what a file would; `where` stands in messages, as a path."""
        if self.unit in _COLOURS:
            raw = rgb_of(raw, where, self.spec.name)
        elif self.spec.has_bands:
            raw = bands_of(raw, self.spec.channels, where, self.spec.name)
        elif self.unit in BANDS:
            raw = one_channel(raw, f"{self.spec.name} {where}")
        return self._masked(self._checked(raw, where), where)

    def _masked(
        self,
        raw: np.ndarray,  # [H, W] or [H, W, C]
        path: File,
    ) -> tuple[np.ndarray, np.ndarray | None]:
        hole = self._holes_of(raw)
        array = self.decode(raw, path)
        if array.shape != self.spec.shape(*array.shape[:2]):
            raise ValueError(
                f"{path}: {self.spec.name} has {self.spec.channels} channels, found an array {array.shape}"
            )
        if hole is None or self.unit not in BANDS or self.spec.zero_is_hole:
            return array, None
        return array, (~hole).astype(np.uint8)

    def stored(self, path: File) -> np.ndarray:
        """The values as the file holds them, checked: [H, W] or [H, W, C] of its own dtype.

        Raises:
            FileNotFoundError, ValueError: see `read`.
        """
        channels, usual = self.spec.channels, UNITS[self.unit][0]
        if channels > MOST_CHANNELS or (channels != usual and self.unit not in BANDS):
            has = f"1 to {MOST_CHANNELS}" if self.unit in BANDS else str(usual)
            raise ValueError(f"{self.spec.name} {path}: channels is {channels}; files of unit {self.unit!r} hold {has}")
        if self.unit in _COLOURS:
            return read_rgb(path, self.key, self.spec.name)
        if self.spec.has_bands:
            raw = read_bands(path, self.spec.channels, self.key, self.layout, self.spec.name)
            return self._checked(raw, path)
        if self.unit in BANDS:
            return self._checked(read_grey(path, self.key), path)
        return self._checked(read_image(path, self.key), path)

    def _checked(
        self,
        raw: np.ndarray,  # [H, W] or [H, W, C]
        path: File,
    ) -> np.ndarray:
        """Stored numbers of the channels and type that the map has, [H, W] or [H, W, C]; refuses others."""
        if self.unit in ("metre", "unit_vector"):
            if self.unit == "metre" and raw.dtype.kind == "f":  # OpenEXR has three channels or more
                raw = one_channel(raw, path)
            if (raw.ndim == 3) != (self.unit == "unit_vector"):
                raise self._unexpected(path, raw)
        if self.unit in _COLOURS or self._fits(raw.dtype):
            return raw
        raise self._unexpected(path, raw)

    def decode(self, raw: np.ndarray, path: File = "") -> np.ndarray:
        """The values that stored numbers, [H, W] or [H, W, C], stand for, in the unit and dtype of the spec.

        Raises:
            ValueError: numbers of a type without a largest value, for a map that is a share of it, or numbers that the
                unit does not have; names the path.
        """
        if self.unit in _COLOURS:
            return raw
        hole = self._holes_of(raw)
        if hole is not None:
            raw = np.where(hole if raw.ndim == 2 else hole[..., None], raw.dtype.type(0), raw)
        with np.errstate(over="ignore"):
            values = self._decode_vectors(raw, path) if self.unit == "unit_vector" else self._decode_numbers(raw, path)
        if raw.dtype.itemsize > 4 and not np.isfinite(values).all():
            raise ValueError(
                f"{path}: {self.spec.name} holds {counted(raw[~np.isfinite(values)])}, beyond 32-bit floats"
            )
        if hole is not None:
            values[hole] = 0 if self.unit in ("metre", "unit_vector") else self.spec.fill
        return values

    def _holes_of(self, raw: np.ndarray) -> np.ndarray | None:
        """bool [H, W] of stored numbers [H, W] or [H, W, C] that stand for no measurement; None where none can.

        Of several channels it is enough that one of them was not measured.
        """
        if raw.dtype.kind != "f" and not self.missing:
            return None
        hole: np.ndarray = np.isin(raw, np.array(self.missing))
        if raw.dtype.kind == "f":
            hole |= ~np.isfinite(raw)
        return hole if hole.ndim == 2 else np.asarray(hole.any(axis=2))

    def _fits(self, dtype: np.dtype) -> bool:
        """Whether a file of such numbers may hold the map."""
        bits = 16 if self.log is not None else self.bits
        if bits is not None:
            return dtype.kind == "u" and dtype.itemsize * 8 == bits
        if self.unit == "metre":
            return dtype.itemsize > 1 and (dtype.kind != "f" or self.scale is not None)
        return dtype.kind in "uf" if self.unit == "unit_vector" else True

    def _decode_numbers(self, raw: np.ndarray, path: File) -> np.ndarray:
        """Metres [H, W], a sensor or a share [H, W] or [H, W, C]; by float64 where float32 would round the stored."""
        exact = raw.dtype.itemsize <= 2 or raw.dtype == np.float32
        kind: type[np.floating] = np.float32 if exact else np.float64
        numbers: np.ndarray = raw.astype(kind)
        step = kind(self.steps)
        if self.unit == "sensor":
            return (numbers / step + kind(self.lowest)).astype(np.float32, copy=False)
        if raw.dtype.kind != "u" and (wrong := raw < 0).any():
            raise StoredError(
                f"{path}: {self.spec.name} ({self.unit}) holds {counted(raw[wrong])}; expected numbers >= 0",
                *_NO_MEASUREMENT,
            )
        if self.log is not None:
            scaled = np.clip(np.log1p(numbers) / np.float32(self.log), 0, 1)
            return np.where(raw == np.iinfo(np.uint16).max, np.float32(0), scaled)
        if self.unit == "relative":
            if self.scale is None and raw.dtype.kind != "u":
                raise StoredError(
                    f"{path}: {self.spec.name} (relative) holds {raw.dtype}, which has no largest value",
                    "for the value that counts as 1",
                    ("scale=VALUE",),
                )
            highest = step if self.scale is not None else kind(np.iinfo(raw.dtype).max)
            if not self.clips and (wrong := numbers > highest).any():
                raise StoredError(
                    f"{path}: {self.spec.name} (relative) holds {counted(raw[wrong])}; expected at most the scale, "
                    f"{self.steps:g}, which counts as 1",
                    *_NO_MEASUREMENT,
                )
            return np.clip(numbers / highest, 0, 1).astype(np.float32, copy=False)
        if not self.half_step:
            return (numbers / step).astype(np.float32, copy=False)
        metres = ((numbers + kind(self.half_step)) / step).astype(np.float32, copy=False)
        return np.where(raw > 0, metres, np.float32(0)) if self.holes else metres

    def write(self, path: str | Path, array: np.ndarray) -> None:
        """Writes a map as a PNG that says in its text what its values mean; `read` gives the values back.

        Values are rounded to the nearest step of the file. A depth that was measured never becomes 0, which means that
        there is none; it is at least one step.

        Args:
            path: with the suffix .png; replaced whole if it is there.
            array: [H, W] or [H, W, C], any real dtype, in the unit of the spec; colours may be fractions of a step.

        Raises:
            ValueError: another suffix, a shape that is not the spec's, or values that the file cannot hold; the message
                names the file and says which.
            OSError: the file cannot be written.
        """
        if Path(path).suffix.lower() != ".png":
            raise ValueError(f"{path}: maps are written as PNG, which loses nothing; expected the suffix .png")
        replace_file(Path(path), encode_png(self.encode(array, where=str(path)), self.describe()), many=True)

    def encode(self, array: np.ndarray, *, where: str = "a map") -> np.ndarray:
        """The whole numbers that a file of [H, W] or [H, W, C] holds, uint8 or uint16 of that shape.

        Raises:
            ValueError: see `write`; `where` begins the message.
        """
        name = f"{where}: {self.spec.name}"
        if array.ndim < 2 or array.shape != self.spec.shape(*array.shape[:2]):
            expected = "[H, W]" if self.spec.channels == 1 else f"[H, W, {self.spec.channels}]"
            raise ValueError(f"{name} must be {expected}, found {array.shape}")
        values = array.astype(np.float64)
        if not np.isfinite(values).all():
            raise ValueError(f"{name} contains NaN or infinity")
        if self.log is not None:
            stored = np.maximum(np.rint(np.expm1(values * self.log)), 1)
            fits = not values.size or (values.min() >= 0 and stored.max() < self.largest)
            means, stored = f"log {self.log:g}", np.where(values > 0, stored, self.largest)
        else:
            stored = np.rint((values - self.lowest) * self.steps)
            if self.unit == "metre":
                stored = np.where(values > 0, np.maximum(stored, 1), stored)
            fits = not stored.size or (stored.min() >= 0 and stored.max() <= self.largest)
            means = f"scale {self.steps:g}"
        if not fits:
            raise ValueError(
                f"{name} holds {values.min():.6g} to {values.max():.6g}, but {self.file_bits} bits with {means} hold "
                f"{self.lowest:.6g} to {self.highest:.6g}; clip the values or choose another scale"
            )
        return stored.astype(np.uint16 if self.file_bits == 16 else np.uint8)

    def _decode_vectors(self, raw: np.ndarray, path: File) -> np.ndarray:
        """v = 2 raw / max - 1 of [H, W, C]; the grey in the middle (128 of 8 bits) means no normal and becomes 0.

        Floats are the vectors themselves.
        """
        if raw.dtype.kind == "f":
            vectors = raw[..., :3].astype(np.float32)
            if (wrong := np.abs(vectors) > _LONGEST).any():
                raise ValueError(f"{path}: {self.spec.name} holds {counted(vectors[wrong])}; expected components -1..1")
            return unit_length(vectors) if self.normalise else vectors
        largest = int(np.iinfo(raw.dtype).max)
        vectors = raw[..., :3].astype(np.float32) * np.float32(2 / largest) - 1
        vectors[(raw[..., :3] == largest // 2 + 1).all(axis=2)] = 0
        return unit_length(vectors) if self.normalise else vectors

    def _unexpected(self, path: File, raw: np.ndarray) -> ValueError:
        """What is raised of a file that holds [H, W] or [H, W, C] of another kind."""
        bits = self.bits or ("8 or 16" if self.unit == "unit_vector" else 16)
        channels = "three channels" if self.unit == "unit_vector" else "one channel"
        kind = stored_kind(raw) if raw.dtype.kind == "u" else f"{stored_kind(raw)} ({raw.dtype})"
        found = f"{self.spec.name} {path}: expected {channels} of {bits} bits, found {kind}"
        if self.unit == "metre" and bits == 16 and raw.itemsize == 1 and raw.ndim == 2:
            when = "8 bits carry no metres unless their scale is known: if it is"
            return StoredError(found, when, ("scale=STEPS_PER_METRE", "bits=8"))
        if self.unit == "metre" and raw.dtype.kind == "f" and self.scale is None:
            return StoredError(found, "floats need a scale: if they are metres", ("scale=1",))
        if self.unit == "metre" and self.bits is not None and raw.dtype.kind == "f":
            return StoredError(found, "floats have no bits to state: if they are metres", ("scale=1",))
        if self.unit == "metre" and self.bits == 8 and raw.dtype == np.uint16 and raw.ndim == 2:
            return StoredError(found, "if these are millimetres", ("scale=1000", "bits=16"))
        return ValueError(found)


_DEFAULTS = {item.name: item.default for item in fields(Encoding) if item.name != "spec"}


def _is_option(default: object, value: object) -> bool:
    """Whether a plain value may stand where a default does, of which None stands for a number."""
    if isinstance(default, tuple):
        return isinstance(value, (list, tuple)) and all(map(_is_number, value))
    if default is None or isinstance(default, float):
        return _is_number(value)
    return type(value) is type(default)


def _is_number(value: object) -> bool:
    return type(value) is float or (type(value) is int and abs(value) <= sys.float_info.max)


RGB, DEPTH, THERMAL, HHA = (Encoding(STANDARD_MAPS[name]) for name in ("rgb", "depth", "thermal", "hha"))
