"""What the header of an image file says, told from its bytes before anything is decoded."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

PNG, JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"  # how such files begin
EXR = b"v/1\x01"
_TIFFS = {b"II*\0": "<", b"MM\0*": ">", b"II+\0": "<", b"MM\0+": ">"}  # the last two are BigTIFF
_PNM = re.compile(rb"P[1-6]\s(?:\s|#[^\n]*\n)*(\d{1,9})(?:\s|#[^\n]*\n)+(\d{1,9})\s")
_PFM = re.compile(rb"P[Ff]\s+(\d{1,9})\s+(\d{1,9})\s")
_PAM = re.compile(rb"P7\s(?=.*?WIDTH\s+(\d{1,9}))(?=.*?HEIGHT\s+(\d{1,9}))(?=.*?DEPTH\s+(\d{1,4}))", re.DOTALL)
# tags of TIFF 6.0, section 8, and their whole numbers: BYTE, SHORT, LONG and LONG8
_SUBFILE, _WIDTH, _HEIGHT, _BITS, _COMPRESSION, _MEANING = 254, 256, 257, 258, 259, 262
_ORIENTATION, _SAMPLES, _STRIP_ROWS, _PLANES, _TILE_WIDTH, _TILE_HEIGHT = 274, 277, 278, 284, 322, 323
_STRIPS, _TILES = 273, 324  # where each begins; of these the number is told
_WANTED = {_SUBFILE, _WIDTH, _HEIGHT, _BITS, _COMPRESSION, _MEANING, _ORIENTATION, _SAMPLES, _STRIP_ROWS, _PLANES}
_WANTED |= {_TILE_WIDTH, _TILE_HEIGHT, _STRIPS, _TILES}
_WHOLE = {1: "B", 3: "H", 4: "I", 16: "Q"}
_NO_PAGE = 0b101  # a smaller copy of another image, or its mask
_ALIKE = (_WIDTH, _HEIGHT, _BITS, _SAMPLES, _MEANING, _TILE_WIDTH, _TILE_HEIGHT)
_LOSSY = (6, 7, 34712)  # JPEG, in two ways, and JPEG 2000
_MOST_TAGS, _MOST_PAGES = 4096, 65  # one more than any map has channels
_PNG_SAMPLES, _DENSEST = {2: 3, 4: 2, 6: 4}, 1032  # by colour type; how many times deflate packs at most
_USUAL_SCANS = 16  # of a progressive JPEG; each further one costs as much as decoding anew
# Huffman codes have a bit or more: at least one for each 8 × 8 block of a JPEG, so that 512 pixels take a byte
_MOST_PIXELS_PER_BYTE = 1024

TURNS = {  # how viewers show an image of each EXIF orientation but 1; turns are clockwise
    2: "mirrored left to right",
    3: "turned by 180°",
    4: "mirrored top to bottom",
    5: "mirrored left to right, then turned by 270°",
    6: "turned by 90°",
    7: "mirrored left to right, then turned by 90°",
    8: "turned by 270°",
}
Kind = Literal["PNG", "JPEG", "TIFF", "BMP", "WebP", "PNM", "OpenEXR"]


@dataclass(frozen=True)
class Header:
    """What decoding a file would make of it.

    Attributes:
        kind: the format, told from the first bytes and never from the name.
        height, width: in pixels.
        channels: the most that decoding makes.
        bits: of a stored channel.
        several: whether it holds several images: pages, or an animation.
        pages: how many a TIFF has that are no smaller copies or masks; 0 where not all its images are alike, in size,
            type and channels.
        samples: what a pixel of a PNG or TIFF has; 0 where the format is another.
        lossy: whether its compression changes values.
        indexed: whether its pixels are indices of a palette.
        inverted: whether 0 stands for white.
        work: pixels that decoding goes through beyond those of the image, such as a tile that is larger.
        least: bytes that the file must have, as its compression packs no denser; decoders make up rows without data.
    """

    kind: Kind
    height: int
    width: int
    channels: int = 4
    bits: int = 8
    several: bool = False
    pages: int = 1
    samples: int = 0
    lossy: bool = False
    indexed: bool = False
    inverted: bool = False
    work: int = 0
    least: int = 0

    @property
    def pixels(self) -> int:
        """How many decoding handles of an image."""
        return max(self.height * self.width, self.work)

    @property
    def nbytes(self) -> int:
        """What all take in memory."""
        return self.pixels * self.channels * max(self.bits, 8) // 8 * max(self.pages, 1)


def header_of(data: bytes) -> Header | None:
    """The header of a whole file; None for bytes that are none of the formats, or end within the header."""
    try:
        if data.startswith(PNG):
            return _png(data)
        if data.startswith(JPEG):
            return _jpeg(data)
        if _is_tiff(data):
            return _tiff(data)
        if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
            return _webp(data)
        if data.startswith(b"BM"):
            return _bmp(data)
        if data.startswith(EXR):
            return _exr(data)
    except (struct.error, IndexError, OverflowError, ValueError):
        return None
    return _pnm(data[:65536])


def turn_of(data: bytes) -> int:
    """The EXIF orientation of a whole file, 1..8; 1 where it states none, or none that there is."""
    try:
        for block in _exif_blocks(data):
            if block[:4] in _TIFFS:
                found = next(_directories(block), {}).get(_ORIENTATION, 1)
                return found if 1 <= found <= 8 else 1
    except (struct.error, IndexError, OverflowError):
        pass
    return 1


def upright(data: bytes) -> bytes:
    """A whole file in which a TIFF's orientation is 1: decoders turn a TIFF by it whatever they are told."""
    turns = [entry for page in _entries(data) for entry in page if entry[0] == _ORIENTATION] if _is_tiff(data) else []
    if not turns:
        return data
    changed = bytearray(data)
    for _, _, form, place in turns:
        struct.pack_into(form, changed, place, 1)
    return bytes(changed)


