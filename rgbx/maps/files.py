"""Files of maps to arrays and back, without the conversions that lose what a file holds.

Images, `.npy` and `.npz` are told by their first bytes. Reading keeps the raster as stored (an EXIF orientation is
ignored, since the depth beside the photo has none; `exif_turn` tells it) and refuses, naming the path, a file that does
not hold what was asked for or that would take more than `MOST_BYTES` in memory.
"""

from __future__ import annotations

import errno
import hashlib
import io
import os
import struct
import zlib
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from rgbx._files import MOST_BYTES, MOST_PIXELS, File, FileInMemory, open_own, read_file
from rgbx._whole import naming, writing
from rgbx.maps.arrays import DECODER_ERRORS, array_of, other_layout, row_blocks
from rgbx.maps.header import JPEG, PNG, TURNS, Header, header_of, turn_of, upright
from rgbx.maps.spec import IGNORE_INDEX

_READ = "PNG, JPEG, TIFF, BMP, WebP, PNM, OpenEXR, .npy or .npz"
_IEND = 12  # bytes of the chunk that ends a PNG
# A JPEG has 8 bits per channel and no alpha, so OpenCV >= 4.11 may write RGB at once.
_RGB = getattr(cv2, "IMREAD_COLOR_RGB", None)
_JPEG_RGB = None if _RGB is None else _RGB | cv2.IMREAD_IGNORE_ORIENTATION
_CONVERTED = (np.uint8, np.uint16, np.float32)  # types whose channels OpenCV can turn round
_LOOKED_AT = 100_000  # wrong values, for a message


def read_image(path: File, key: str = "") -> np.ndarray:
    """Decodes a file as it is: its own type and channels, colours in RGB or RGBA order.

    Args:
        path: an image, `.npy` or `.npz`.
        key: the array of an `.npz`; may be left out where it has one.

    Returns:
        [H, W] or [H, W, C] with C > 1; a palette PNG comes as its colours (`read_stored_ids` gives its indices).

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is truncated, damaged, too large, holds several images, or none.
    """
    data = _load(path)
    found = array_of(data, path, key)
    return _decode(data, path) if found is None else found


def read_rgb(path: File, key: str = "", name: str = "rgb") -> np.ndarray:
    """Reads an 8-bit colour or grey image; alpha is dropped, grey is repeated.

    Args:
        path: see `read_image`.
        key: see `read_image`.
        name: of the map, for messages.

    Returns:
        uint8 [H, W, 3], RGB order.

    Raises:
        FileNotFoundError, ValueError: see `read_image`, or not 8 bits per channel.
    """
    data = _load(path)
    if data.startswith(JPEG) and _JPEG_RGB is not None and not key:
        return _decode(data, path, _JPEG_RGB)
    found = array_of(data, path, key)
    return rgb_of(_decode(data, path) if found is None else found, path, name)


def rgb_of(image: np.ndarray, path: File = "", name: str = "rgb") -> np.ndarray:
    """uint8 [H, W, 3] of colours or grey [H, W] or [H, W, C] of 8 bits; alpha is dropped, grey is repeated.

    Raises:
        ValueError: another type or other channels; names the map and the path.
    """
    if image.dtype != np.uint8:
        raise ValueError(
            f"{name} {path}: expected colours of 8 bits per channel, found {image.dtype}; is this a depth image?"
        )
    if image.ndim == 2:
        return cv2.cvtColor(image, cv2.COLOR_GRAY2RGB)
    if image.shape[2] not in (3, 4):
        raise ValueError(f"{name} {path}: expected [H, W, 3], found an array {image.shape}{_layout_hint(image)}")
    return np.ascontiguousarray(image[:, :, :3])


def read_bands(path: File, channels: int, key: str = "", layout: str = "", name: str = "a map") -> np.ndarray:
    """Reads a map of several channels that are measurements: an array, an image, or a TIFF of bands or pages.

    A PNG of two channels is grey with alpha, one of four colours with alpha, and these count as any other. A TIFF has
    its bands as samples of a pixel, which the package tifffile reads, or each as a page.

    Args:
        path: an image, `.npy` or `.npz`.
        channels: that it must have, 2 or more.
        key: see `read_image`.
        layout: of an array, "HWC" or "CHW"; "" for "HWC" unless the array fits both.
        name: of the map, for messages.

    Returns:
        [H, W, channels] in the file's own dtype.

    Raises:
        FileNotFoundError, ValueError: see `read_image`, or other channels; names the map and the path.
        ImportError: tifffile is needed, and is not installed.
    """
    data = _load(path)
    found = array_of(data, path, key, layout or "HWC")
    if found is None:
        return bands_of(_decode_bands(data, path, channels), channels, path, name)
    if not layout and found.shape == (channels, found.shape[1], channels):
        raise ValueError(
            f'{name} {path}: an array {found.shape} has its {channels} channels first or last; state layout = "HWC" or '
            'layout = "CHW"'
        )
    return bands_of(found, channels, path, name, layout or "HWC")


