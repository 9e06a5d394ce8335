"""How the values of a map lie in the whole numbers of a file.

A file holds value = (map - add) * scale as whole numbers. The defaults, by the unit of the map:

| unit | bits | scale | add | the file then holds |
|---|---|---|---|---|
| rgb8, encoded | 8 | 1 | 0 | the colours |
| metre | 16 | 1000 | 0 | millimetres up to 65.535 m, 0 = no measurement |
| sensor | 16 | 1 | 0 | the sensor's values |
| relative | 16 | 65535 | 0 | 0..1 over the whole range |
| unit_vector | 16 | 32767.5 | -1 | -1..1 over the whole range; 32768 in all channels = no normal |

`scale`, `add`, `bits` and `log` are the words of `tools/translate.py --map`, the first three those of a
`dataset.toml` too (`rgbx.datasets.folder`). With `log`, relative maps hold exp(log * map) - 1, and 65535 where the map
is 0, which is how Taskonomy stores depth (`log` = 11.1).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from rgbx.datasets.sample import MapSpec

FIXED = ("rgb8", "encoded", "unit_vector")  # units whose files leave no choice of scale


@dataclass(frozen=True)
class Encoding:
    """How a map's values lie in whole numbers: stored = (value - add) * scale, of `bits` bits.

    With `log`, stored = exp(log * value) - 1, and the largest whole number where value is 0.
    """

    bits: int
    scale: float
    add: float
    log: float | None = None

    @property
    def largest(self) -> int:
        return 2**self.bits - 1

    @property
    def highest(self) -> float:
        """The largest value that a file holds."""
        if self.log is not None:
            return math.log(self.largest) / self.log  # of the whole number before the one that is no measurement
        return self.largest / self.scale + self.add


def encoding_of(
    spec: MapSpec,
    *,
    scale: float | None = None,
    add: float | None = None,
    bits: int | None = None,
    log: float | None = None,
) -> Encoding:
    """The encoding of a map: what is given over the default of its unit, see the table above.

    Raises:
        ValueError: an unknown unit, bits other than 8 and 16, a scale or log that is not a positive number, or an
            option that the unit does not have.
    """
    colours = spec.unit in ("rgb8", "encoded")
    bits = (8 if colours else 16) if bits is None else bits
    if bits not in (8, 16) or (colours and bits != 8):
        raise ValueError(f"{spec.name} ({spec.unit}): bits is {bits}; expected {'8' if colours else '8 or 16'}")
    largest = 2**bits - 1
    scales = {"rgb8": 1, "encoded": 1, "metre": 1000, "sensor": 1, "relative": largest, "unit_vector": largest / 2}
    if spec.unit not in scales:
        raise ValueError(f"{spec.name}: the unit {spec.unit!r} has no file format; known: {sorted(scales)}")
    if add is not None and (spec.unit != "sensor" or not math.isfinite(add)):
        has = "takes a finite number" if spec.unit == "sensor" else "has no add"
        raise ValueError(f"{spec.name}: add is {add}; unit {spec.unit!r} {has}")
    if log is not None and (spec.unit != "relative" or scale is not None or bits != 16 or not 0 < log < math.inf):
        raise ValueError(f"{spec.name}: log={log} is for relative maps of 16 bits, a number > 0 and no scale beside it")
    if scale is not None and (spec.unit in FIXED or not 0 < scale < math.inf):
        raise ValueError(f"{spec.name}: scale is {scale}; unit {spec.unit!r} takes {_allowed(spec.unit)}")
    default_add = -1.0 if spec.unit == "unit_vector" else 0.0
    scale = float(scales[spec.unit] if scale is None else scale)
    return Encoding(bits, scale, default_add if add is None else add, log)


def encode_map(array: np.ndarray, spec: MapSpec, code: Encoding, *, where: str = "a map") -> np.ndarray:
    """The whole numbers that a file holds, uint8 or uint16 of the array's shape.

    Raises:
        ValueError: see `write_map`; `where` begins the message.
    """
    if array.ndim < 2 or array.shape != spec.shape(*array.shape[:2]):
        expected = "[H, W]" if spec.channels == 1 else f"[H, W, {spec.channels}]"
        raise ValueError(f"{where}: {spec.name} must be {expected}, found {array.shape}")
    values = array.astype(np.float64)
    if not np.isfinite(values).all():
        raise ValueError(f"{where}: {spec.name} contains NaN or infinity")
    if code.log is not None:
        return _encode_log(values, spec, code, where=where)
    stored = np.rint((values - code.add) * code.scale)
    if spec.unit == "metre":
        stored = np.where(values > 0, np.maximum(stored, 1), stored)
    if stored.size and (stored.min() < 0 or stored.max() > code.largest):
        low, high = code.add, code.highest
        raise ValueError(
            f"{where}: {spec.name} holds {values.min():.6g} to {values.max():.6g}, but {code.bits} bits with scale "
            f"{code.scale:g} hold {low:.6g} to {high:.6g}; clip the values or choose another scale"
        )
    return stored.astype(np.uint16 if code.bits == 16 else np.uint8)


def _encode_log(values: np.ndarray, spec: MapSpec, code: Encoding, *, where: str) -> np.ndarray:
    stored = np.maximum(np.rint(np.expm1(values * code.log)), 1)
    if values.size and (values.min() < 0 or stored.max() >= code.largest):
        raise ValueError(
            f"{where}: {spec.name} holds {values.min():.6g} to {values.max():.6g}, but 16 bits with log {code.log:g} "
            f"hold 0 to {code.highest:.5f}; clip the values or choose another encoding"
        )
    return np.where(values > 0, stored, code.largest).astype(np.uint16)


def describe(spec: MapSpec, code: Encoding) -> str:
    """What a file's values mean, in one line."""
    if spec.unit in ("rgb8", "encoded"):
        return f"{spec.name}: {spec.unit}"
    if code.log is not None:
        return f"{spec.name}: {spec.unit} = log(1 + value) / {code.log:g}; {code.largest} = no measurement"
    add = f" {'+' if code.add > 0 else '-'} {abs(code.add):g}" if code.add else ""
    holes = {"metre": "; 0 = no measurement", "unit_vector": f"; {code.largest // 2 + 1} in all channels = no normal"}
    return f"{spec.name}: {spec.unit} = value / {code.scale:g}{add}{holes.get(spec.unit, '')}"


def _allowed(unit: str) -> str:
    return "none" if unit in FIXED else "a number > 0"