def _is_tiff(data: bytes) -> bool:
    return data[:4] in _TIFFS


def _exif_blocks(data: bytes) -> Iterator[bytes]:
    """The parts of a file that may be EXIF, which is a TIFF without pixels."""
    if _is_tiff(data):
        yield data
    elif data.startswith(JPEG):
        yield from (body[6:] for marker, body in _segments(data) if marker == 0xE1 and body.startswith(b"Exif\0\0"))
    elif data.startswith(PNG):
        yield from (body for kind, body in _chunks(data, len(PNG), ">I", 4) if kind == b"eXIf")
    elif data.startswith(b"RIFF"):
        yield from (body.removeprefix(b"Exif\0\0") for kind, body in _chunks(data, 12, "<I", 0) if kind == b"EXIF")


def _chunks(data: bytes, position: int, length_format: str, checksum: int) -> Iterator[tuple[bytes, bytes]]:
    """Kind and body of each chunk of a PNG (length first, checksum behind) or a RIFF (kind first, padded to even).

    Raises:
        IndexError: a chunk reaches beyond the file; decoders would make room for all that it claims.
    """
    while position + 8 <= len(data):
        first, second = data[position : position + 4], data[position + 4 : position + 8]
        kind, size = (second, first) if checksum else (first, second)
        (length,) = struct.unpack(length_format, size)
        if position + 8 + length + checksum > len(data):
            raise IndexError(f"chunk {kind!r} of {length} bytes")
        yield kind, data[position + 8 : position + 8 + length]
        position += 8 + length + (checksum or length % 2)