def bands_of(
    image: np.ndarray,  # [H, W] or [H, W, C]
    channels: int,
    path: File = "",
    name: str = "a map",
    layout: str = "",
) -> np.ndarray:
    """[H, W, channels], as it is.

    Raises:
        ValueError: other channels; names the map and the path, and where the file's layout is given, what it may be.
    """
    if image.ndim == 3 and image.shape[2] == channels:
        return image
    as_stored = image.shape if layout != "CHW" or image.ndim == 2 else (image.shape[2], *image.shape[:2])
    hint = other_layout(as_stored, layout, channels) if layout and channels in as_stored else ""
    held = 1 if image.ndim == 2 else image.shape[2]
    raise ValueError(
        f"{name} {path}: expected {channels} channels, found {held} in an array {as_stored} of {image.dtype}{hint}"
    )


def read_grey(path: File, key: str = "") -> np.ndarray:
    """Reads a one-channel image of any type; colour channels pass if they are all equal.

    Some tools store grey images with three equal channels, or with an opaque alpha beside them.

    Returns:
        [H, W] in the file's own dtype.

    Raises:
        FileNotFoundError, ValueError: see `read_image`, or colours.
    """
    return one_channel(read_image(path, key), path)


def read_stored_ids(path: File, key: str = "") -> np.ndarray:
    """Reads the whole numbers of a label as stored: grey values, or the indices (never the colours) of a palette.

    Args:
        path: of one channel.
        key: see `read_image`.

    Returns:
        [H, W] of a type of whole numbers: the file's, or int64 where it has floats, which must be whole.

    Raises:
        FileNotFoundError, ValueError: see `read_image`, or colours, fractions, NaN, or values that a lossy compression
            changed.
    """
    data = _load(path)
    values = array_of(data, path, key)
    if values is None:
        values = _decode_ids(data, path)
    if values.ndim != 2:
        equal = values.shape[2] in (3, 4) and (values[..., :3] == values[..., :1]).all()
        hint = "they are equal: keep the first" if equal else "colours are read where the label declares them"
        raise ValueError(
            f"label {path}: expected one channel of class ids, found {stored_kind(values)}; {hint}"
            f"{_layout_hint(values)}"
        )
    return values if values.dtype.kind in "iu" else _whole(values, path)


def read_ids(path: File, key: str = "") -> np.ndarray:
    """Reads class ids as stored, see `read_stored_ids`.

    Returns:
        uint8 [H, W].

    Raises:
        FileNotFoundError, ValueError: see `read_stored_ids`, or ids outside 0..255.
    """
    values = read_stored_ids(path, key)
    if values.dtype == np.uint8 or values.size == 0:
        return values.astype(np.uint8)
    if values.min() < 0 or values.max() > IGNORE_INDEX:
        wrong = values.min() if values.min() < 0 else values.max()
        raise ValueError(
            f"label {path}: ids must be 0..255, found {wrong} in {values.dtype}; is this an instance or a depth image?"
        )
    return values.astype(np.uint8)


def read_colours(path: File, *, transparent: bool = False) -> np.ndarray:
    """Reads a colour-coded label.

    Args:
        path: of an image.
        transparent: whether its pixels may be transparent; the class of such pixels nobody can tell.

    Returns:
        uint8 [H, W, 3], RGB order.

    Raises:
        FileNotFoundError, ValueError: see `read_image`, or other than 8 bits, transparent pixels, or values that a
            lossy compression changed.
    """
    data = _load(path)
    found = array_of(data, path, "")
    if found is None:
        _check_label(_header(data, path), path)
        found = _decode(data, path)
    if found.dtype != np.uint8 or (found.ndim == 3 and found.shape[2] not in (3, 4)):
        raise ValueError(f"label {path}: expected colours of 8 bits, found {stored_kind(found)} ({found.dtype})")
    if found.ndim == 2:
        return cv2.cvtColor(found, cv2.COLOR_GRAY2RGB)
    hidden = 0 if transparent or found.shape[2] == 3 else np.count_nonzero(found[..., 3] != 255)
    if hidden:
        raise ValueError(f"label {path}: {hidden} pixels are transparent; expected opaque ones: save without alpha")
    return np.ascontiguousarray(found[..., :3])


