"""Arrays of NumPy's own files, told from their bytes: never by unpickling, and never more than a stated size."""

from __future__ import annotations

import io
import lzma
import math
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from typing import IO, NamedTuple

import numpy as np
from PIL import Image

from rgbx._files import MOST_BYTES, File, FileInMemory
from rgbx.maps.spec import MOST_CHANNELS

_NPY, _ZIP = b"\x93NUMPY", b"PK\x03\x04"
LAYOUTS = ("HWC", "CHW")  # of arrays of three axes: where the channels are
_MOST_HEADER = 1 << 16  # bytes of an .npy that NumPy writes
_PACKINGS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # NumPy's; others unpack a thousandfold more in one go
_BLOCK = 1 << 20  # bytes or pixels that are worked on at once
# What decoders raise for damaged bytes; `Image.DecompressionBombError` is a plain Exception.
DECODER_ERRORS = (
    *(ArithmeticError, AttributeError, EOFError, IndexError, KeyError, MemoryError, OSError, RuntimeError, SyntaxError),
    *(TypeError, ValueError, lzma.LZMAError, struct.error, tokenize.TokenError, zlib.error, zipfile.BadZipFile),
    Image.DecompressionBombError,
)


def array_of(data: bytes, path: File, key: str, layout: str = "HWC") -> np.ndarray | None:
    """The array of an .npy, or of the member `key` of an .npz.

    Args:
        data: all bytes of a file.
        path: of that file, for messages.
        key: may be left out where the .npz has one array.
        layout: of three axes in the file, one of `LAYOUTS`.

    Returns:
        [H, W] or [H, W, C] in the machine's byte order, whatever the layout, one channel as [H, W] and truth values as
        uint8; None for other files, which have no key.

    Raises:
        ValueError: damaged, too large, another shape, or no real numbers.
    """
    values: bytearray | memoryview
    if data.startswith(_ZIP):
        form, values = _member(data, path, key, layout)
    elif key:
        raise ValueError(f"{path}: key {key!r} names an array of an .npz, found another kind of file")
    elif not data.startswith(_NPY):
        return None
    else:
        form = _form(data, path, layout)
        values = memoryview(data)[form.start :]
    shape, dtype, left = form.shape, form.dtype, len(values)
    if form.nbytes > left:
        raise ValueError(f"{path}: the file is truncated: {shape} of {dtype} has more than the {left} bytes there")
    channels = 1 if len(shape) == 2 else shape[-1] if layout == "HWC" else shape[0]
    if len(shape) not in (2, 3) or not form.size or channels > MOST_CHANNELS:
        expected = f"[{', '.join(layout)}]"
        raise ValueError(f"{path}: expected an array [H, W] or {expected}, found {shape}{other_layout(shape, layout)}")
    array = np.frombuffer(values, dtype, form.size).reshape(shape, order="F" if form.by_columns else "C")
    native = np.uint8 if dtype.kind == "b" else dtype.newbyteorder("=")
    array = array.transpose(1, 2, 0) if array.ndim == 3 and layout == "CHW" else array
    array = array[..., 0] if array.shape[2:] == (1,) else array
    return np.require(array.view(native) if dtype.kind == "b" else array, native, ("C", "W", "ALIGNED"))


def other_layout(shape: tuple[int, ...], layout: str, channels: int = MOST_CHANNELS) -> str:
    """What to say of an array of at most so many channels that may lie on the other axis."""
    first = layout == "HWC"
    many = len(shape) == 3 and 1 < shape[0 if first else 2] <= channels < shape[2 if first else 0]
    return f'; are its channels {"first" if first else "last"}? State layout = "{LAYOUTS[first]}"' if many else ""


def row_blocks(shape: tuple[int, ...]) -> Iterator[slice]:
    """Blocks of the rows of [H, W, ...], so that what is computed of an image takes no multiple of its memory."""
    rows = max(1, _BLOCK // max(1, math.prod(shape[1:])))
    return (slice(start, start + rows) for start in range(0, shape[0], rows))


class _RefusedError(ValueError):
    """A header of an array that is not read."""


class _Form(NamedTuple):
    """What the header of an .npy says, and where its values start."""

    shape: tuple[int, ...]
    by_columns: bool
    dtype: np.dtype
    start: int

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        return self.size * self.dtype.itemsize


def _form(data: bytes, path: File, layout: str) -> _Form:
    """The header of an .npy, or of its first bytes; refuses other than real numbers, and too many of them."""
    file = io.BytesIO(data)
    try:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        form = _Form(*read(file), file.tell())
    except DECODER_ERRORS as error:
        raise _RefusedError(f"{path}: damaged header of a NumPy array ({' '.join(str(error).split())[:80]})") from error
    if form.dtype.kind not in "biuf" or form.dtype.itemsize > 8:
        raise _RefusedError(f"{path}: expected an array of real numbers of at most 64 bits, found {form.dtype}")
    sides = form.shape[-2:] if layout == "CHW" else form.shape[:2]
    if isinstance(path, FileInMemory) and (pixels := math.prod(sides)) > path.most_pixels:
        raise _RefusedError(
            f"{path}: an array {form.shape} has {pixels} pixels; at most {path.most_pixels} are read: resize it, or "
            "cut it into parts"
        )
    return form


def _member(data: bytes, path: File, key: str, layout: str) -> tuple[_Form, bytearray]:
    """Header and values of one array of an .npz; the header is looked at before the values are unpacked."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = {item.filename.removesuffix(".npy"): item for item in archive.infolist()}
            chosen = members.get(key or next(iter(members), "")) if key or len(members) == 1 else None
            if chosen is not None and chosen.compress_type not in _PACKINGS:
                raise _RefusedError(f"{path}: its array is packed in another way than NumPy packs; save it anew")
            if chosen is not None and chosen.file_size <= MOST_BYTES:
                with archive.open(chosen) as member:
                    return _unpacked(member, path, layout)
    except _RefusedError:
        raise
    except DECODER_ERRORS as error:
        raise ValueError(f"{path}: damaged archive of arrays ({error})") from error
    if chosen is not None:
        raise ValueError(f"{path}: its array has {chosen.file_size} bytes; at most {MOST_BYTES} are read")
    found = f"key {key!r}" if key else "no key"
    raise ValueError(f"{path}: expected the key of one of its arrays {sorted(members)[:20]}, found {found}")


def _unpacked(member: IO[bytes], path: File, layout: str) -> tuple[_Form, bytearray]:
    """Header and values, no more than the header says; the rest is gone through for the checksum at its end."""
    head = member.read(_MOST_HEADER)
    form = _form(head, path, layout)
    values = bytearray(head[form.start : form.start + form.nbytes])
    while block := member.read(_BLOCK):
        values += block[: form.nbytes - len(values)]
    return form, values
