"""Image files to arrays and back, without the conversions that lose what a file holds.

Reading keeps the raster as stored (an EXIF orientation is ignored, since the depth beside the photo has none) and
refuses a file that does not hold what was asked for, naming the path.
"""

from __future__ import annotations

import hashlib
import io
import struct
import uuid
import zlib
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from rgbx.maps.spec import IGNORE_INDEX

PNG, JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"  # how such files begin
_GREY, _PALETTE = 0, 3  # PNG colour types
_IEND = 12  # bytes of the chunk that ends a PNG
# A JPEG has 8 bits per channel and no alpha, so OpenCV >= 4.11 may write RGB at once.
_RGB = getattr(cv2, "IMREAD_COLOR_RGB", None)
_JPEG_RGB = None if _RGB is None else _RGB | cv2.IMREAD_IGNORE_ORIENTATION


def read_image(path: str | Path) -> np.ndarray:
    """Decodes a file as it is: its own bit depth and channels, colours in RGB or RGBA order.

    Returns:
        [H, W] or [H, W, C]; a palette PNG comes as its colours (`read_ids` gives its indices).

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
    if data.startswith(JPEG) and _JPEG_RGB is not None:
        return _decode(data, path, _JPEG_RGB)
    image = _decode(data, path)
    if image.dtype != np.uint8:
        raise ValueError(f"rgb {path}: expected 8 bits per channel, found {image.dtype}; is this a depth image?")
    if image.ndim == 2:
        return cv2.cvtColor(image, cv2.COLOR_GRAY2RGB)
    return np.ascontiguousarray(image[:, :, :3])


def read_grey(path: str | Path) -> np.ndarray:
    """Reads a one-channel image of any bit depth; colour channels pass if they are all equal.

    Some tools store grey images with three equal channels, or with an opaque alpha beside them.

    Returns:
        [H, W] in the file's own dtype: uint8, uint16 or float32.

    Raises:
        FileNotFoundError, ValueError: missing, truncated, or colours.
    """
    image = read_image(path)
    if image.ndim == 2:
        return image
    first = image[..., 0]
    if not (image[..., :3] == first[..., None]).all():
        raise ValueError(
            f"{path}: expected a grey image, found {image.shape[2]} channels with different values; "
            "is this a colour picture of the measurement?"
        )
    return np.ascontiguousarray(first)


def read_ids(path: str | Path) -> np.ndarray:
    """Reads class ids as stored: grey values, or the indices (never the colours) of a palette PNG.

    Args:
        path: a one-channel image; 16 bits pass if every value fits into 8.

    Returns:
        uint8 [H, W].

    Raises:
        FileNotFoundError, ValueError: missing, truncated, colours, or ids above 255.
    """
    data = _load(path)
    if data.startswith(PNG) and data[25] == _PALETTE:
        values = _decode_palette(data, path)
    else:
        values = _decode(data, path)
        if data.startswith(PNG) and data[25] == _GREY and data[24] < 8:
            values = values // (255 // (2 ** data[24] - 1))  # decoders stretch 1, 2, 4 bits
    if values.ndim != 2:
        raise ValueError(
            f"label {path}: expected one channel of class ids, found {stored_kind(values)}; "
            "colour-coded labels must be converted to ids first"
        )
    if values.dtype == np.uint8:
        return values
    if values.max() > IGNORE_INDEX:
        raise ValueError(
            f"label {path}: ids must be 0..255, found {values.max()} in {values.dtype}; "
            "is this an instance or a depth image?"
        )
    return values.astype(np.uint8)


def exif_turn(path: str | Path) -> int:
    """The EXIF orientation of an image file, which reading ignores: 1 (upright, or none is stated) to 8.

    Source: CIPA DC-008 (Exif 2.32), tag 0x0112.

    Raises:
        FileNotFoundError, ValueError: see `read_image`.
    """
    try:
        with Image.open(io.BytesIO(_load(path))) as image:
            turn = image.getexif().get(0x0112, 1)
    except (OSError, SyntaxError, ValueError, struct.error) as error:
        raise ValueError(f"{path}: the file is damaged or no image ({error})") from error
    return turn if turn in range(1, 9) else 1


def encode_png(array: np.ndarray, text: str = "") -> bytes:
    """A PNG without loss of 8 or 16 bits, [H, W] or RGB [H, W, 3], with a description if there is one.

    Raises:
        ValueError: an array that PNG cannot hold.
    """
    if array.dtype not in (np.uint8, np.uint16) or not (array.ndim == 2 or array.shape[2:] == (3,)):
        raise ValueError(f"expected 8 or 16 bits and one or three channels, found {array.dtype} of {array.shape}")
    png = cv2.imencode(".png", array[..., ::-1] if array.ndim == 3 else array)[1].tobytes()
    if not text:
        return png
    body = b"tEXt" + b"Description\0" + text.encode("latin-1", "replace")  # PNG specification, 11.3.4.3
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    return png[:-_IEND] + chunk + png[-_IEND:]


def replace_file(path: Path, content: bytes | memoryview) -> None:
    """Writes a file, and its folder if need be, so that no reader ever sees a part of it.

    Args:
        path: replaced if it is there.
        content: all of it.

    Raises:
        OSError: it cannot be written; nothing is left of it then.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex}.part")
    try:
        part.write_bytes(content)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def file_hash(path: str | Path) -> str:
    """SHA-256 of a file."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def stored_kind(array: np.ndarray) -> str:
    """ "1 channel of 16 bits" for [H, W] or [H, W, C], for messages."""
    channels = 1 if array.ndim == 2 else array.shape[2]
    return f"{channels} channel{'s' if channels > 1 else ''} of {array.itemsize * 8} bits"


def _load(path: str | Path) -> bytes:
    path = Path(path)
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: no such file") from None
    incomplete = (data.startswith(PNG) and b"IEND" not in data[-4096:]) or (
        data.startswith(JPEG) and data.rfind(b"\xff\xd9", len(data) // 2) < 0
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