def one_channel(image: np.ndarray, path: File) -> np.ndarray:
    """[H, W] of [H, W], or of [H, W, C] whose colour channels are all equal and whose alpha, if any, is one value.

    Raises:
        ValueError: other channels, or an alpha that says something; names the path.
    """
    if image.ndim == 2:
        return image
    first = image[..., 0]
    if image.shape[2] not in (3, 4) or not (image[..., :3] == first[..., None]).all():
        raise ValueError(
            f"{path}: expected a grey image, found {image.shape[2]} channels with different values; "
            f"is this a colour picture of the measurement?{_layout_hint(image)}"
        )
    if (image[..., 3:] != image[:1, :1, 3:]).any():
        raise ValueError(
            f"{path}: expected a grey image, found a grey one with an alpha that differs between pixels; does it hold "
            "another map, or what was measured? Save the grey values alone"
        )
    return np.ascontiguousarray(first)


def lossy_kind(path: File) -> str:
    """ "JPEG" or "WebP" where a file's compression changes values, "" where it keeps them.

    Raises:
        FileNotFoundError, ValueError: see `read_image`.
    """
    header = header_of(_load(path))
    return header.kind if header is not None and header.lossy else ""


def exif_turn(path: File) -> int:
    """The EXIF orientation of an image file, which reading ignores: 1 (upright, or none is stated) to 8.

    Source: CIPA DC-008 (Exif 2.32), tag 0x0112: 3 is a half turn, 6 and 8 are quarter turns; 2, 4, 5 and 7 are
    mirrored.

    Raises:
        FileNotFoundError, ValueError: see `read_image`.
    """
    return turn_of(_load(path))


def turns_told(paths: Mapping[str, File]) -> str:
    """What EXIF tags say about the files of maps whose sizes differ, for messages; nothing where there are none."""
    told = []
    for name, path in paths.items():
        try:
            turn = exif_turn(path)
        except (OSError, ValueError):
            continue
        if turn != 1:
            told.append(f"the EXIF tag of {path} says that {name} is {TURNS[turn]}")
    hint = "; reading ignores the tag: turn the pixels, or the other maps, and remove it" if told else ""
    return "".join(f"; {text}" for text in told) + hint


def counted(wrong: np.ndarray) -> str:
    """ "-2, 300 and 4 more values on 64 pixels" of an array [n], of whose values the first are looked at."""
    values = np.unique(wrong[:_LOOKED_AT])
    listed = ", ".join(f"{value:g}" if wrong.dtype.kind == "f" else str(value) for value in values[:5].tolist())
    more = f" and {len(values) - 5} more values" if len(values) > 5 else ""
    return f"{listed}{more} on {len(wrong)} pixels"


def encode_png(array: np.ndarray, text: str = "") -> bytes:
    """A PNG without loss of 8 or 16 bits, [H, W] or RGB [H, W, 3], with a description if there is one.

    Raises:
        ValueError: an array that PNG cannot hold.
    """
    if array.dtype not in (np.uint8, np.uint16) or not (array.ndim == 2 or array.shape[2:] == (3,)):
        raise ValueError(f"expected 8 or 16 bits and one or three channels, found {array.dtype} of {array.shape}")
    png = cv2.imencode(".png", cv2.cvtColor(array, cv2.COLOR_RGB2BGR) if array.ndim == 3 else array)[1].tobytes()
    if not text:
        return png
    body = b"tEXt" + b"Description\0" + text.encode("latin-1", "replace")  # PNG specification, 11.3.4.3
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    return png[:-_IEND] + chunk + png[-_IEND:]


def replace_file(path: Path, content: bytes | memoryview, *, many: bool = False) -> None:
    """Writes a file, and its folder if need be, so that no reader ever sees a part of it.

    Args:
        path: replaced if it is there.
        content: all of it.
        many: whether it is one of many that are not waited for, see `rgbx._whole.writing`.

    Raises:
        OSError: it cannot be written; nothing is left of it then.
    """
    with writing(path, size=len(content), many=many) as file:
        file.write(content)


