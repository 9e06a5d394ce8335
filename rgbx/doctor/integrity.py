"""Whether an image file is whole, told from its bytes without decoding."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

from rgbx._files import existing_file
from rgbx.maps.files import JPEG, PNG

_TAIL = 4096


def file_fault(path: Path) -> str:
    """ "" for a file that is there and ends as its format demands; else what is wrong with it.

    Reads the first bytes and the last 4096 only, so that all files of a dataset can be asked.
    """
    try:
        size = existing_file(path).stat().st_size
        with path.open("rb") as file:
            head = file.read(len(PNG))
            file.seek(-min(size, _TAIL), 2)
            tail = file.read()
    except FileNotFoundError:
        return "missing"
    except ValueError as error:
        return str(error).removeprefix(f"{path}: ")
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    if not size:
        return "empty"
    cut = (head == PNG and b"IEND" not in tail) or (head.startswith(JPEG) and not _jpeg_ends(path, tail))
    return f"truncated ({size} bytes)" if cut else ""


def _jpeg_ends(path: Path, tail: bytes) -> bool:
    """Whether the end marker stands in the second half; other data may follow it."""
    if b"\xff\xd9" in tail:
        return True
    data = path.read_bytes()
    return data.rfind(b"\xff\xd9", len(data) // 2) >= 0


def png_fault(path: Path) -> str:
    """ "" unless a chunk of a PNG does not match its checksum (PNG specification, 5.3)."""
    data = memoryview(path.read_bytes())
    if data[: len(PNG)] != PNG:
        return ""
    position = len(PNG)
    while position + 12 <= len(data):
        (length,) = struct.unpack(">I", data[position : position + 4])
        body = data[position + 4 : position + 8 + length]
        stored = data[position + 8 + length : position + 12 + length]
        if len(stored) < 4 or zlib.crc32(body) != struct.unpack(">I", stored)[0]:
            return f"damaged (checksum of the chunk at byte {position})"
        if body[:4] == b"IEND":
            return ""
        position += 12 + length
    return "damaged (no end chunk)"


def file_size(path: Path) -> int:
    """Bytes; 0 where there is no readable file."""
    try:
        return path.stat().st_size
    except OSError:
        return 0
