"""Image files to arrays, without the conversions that lose what the file holds.

All functions keep the raster as stored (an EXIF orientation is ignored, since the depth beside the
photo has none) and refuse a file that does not hold what was asked for, naming the path.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from rgbx.datasets.sample import IGNORE_INDEX

_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8\xff"
_GREY, _PALETTE = 0, 3  # PNG colour types
# A JPEG has 8 bits per channel and no alpha, so OpenCV >= 4.11 may write RGB at once.
_RGB = getattr(cv2, "IMREAD_COLOR_RGB", None)
_JPEG_RGB = None if _RGB is None else _RGB | cv2.IMREAD_IGNORE_ORIENTATION


def read_image(path: str | Path) -> np.ndarray:
    """Decodes a file as it is: its own bit depth and channels, colours in RGB or RGBA order.

    Returns:
        [H, W] or [H, W, C]; a palette PNG comes as its colours (`read_label` gives its indices).

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is truncated or no image.
    """
    return _decode(_load(path), path)


def read_rgb(path: str | Path) -> np.ndarray:
    """Reads an 8-bit colour or grey image; alpha is dropped, grey is repeated.

    Returns:
        uint8 [H, W, 3], RGB order.

    Raises:
        FileNotFoundError, ValueError: missing, truncated, or not 8 bits per channel.
    """
    data = _load(path)
    if data.startswith(_JPEG) and _JPEG_RGB is not None:
        return _decode(data, path, _JPEG_RGB)
    image = _decode(data, path)
    if image.dtype != np.uint8:
        raise ValueError(f"rgb {path}: expected 8 bits per channel, found {image.dtype}; is this a depth image?")
    if image.ndim == 2:
        return cv2.cvtColor(image, cv2.COLOR_GRAY2RGB)
    return np.ascontiguousarray(image[:, :, :3])


def read_depth16(path: str | Path, *, divisor: float) -> np.ndarray:
    """Reads 16-bit depth in metres; 0 stays 0 = no measurement.

    Args:
        path: a one-channel 16-bit image.
        divisor: raw units per metre: 1000 for millimetres, 5000 in the AsymFusion lists.

    Returns:
        float32 [H, W], metres.

    Raises:
        FileNotFoundError, ValueError: missing, truncated, or not one channel of 16 bits.
    """
    if not divisor > 0:
        raise ValueError(f"divisor must be > 0 (raw units per metre), found {divisor}")
    raw = read_image(path)
    if raw.ndim != 2 or raw.dtype != np.uint16:
        raise ValueError(
            f"depth {path}: expected one channel of 16 bits, found {stored_kind(raw)}; "
            "an 8-bit depth image carries no metres unless its scale is known"
        )
    return np.divide(raw, np.float32(divisor), dtype=np.float32)


def read_depth8(
    path: str | Path, *, levels_per_metre: float = 25.5, half_step: float = 0.5, holes: bool = False
) -> np.ndarray:
    """Reads 8-bit depth of known scale: metres = (value + half_step) / levels_per_metre.

    The defaults are those of the public 320x240 copy of NYU Depth V2, where depth is filled.

    Args:
        path: a one-channel 8-bit image.
        levels_per_metre: steps of the stored values per metre.
        half_step: 0.5 where a value stands for the middle of its step.
        holes: whether the value 0 is no measurement and stays 0; otherwise it is the nearest step.

    Returns:
        float32 [H, W], metres.

    Raises:
        FileNotFoundError, ValueError: missing, truncated, or not one channel of 8 bits.
    """
    raw = read_image(path)
    if raw.ndim != 2 or raw.dtype != np.uint8:
        raise ValueError(f"depth {path}: expected one channel of 8 bits, found {stored_kind(raw)}")
    metres = (raw.astype(np.float32) + np.float32(half_step)) / np.float32(levels_per_metre)
    return np.where(raw > 0, metres, np.float32(0)) if holes else metres


def read_label(path: str | Path, lookup: np.ndarray | None = None) -> np.ndarray:
    """Reads class ids: grey values, or the indices (never the colours) of a palette PNG.

    Args:
        path: a one-channel image; 16 bits pass if every value fits into 8.
        lookup: uint8 [256], stored value to train id, see `offset_lookup`. None keeps values.

    Returns:
        uint8 [H, W].

    Raises:
        FileNotFoundError, ValueError: missing, truncated, colours, or ids above 255.
    """
    data = _load(path)
    if data.startswith(_PNG) and data[25] == _PALETTE:
        values = _decode_palette(data, path)
    else:
        values = _decode(data, path)
        if data.startswith(_PNG) and data[25] == _GREY and data[24] < 8:
            values = values // (255 // (2 ** data[24] - 1))  # decoders stretch 1, 2, 4 bits
    if values.ndim != 2:
        raise ValueError(
            f"label {path}: expected one channel of class ids, found {stored_kind(values)}; "
            "colour-coded labels must be converted to ids first"
        )
    if values.dtype != np.uint8:
        if values.max() > IGNORE_INDEX:
            raise ValueError(
                f"label {path}: ids must be 0..255, found {values.max()} in "
                f"{values.dtype}; is this an instance or a depth image?"
            )
        values = values.astype(np.uint8)
    return values if lookup is None else cv2.LUT(values, lookup)


def offset_lookup(offset: int, void: Iterable[int] = ()) -> np.ndarray:
    """Table for `read_label`: train id = value - offset; void values and 255 become 255.

    Args:
        offset: 1 where the file counts void as 0.
        void: stored values that mean "no class".

    Returns:
        uint8 [256].

    Raises:
        ValueError: a value below the offset that is not declared void.
    """
    void = {*void, IGNORE_INDEX}
    negative = [value for value in range(offset) if value not in void]
    if negative:
        raise ValueError(f"label offset {offset} makes ids negative for values {negative}: list them in void")
    values = range(IGNORE_INDEX + 1)
    ids = [IGNORE_INDEX if value in void else value - offset for value in values]
    return np.array(ids, dtype=np.uint8)


def inverse_lookup(lookup: np.ndarray) -> np.ndarray:
    """uint8 [256]: train id to the smallest value that `lookup` (uint8 [256]) maps to it; other ids as 255."""
    inverse = np.full(256, int(np.argmax(lookup == IGNORE_INDEX)), np.uint8)
    ids, values = np.unique(lookup, return_index=True)
    inverse[ids] = values
    return inverse


def _load(path: str | Path) -> bytes:
    path = Path(path)
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: no such file") from None
    incomplete = (data.startswith(_PNG) and b"IEND" not in data[-4096:]) or (
        data.startswith(_JPEG) and data.rfind(b"\xff\xd9", len(data) // 2) < 0
    )
    if not data or incomplete:
        raise ValueError(f"{path}: the file is truncated ({len(data)} bytes)")
    return data


def _decode(data: bytes, path: str | Path, flags: int = cv2.IMREAD_UNCHANGED) -> np.ndarray:
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error:
        image = None
    if image is None:
        raise ValueError(f"{path}: the file is damaged or no image ({len(data)} bytes)")
    if image.ndim == 3 and flags == cv2.IMREAD_UNCHANGED:
        code = cv2.COLOR_BGRA2RGBA if image.shape[2] == 4 else cv2.COLOR_BGR2RGB
        image = cv2.cvtColor(image, code)
    return image


def _decode_palette(data: bytes, path: str | Path) -> np.ndarray:
    """Indices of a palette PNG: OpenCV can only give its colours."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            return np.array(image)
    except (OSError, SyntaxError, struct.error) as error:
        raise ValueError(f"{path}: the file is damaged ({error})") from error


def stored_kind(array: np.ndarray) -> str:
    """ "1 channel of 16 bits", for messages."""
    channels = 1 if array.ndim == 2 else array.shape[2]
    return f"{channels} channel{'s' if channels > 1 else ''} of {array.itemsize * 8} bits"