def append_line(path: Path, line: str) -> None:
    """Adds a line to a file of lines, which several processes may do at once, and after one that is torn a new one.

    Args:
        path: made where absent; its folder must be there.
        line: without its end.

    Raises:
        OSError: it cannot be written as a whole.
    """
    with naming(path, len(line)), open_own(path, "a+b", buffering=0) as file:
        end = file.seek(0, os.SEEK_END)
        file.seek(max(0, end - 1))
        content = b"\n" * (file.read(1) not in (b"", b"\n")) + line.encode() + b"\n"
        if file.write(content) != len(content):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def file_hash(path: str | Path) -> str:
    """SHA-256 of a file."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def stored_kind(array: np.ndarray) -> str:
    """ "1 channel of 16 bits" for [H, W] or [H, W, C], for messages."""
    channels = 1 if array.ndim == 2 else array.shape[2]
    return f"{channels} channel{'s' if channels > 1 else ''} of {array.itemsize * 8} bits"


def _load(path: File) -> bytes:
    data = read_file(path)
    incomplete = (data.startswith(PNG) and b"IEND" not in data[-4096:]) or (
        data.startswith(JPEG) and data.rfind(b"\xff\xd9", len(data) // 2) < 0
    )
    if not data or incomplete:
        raise ValueError(f"{path}: the file is truncated ({len(data)} bytes)")
    return data


def _header(data: bytes, path: File, *, pages: bool = False) -> Header:
    """What an image will be, or with `pages` each of a TIFF's, if it may be decoded."""
    header = header_of(data)
    if header is None or header.height < 1 or header.width < 1:
        raise ValueError(f"{path}: the file is damaged or no image ({len(data)} bytes); expected {_READ}")
    most = path.most_pixels if isinstance(path, FileInMemory) else MOST_PIXELS
    if header.pixels > most or header.nbytes > MOST_BYTES:
        raise ValueError(
            f"{path}: {header.kind} of {header.width} × {header.height} pixels would take {header.nbytes} bytes; at "
            f"most {MOST_BYTES} and {most} pixels are read: is it damaged? Cut larger images into parts"
        )
    if header.least > len(data):
        raise ValueError(
            f"{path}: the file is truncated: {len(data)} bytes cannot hold {header.width} × {header.height} pixels"
        )
    if pages and header.kind == "TIFF":
        if not header.pages:
            raise ValueError(f"{path}: TIFF of images that differ in size, type or channels; expected pages alike")
        return header
    if header.several:
        raise ValueError(f"{path}: {header.kind} of several images; expected one: save each frame as a file of its own")
    return header


def _decode(data: bytes, path: File, flags: int = cv2.IMREAD_UNCHANGED) -> np.ndarray:
    header = _header(data, path)
    if header.kind == "OpenEXR":
        os.environ.setdefault("OPENCV_IO_ENABLE_OPENEXR", "1")  # OpenCV asks when it decodes its first
    try:
        image = cv2.imdecode(np.frombuffer(upright(data), np.uint8), flags)
    except (cv2.error, MemoryError):
        image = None
    if image is None and header.kind == "OpenEXR":
        raise ValueError(
            f"{path}: OpenCV {cv2.__version__} here cannot decode this OpenEXR file (its build may lack the codec); "
            "convert it to .npy or to a TIFF of 32-bit floats"
        )
    if image is None and header.kind == "TIFF" and header.bits == 16:
        raise ValueError(
            f"{path}: the file is damaged, or a TIFF of 16-bit floats, which OpenCV does not decode; use 32-bit floats"
        )
    if image is None and header.kind == "TIFF" and header.bits == 32 and int(cv2.__version__.partition(".")[0]) < 5:
        raise ValueError(
            f"{path}: the file is damaged, or a TIFF of 32-bit numbers without sign, which OpenCV {cv2.__version__} "
            'cannot read; OpenCV 5 does (pip install "opencv-python-headless>=5"), or save it with sign or as .npy'
        )
    if image is None:
        raise ValueError(f"{path}: the file is damaged or no image ({len(data)} bytes)")
    if image.shape[:2] != (header.height, header.width):
        raise ValueError(f"{path}: decoded as {image.shape}, but the file says {header.height} × {header.width} pixels")
    if image.ndim == 3 and flags == cv2.IMREAD_UNCHANGED:
        code = cv2.COLOR_BGRA2RGBA if image.shape[2] == 4 else cv2.COLOR_BGR2RGB
        image = image[..., ::-1].copy() if image.dtype not in _CONVERTED else cv2.cvtColor(image, code)
    return image


def _decode_bands(data: bytes, path: File, channels: int) -> np.ndarray:
    """[H, W] or [H, W, C] of an image: what a pixel has in the file, or what the pages of a TIFF have."""
    header = _header(data, path, pages=True)
    if header.several:
        if header.pages != channels or header.samples != 1:
            raise ValueError(
                f"{path}: expected {channels} channels, found a TIFF of {header.pages} pages of {header.samples} each"
            )
        return _decode_pages(data, path, header)
    if header.kind == "TIFF" and header.samples > 1:
        return _decode_samples(data, path, header)
    image = _decode(data, path)
    return image[..., [0, 3]] if header.samples == 2 and image.shape[2:] == (4,) else image  # grey with alpha