def _segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Marker and body of each segment of a JPEG before its first scan (ITU-T T.81, B.1)."""
    position = 2
    while position + 4 <= len(data):
        if data[position] != 0xFF:
            return
        marker = data[position + 1]
        if marker == 0xFF:  # a fill byte
            position += 1
            continue
        if marker == 0x01 or 0xD0 <= marker <= 0xD8:  # without a body
            position += 2
            continue
        if marker in (0xD9, 0xDA):
            return
        (length,) = struct.unpack_from(">H", data, position + 2)
        yield marker, data[position + 4 : position + 2 + length]
        position += 2 + max(length, 2)


def _png(data: bytes) -> Header | None:
    if data[12:16] != b"IHDR":
        return None
    width, height, bits, colours = struct.unpack_from(">IIBB", data, 16)
    kinds = set()
    for kind, _ in _chunks(data, len(PNG), ">I", 4):
        kinds.add(kind)
        if kind == b"IEND":
            break
    channels = 1 if colours == 0 and b"tRNS" not in kinds else 4
    samples = _PNG_SAMPLES.get(colours, 1)
    least = height * (width * samples * bits // 8) // _DENSEST
    animated = b"acTL" in kinds
    return Header("PNG", height, width, channels, bits, animated, samples=samples, indexed=colours == 3, least=least)


def _jpeg(data: bytes) -> Header | None:
    for marker, body in _segments(data):
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            bits, height, width, channels = struct.unpack_from(">BHHB", body)
            if marker < 0xC8 and len(data) < height * width // _MOST_PIXELS_PER_BYTE:
                return None  # decoders paint what is missing in grey
            work = height * width * data.count(b"\xff\xda") // _USUAL_SCANS
            return Header("JPEG", height, width, channels, bits, lossy=True, work=work)
    return None


def _tiff(data: bytes) -> Header | None:
    tags, *others = [*_directories(data)] or [{}]
    if _WIDTH not in tags or _HEIGHT not in tags:
        return None
    more = [further for further in others if not further.get(_SUBFILE, 0) & _NO_PAGE]
    alike = all(further.get(tag) == tags.get(tag) for further in others for tag in _ALIKE)
    if any(page.get(_STRIPS, page.get(_TILES, 0)) < _parts(page) for page in (tags, *more)):
        return None  # decoders leave the rows that have no data as they are in memory
    meaning = tags.get(_MEANING)  # 0: white is 0, 3: palette
    return Header(
        "TIFF",
        tags[_HEIGHT],
        tags[_WIDTH],
        4 if meaning == 3 else tags.get(_SAMPLES, 1),
        tags.get(_BITS, 1),
        bool(more),
        (1 + len(more)) * (alike or not more),
        tags.get(_SAMPLES, 1),
        tags.get(_COMPRESSION) in _LOSSY,
        meaning == 3,
        meaning == 0,
        tags.get(_TILE_WIDTH, 0) * tags.get(_TILE_HEIGHT, 0),
    )


def _parts(tags: Mapping[int, int]) -> int:
    """How many strips or tiles the image of a directory consists of."""
    height, width = tags.get(_HEIGHT, 0), tags.get(_WIDTH, 0)
    planes = tags.get(_SAMPLES, 1) if tags.get(_PLANES) == 2 else 1
    if _STRIPS in tags:
        return planes * -(-height // max(tags.get(_STRIP_ROWS, height), 1))
    return planes * -(-height // max(tags.get(_TILE_HEIGHT, 1), 1)) * -(-width // max(tags.get(_TILE_WIDTH, 1), 1))


def _directories(data: bytes) -> Iterator[dict[int, int]]:
    """The first value of each wanted tag, by directory, and of strips and tiles their number."""
    for entries in _entries(data):
        tags: dict[int, int] = {}
        for tag, number, form, place in entries:
            (tags[tag],) = (number,) if tag in (_STRIPS, _TILES) else struct.unpack_from(form, data, place)
        yield tags


def _entries(data: bytes) -> Iterator[list[tuple[int, int, str, int]]]:
    """By directory: each wanted tag, how many values it has, their form, and where they begin.

    Source: TIFF 6.0, section 2; BigTIFF has wider numbers.
    """
    order, big = _TIFFS[data[:4]], b"+" in data[2:4]
    offset, count, entry, value = ("Q", "Q", 20, 12) if big else ("I", "H", 12, 8)
    (position,) = struct.unpack_from(order + offset, data, 8 if big else 4)
    seen: set[int] = set()
    while position and position not in seen and len(seen) < _MOST_PAGES:
        seen.add(position)
        (entries,) = struct.unpack_from(order + count, data, position)
        position += struct.calcsize(count)
        found = []
        for start in range(position, position + min(entries, _MOST_TAGS) * entry, entry):
            tag, kind, number = struct.unpack_from(f"{order}HH{offset}", data, start)
            if tag not in _WANTED or kind not in _WHOLE or not number:
                continue
            place, form = start + value, order + _WHOLE[kind]
            if number * struct.calcsize(form) > entry - value:
                (place,) = struct.unpack_from(order + offset, data, place)
            found.append((tag, number, form, place))
        yield found
        (position,) = struct.unpack_from(order + offset, data, position + entries * entry)


def _webp(data: bytes) -> Header | None:
    width = height = 0
    animated = lossy = False
    for kind, body in _chunks(data, 12, "<I", 0):
        if kind == b"VP8X":
            width, height = (1 + int.from_bytes(body[start : start + 3], "little") for start in (4, 7))
        elif kind == b"VP8L":
            (size,) = struct.unpack_from("<I", body, 1)
            width, height = max(width, (size & 0x3FFF) + 1), max(height, (size >> 14 & 0x3FFF) + 1)
        elif kind == b"VP8 ":
            lossy = True
            sides = struct.unpack_from("<HH", body, 6)
            width, height = max(width, sides[0] & 0x3FFF), max(height, sides[1] & 0x3FFF)
        elif kind in (b"ANIM", b"ANMF"):
            animated = True
    return Header("WebP", height, width, several=animated, lossy=lossy) if width else None


def _bmp(data: bytes) -> Header | None:
    """A negative height tells that the top row comes first; up to 8 bits are indices of a palette."""
    (length,) = struct.unpack_from("<I", data, 14)
    width, height, _, bits = struct.unpack_from("<HHHH" if length == 12 else "<iiHH", data, 18)
    return Header("BMP", abs(height), abs(width), indexed=bits <= 8)


def _exr(data: bytes) -> Header | None:
    """OpenEXR file layout: attributes are name, type, length and value; an empty name ends them."""
    position = 8
    while data[position]:
        name = data.index(b"\0", position)
        kind = data.index(b"\0", name + 1)
        (length,) = struct.unpack_from("<I", data, kind + 1)
        if data[position:name] == b"dataWindow":
            left, top, right, bottom = struct.unpack_from("<4i", data, kind + 5)
            return Header("OpenEXR", bottom - top + 1, right - left + 1, bits=32)
        position = kind + 5 + length
    return None


def _pnm(data: bytes) -> Header | None:
    for form, bits in ((_PNM, 16), (_PFM, 32), (_PAM, 16)):
        found = form.match(data)
        if found is not None:
            channels = int(found[3]) if form is _PAM else 3
            return Header("PNM", int(found[2]), int(found[1]), channels, bits, inverted=data[:2] in (b"P1", b"P4"))
    return None
