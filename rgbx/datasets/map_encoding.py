"""Maps as PNG files, both ways: 16 bits where the values need them, and nothing rounded or wrapped without a word.

`rgbx.datasets.encoding` says what whole numbers the files hold.
"""

from __future__ import annotations

import struct
import zlib
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from rgbx.datasets.encoding import describe, encode_map, encoding_of
from rgbx.datasets.files import Reader
from rgbx.datasets.grey import read_log, read_relative, read_sensor
from rgbx.datasets.reading import read_depth8, read_depth16, read_image, read_rgb, stored_kind
from rgbx.datasets.sample import MapSpec
from rgbx.datasets.vectors import read_unit_vectors
from rgbx.datasets.writing import replace_file

_IEND = 12  # bytes of the chunk that ends a PNG


def write_map(
    path: str | Path,
    array: np.ndarray,
    spec: MapSpec,
    *,
    scale: float | None = None,
    add: float | None = None,
    bits: int | None = None,
    log: float | None = None,
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
        log: of relative, the factor of a logarithmic file, such as 11.1 of Taskonomy's depth.

    Raises:
        ValueError: another suffix, a shape that is not the spec's, or values that the file cannot hold; the message
            names the file and says which.
        OSError: the file cannot be written.
    """
    code = encoding_of(spec, scale=scale, add=add, bits=bits, log=log)
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
    log: float | None = None,
) -> np.ndarray:
    """Reads a map as `write_map` writes it, and images of the same kind that others wrote.

    Args:
        path: an image; without `bits` and `log`, maps that are relative, a sensor's or normals may have 8 or 16.
        spec, scale, add, bits, log: see `write_map`.

    Returns:
        [H, W] or [H, W, C] as the spec says.

    Raises:
        FileNotFoundError, ValueError: missing, truncated, or not what the spec says.
    """
    code = encoding_of(spec, scale=scale, add=add, bits=bits, log=log)
    if bits is not None:
        _check_bits(path, spec, bits)
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
    if log is not None:
        readers["relative"] = partial(read_log, log=log)
    array = readers[spec.unit](Path(path))
    if array.shape != spec.shape(*array.shape[:2]):
        raise ValueError(f"{path}: {spec.name} has {spec.channels} channels, found an array {array.shape}")
    return array


def _check_bits(path: str | Path, spec: MapSpec, bits: int) -> None:
    raw = read_image(path)
    if raw.dtype.kind != "u" or raw.itemsize * 8 != bits:
        raise ValueError(f"{path}: {spec.name} is to have {bits} bits, found {stored_kind(raw)}")


def _with_text(png: bytes, text: str) -> bytes:
    """The PNG with a text chunk before its end (PNG specification, 11.3.4.3)."""
    body = b"tEXt" + b"Description\0" + text.encode("latin-1", "replace")
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    return png[:-_IEND] + chunk + png[-_IEND:]