def _decode_pages(data: bytes, path: File, header: Header) -> np.ndarray:
    """[H, W, C] of a TIFF of C pages of one channel."""
    try:
        _, pages = cv2.imdecodemulti(np.frombuffer(upright(data), np.uint8), cv2.IMREAD_UNCHANGED)
    except (cv2.error, MemoryError):
        pages = ()
    size = (header.height, header.width)
    if len(pages) != header.pages or any((page.shape, page.dtype) != (size, pages[0].dtype) for page in pages):
        found = ", ".join(str(page.shape) for page in pages[:3]) or "none"
        raise ValueError(f"{path}: the file is damaged: it says {header.pages} pages {size}, decoded were {found}")
    return np.stack(pages, axis=2)


def _decode_samples(data: bytes, path: File, header: Header) -> np.ndarray:
    """[H, W, C] of a TIFF of several channels: OpenCV has at most four, and of those the first alone unless colours."""
    try:
        tifffile = import_module("tifffile")
    except ImportError as error:
        raise ImportError(
            f'{path}: a TIFF of {header.samples} channels needs tifffile: pip install "rgbx[tiff]", or save each '
            "channel as a page, or all as .npy"
        ) from error
    try:
        with tifffile.TiffFile(io.BytesIO(data)) as file:
            page = file.pages[0]
            found: np.ndarray = page.asarray()
    except DECODER_ERRORS as error:
        raise ValueError(f"{path}: the file is damaged, or of a compression that tifffile lacks ({error})") from error
    found = found.transpose(1, 2, 0) if found.ndim == 3 and page.planarconfig == 2 else found
    if found.shape != (header.height, header.width, header.samples):
        raise ValueError(f"{path}: decoded as {found.shape}, but the file says {header.height} × {header.width} pixels")
    return np.ascontiguousarray(found)


def _decode_ids(data: bytes, path: File) -> np.ndarray:
    """[H, W] or [H, W, C] of a label: the numbers that the file stores, which decoders may stretch or colour."""
    header = _header(data, path)
    _check_label(header, path)
    if header.indexed:
        return _decode_palette(data, path)
    values = _decode(data, path)
    if values.dtype == np.uint8 and header.bits < 8:
        values = values // (255 // (2**header.bits - 1))  # decoders stretch 1, 2, 4 bits
    return values


def _check_label(header: Header, path: File) -> None:
    if header.lossy:
        lossy = "JPEG" if header.kind == "JPEG" else f"{header.kind} with lossy compression"
        raise ValueError(
            f"label {path}: saved as {lossy}, which changes the ids of pixels (36.7 % of them where it was measured "
            "with 40 classes); save the labels anew without loss, as PNG"
        )
    if header.inverted:
        raise ValueError(
            f"label {path}: {header.kind} in which 0 stands for white, which decoders turn; save it as PNG"
        )


def _decode_palette(data: bytes, path: File) -> np.ndarray:
    """Indices [H, W] of a palette: OpenCV can only give its colours."""
    try:
        with Image.open(io.BytesIO(upright(data))) as image:
            found = np.array(image)
    except DECODER_ERRORS as error:
        raise ValueError(f"{path}: the file is damaged ({error})") from error
    return found.astype(np.uint8) if found.dtype == bool else found


def _whole(values: np.ndarray, path: File) -> np.ndarray:
    """Floats [H, W] as int64, if each is a whole number that float64 holds exactly."""
    whole, wrong = np.empty(values.shape, np.int64), np.empty(values.shape, bool)
    for rows in row_blocks(values.shape):
        wide = values[rows].astype(np.float64)
        wrong[rows] = ~(np.abs(wide) < 2**53) | (wide != np.rint(wide))
        whole[rows] = np.where(wrong[rows], 0, wide)
    if wrong.any():
        raise ValueError(
            f"label {path}: expected whole numbers, found {counted(values[wrong].astype(np.float64))} in "
            f"{values.dtype}; was the label resized with interpolation, or scaled? Class ids have no fractions"
        )
    return whole


def _layout_hint(image: np.ndarray) -> str:
    """What to say of [C, H, W]."""
    first = image.ndim == 3 and image.shape[0] in (1, 3, 4) and image.shape[2] not in (3, 4)
    return "; is its first axis the channels? Move it to the end" if first else ""
