"""Maps as PNG files, both ways: 16 bits where the values need them, and nothing rounded or wrapped without a word.

A file holds value = (map - add) * scale as whole numbers. The defaults, by the unit of the map:

| unit | bits | scale | add | the file then holds |
|---|---|---|---|---|
| rgb8, encoded | 8 | 1 | 0 | the colours |
| metre | 16 | 1000 | 0 | millimetres up to 65.535 m, 0 = no measurement |
| sensor | 16 | 1 | 0 | the sensor's values |
| relative | 16 | 65535 | 0 | 0..1 over the whole range |
| unit_vector | 16 | 32767.5 | -1 | -1..1 over the whole range; 32768 in all channels = no normal |

`scale`, `add` and `bits` mean what they mean in a `dataset.toml` (`rgbx.datasets.folder`), which reads these files.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from rgbx.datasets.files import Reader
from rgbx.datasets.grey import read_relative, read_sensor
from rgbx.datasets.reading import read_depth8, read_depth16, read_rgb
from rgbx.datasets.sample import MapSpec
from rgbx.datasets.vectors import read_unit_vectors
from rgbx.datasets.writing import replace_file

_FIXED = ("rgb8", "encoded", "unit_vector")  # units whose files leave no choice of scale
_IEND = 12  # bytes of the chunk that ends a PNG


@dataclass(frozen=True)
class Encoding:
    """How a map's values lie in whole numbers: stored = (value - add) * scale, of `bits` bits."""

    bits: int
    scale: float
    add: float

    @property
    def largest(self) -> int:
        return 2**self.bits - 1


def encoding_of(
    spec: MapSpec, *, scale: float | None = None, add: float | None = None, bits: int | None = None
) -> Encoding:
    """The encoding of a map: what is given over the default of its unit, see the table above.

    Raises:
        ValueError: an unknown unit, bits other than 8 and 16, a scale that is not positive, or an option that the unit
            does not have.
    """
    colours = spec.unit in ("rgb8", "encoded")
    bits = (8 if colours else 16) if bits is None else bits
    if bits not in (8, 16) or (colours and bits != 8):
        raise ValueError(f"{spec.name} ({spec.unit}): bits is {bits}; expected {'8' if colours else '8 or 16'}")
    largest = 2**bits - 1
    scales = {"rgb8": 1, "encoded": 1, "metre": 1000, "sensor": 1, "relative": largest, "unit_vector": largest / 2}
    if spec.unit not in scales:
        raise ValueError(f"{spec.name}: the unit {spec.unit!r} has no file format; known: {sorted(scales)}")
    if add is not None and spec.unit != "sensor":
        raise ValueError(f"{spec.name}: unit {spec.unit!r} has no add")
    if scale is not None and (spec.unit in _FIXED or not scale > 0):
        raise ValueError(f"{spec.name}: scale is {scale}; unit {spec.unit!r} takes {_allowed(spec.unit)}")
    default_add = -1.0 if spec.unit == "unit_vector" else 0.0
    return Encoding(bits, float(scales[spec.unit] if scale is None else scale), default_add if add is None else add)


def write_map(
    path: str | Path,
    array: np.ndarray,
    spec: MapSpec,
    *,
    scale: float | None = None,
    add: float | None = None,
    bits: int | None = None,
) -> None:
    """Writes a map as a PNG that says in its text what its values mean; `read_map` gives the values back.

    Values are rounded to the nearest step of the file. A depth that was measured never becomes 0, which means that
    there is none; it is at least one step.

    Args:
        path: with the suffix .png; replaced whole if it is there.
        array: [H, W] or [H, W, C] in the unit of the spec, of any real dtype; colours may be fractions of a step.
        spec: what the map means, such as `STANDARD_MAPS["depth"]`.
        scale: of metre, steps per metre; of sensor, steps per unit; of relative, the value that stands for 1.
        add: of sensor, what reading adds to value / scale.
        bits: 8 or 16.

    Raises:
        ValueError: another suffix, a shape that is not the spec's, or values that the file cannot hold; the message
            names the file and says which.
        OSError: the file cannot be written.
    """
    code = encoding_of(spec, scale=scale, add=add, bits=bits)
    if Path(path).suffix.lower() != ".png":
        raise ValueError(f"{path}: maps are written as PNG, which loses nothing; expected the suffix .png")
    stored = encode_map(array, spec, code, where=str(path))
    content = cv2.imencode(".png", stored[..., ::-1] if stored.ndim == 3 else stored)[1].tobytes()
    replace_file(Path(path), _with_text(content, describe(spec, code)))


def read_map(
    path: str | Path,
    spec: MapSpec,
    *,
    scale: float | None = None,
    add: float | None = None,
    bits: int | None = None,
) -> np.ndarray:
    """Reads a map as `write_map` writes it, and images of the same kind that others wrote.

    Args:
        path: an image; without `bits`, maps that are relative, a sensor's or normals may have 8 or 16.
        spec, scale, add, bits: see `write_map`.

    Returns:
        [H, W] or [H, W, C] as the spec says.

    Raises:
        FileNotFoundError, ValueError: missing, truncated, or not what the spec says.
    """
    code = encoding_of(spec, scale=scale, add=add, bits=bits)
    readers: dict[str, Reader] = {
        "rgb8": read_rgb,
        "encoded": read_rgb,
        "sensor": partial(read_sensor, scale=code.scale, add=code.add),
        "relative": partial(read_relative, full=scale),
        "unit_vector": partial(read_unit_vectors, normalise=False),
        "metre": partial(read_depth16, divisor=code.scale),
    }
    if spec.unit == "metre" and code.bits == 8:
        readers["metre"] = partial(read_depth8, levels_per_metre=code.scale, half_step=0.0)
    array = readers[spec.unit](Path(path))
    if array.shape != spec.shape(*array.shape[:2]):
        raise ValueError(f"{path}: {spec.name} has {spec.channels} channels, found an array {array.shape}")
    return array


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
    stored = np.rint((values - code.add) * code.scale)
    if spec.unit == "metre":
        stored = np.where(values > 0, np.maximum(stored, 1), stored)
    if stored.size and (stored.min() < 0 or stored.max() > code.largest):
        low, high = code.add, code.largest / code.scale + code.add
        raise ValueError(
            f"{where}: {spec.name} holds {values.min():.6g} to {values.max():.6g}, but {code.bits} bits with scale "
            f"{code.scale:g} hold {low:.6g} to {high:.6g}; clip the values or choose another scale"
        )
    return stored.astype(np.uint16 if code.bits == 16 else np.uint8)


def describe(spec: MapSpec, code: Encoding) -> str:
    """What a file's values mean, in one line."""
    if spec.unit in ("rgb8", "encoded"):
        return f"{spec.name}: {spec.unit}"
    add = f" {'+' if code.add > 0 else '-'} {abs(code.add):g}" if code.add else ""
    holes = {"metre": "; 0 = no measurement", "unit_vector": f"; {code.largest // 2 + 1} in all channels = no normal"}
    return f"{spec.name}: {spec.unit} = value / {code.scale:g}{add}{holes.get(spec.unit, '')}"


def _allowed(unit: str) -> str:
    return "none" if unit in _FIXED else "a number > 0"


def _with_text(png: bytes, text: str) -> bytes:
    """The PNG with a text chunk before its end (PNG specification, 11.3.4.3)."""
    body = b"tEXt" + b"Description\0" + text.encode("latin-1", "replace")
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    return png[:-_IEND] + chunk + png[-_IEND:]
