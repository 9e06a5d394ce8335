"""What users write: text files, read as what they are, and paths, read inside the folder that they belong to."""

from __future__ import annotations

import codecs
import errno
import io
import json
import os
import posixpath
import re
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, BinaryIO

MOST_BYTES = 1 << 28  # of a file that is read as a whole
MOST_PIXELS = 1 << 26  # of an image
TEXT_LIMIT = 64 << 20
LIST_LIMIT = 4 << 30  # of a list of frames, which is never in memory as one text
_PIECE = 4 << 20  # bytes that are decoded at once
_MARKS = (  # UTF-32's first, as it begins with UTF-16's
    (codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32"), (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"),
)  # fmt: skip
_DRIVE = re.compile(r"[A-Za-z]:(/|$)")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_PLAIN = re.compile(r"\w[\w.+-]*(/\w[\w.+-]*)*", re.ASCII)  # a path that stays as it is, as nearly all are
_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}


@dataclass(frozen=True)
class FileInMemory:
    """The bytes of a file that lies on no disk, read wherever files are.

    Attributes:
        name: what messages call it; no path.
        data: all of it.
        most_pixels: of the map that it holds; more are refused before they are decoded.
    """

    name: str
    data: bytes
    most_pixels: int = MOST_PIXELS

    def __str__(self) -> str:
        return self.name


File = str | Path | FileInMemory


def existing_file(path: str | Path, what: str = "") -> Path:
    """The path of a regular file, or of a link to one; told before it is opened, as opening a pipe may wait for ever.

    Args:
        path: of the file.
        what: what it should be, for messages: "weight file".

    Raises:
        FileNotFoundError: nothing lies there.
        OSError: it cannot be reached.
        ValueError: no regular file, or a path that no file can have.
    """
    shown = f"{what} {path}".strip()
    try:
        mode = Path(path).stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotFoundError(f"{shown}: no such file") from None
    except OSError as error:
        raise OSError(error.errno, f"{shown}: cannot be read ({error.strerror})") from None
    except ValueError as error:  # a null byte
        raise ValueError(f"{what} {str(path)!r} names no file ({error})".strip()) from None
    if not stat.S_ISREG(mode):
        raise ValueError(f"{shown}: expected a file, found {_KINDS.get(stat.S_IFMT(mode), 'none')}")
    return Path(path)


def refuse_unwritable(path: Path, advice: str) -> None:
    """Whether a file or folder can be made, before what it will hold is computed.

    Raises:
        PermissionError: it cannot.
    """
    there = next(folder for folder in path.absolute().parents if folder.exists())
    if not os.access(there, os.W_OK | os.X_OK):
        raise PermissionError(f"{path} cannot be written, as {there} is read-only: {advice}")


def open_own(path: Path, mode: str, *, buffering: int = -1, errors: str | None = None) -> IO[Any]:
    """Opens a file that rgbx keeps in a folder and adds to, as `open` does, but for a link that stands in its place.

    Files that are written as a whole replace such a link; one that is added to would change what lies elsewhere.

    Raises:
        OSError: it is a link, or cannot be opened.
    """

    def opener(name: str, flags: int) -> int:
        try:
            return os.open(name, flags | os.O_NOFOLLOW, 0o666)
        except OSError as error:
            if error.errno != errno.ELOOP:
                raise
            raise OSError(error.errno, "it is a link, which could lead anywhere: remove it", name) from None

    encoding = None if "b" in mode else "utf-8"
    return open(path, mode, buffering, encoding, errors, opener=opener)


def read_file(path: File, most: int = MOST_BYTES, what: str = "") -> bytes:
    """All of a regular file.

    Args:
        path: of the file, or a link to it; or one in memory.
        most: bytes that it may have.
        what: see `existing_file`.

    Raises:
        FileNotFoundError, OSError: it is not there, or cannot be read.
        ValueError: see `existing_file`; or a file of more bytes.
    """
    if isinstance(path, FileInMemory):
        return path.data
    with _opened(path, most, what) as (file, size), _named(path):
        return file.read(size)


@contextmanager
def _opened(path: str | Path, most: int, what: str) -> Iterator[tuple[BinaryIO, int]]:
    """A regular file of at most so many bytes, and how many it has."""
    file = existing_file(path, what)
    with _named(path):
        size = file.stat().st_size
        if size > most:
            raise ValueError(f"{f'{what} {path}'.strip()}: the file has {size} bytes; at most {most} are read")
        opened = file.open("rb")
    with opened:
        yield opened, size


@contextmanager
def _named(path: str | Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, f"{path}: cannot be read ({error.strerror})") from None


def read_text(path: str | Path, *, limit: int = TEXT_LIMIT, what: str = "") -> str:
    r"""A text file of a user: UTF-8, or any Unicode with a byte-order mark; lines end with "\n", whatever ended them.

    Args:
        path: a regular file, or a link to one.
        limit: its largest size in bytes.
        what: see `existing_file`.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no regular file, too large, of another encoding, or no text; named with file and line.
    """
    return "".join(_pieces(path, limit, what))


def text_lines(path: str | Path, *, limit: int = LIST_LIMIT) -> Iterator[str]:
    """The lines of a text file that may be too large for `read_text`, one after the other.

    Args:
        path: see `read_text`.
        limit: the file's largest size in bytes; a line may have `TEXT_LIMIT` characters.

    Raises:
        FileNotFoundError: see `read_text`.
        ValueError: see `read_text`, but after the lines before the mistake; or a line that is too long.
    """
    number, rest = 1, ""
    for piece in _pieces(path, limit, ""):
        *lines, rest = (rest + piece).split("\n")
        yield from lines
        number += len(lines)
        if len(rest) > TEXT_LIMIT:
            raise ValueError(f"{path}:{number}: a line of more than {TEXT_LIMIT} characters, the most that are read")
    yield rest


def _pieces(path: str | Path, limit: int, what: str) -> Iterator[str]:
    """What `read_text` reads, in pieces."""
    with _opened(path, limit, what) as (file, left):
        encoding, line, bytes_line = "", 1, 1
        while True:
            with _named(path):
                data = file.read(min(_PIECE, left))
            left -= len(data)
            if not encoding:
                encoding = next((name for mark, name in _MARKS if data.startswith(mark)), "utf-8")
                decoder = io.IncrementalNewlineDecoder(codecs.getincrementaldecoder(encoding)(), translate=True)
            bytes_line += data.count(b"\n")
            try:
                text = decoder.decode(data, final=not data)
            except UnicodeDecodeError as error:
                bad = error.object[error.start :]
                found = f"the byte 0x{bad[0]:02x}" if bad else "a cut-off character"
                advice = "; is it in a Windows code page such as cp1252? Save it as UTF-8" * (encoding == "utf-8")
                at = bytes_line - bad.count(b"\n")
                raise ValueError(f"{path}:{at}: not {encoding.upper()}, found {found}{advice}") from None
            if "\0" in text:
                at = line + text.count("\n", 0, text.index("\0"))
                raise ValueError(f"{path}:{at}: a NUL character; is this UTF-16 without a byte-order mark, or no text?")
            line += text.count("\n")
            yield text
            if not data:
                return


def read_json(path: str | Path, *, limit: int = TEXT_LIMIT, what: str = "") -> object:
    """The value of a JSON file, as RFC 8259 has it: without NaN, with each name once in an object.

    Args:
        path, limit, what: see `read_text`.

    Raises:
        FileNotFoundError, ValueError: see `read_text`; or not JSON.
    """
    text = read_text(path, limit=limit, what=what)
    try:
        found = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_number)
        if "\\u" in text:  # where half a character may hide, which no file can be written with
            json.dumps(found, ensure_ascii=False).encode()
        return found
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}:{error.lineno}: not valid JSON: {error.msg}") from error
    except ValueError as error:  # a number may be too long for Python
        raise ValueError(f"{path}: not valid JSON: {error}") from error
    except RecursionError:
        raise ValueError(f"{path}: not valid JSON: nested too deeply") from None


def read_lines(path: Path) -> Iterator[tuple[dict[str, Any], int]]:
    """The objects of a file of JSON lines, each with where its line begins; torn lines are left out.

    Raises:
        FileNotFoundError: no such file.
    """
    with path.open("rb") as lines:
        at = 0
        for line in lines:
            with suppress(ValueError, RecursionError):
                record = json.loads(line)
                if isinstance(record, dict):
                    yield record, at
            at += len(line)


def _unique(pairs: Sequence[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"an object has {twice[:60]!r} twice")
    return found


def _no_number(text: str) -> object:
    raise ValueError(f"{text} is no JSON; what is not a number is null")


def inside(root: str | Path, text: str, where: str) -> str:
    r"""A path that a user wrote, relative to a root and with "/" between its parts.

    "\" separates folders as "/" does. A path that begins with "/" is taken from the root, also where it begins with the
    root's own.

    Args:
        root: the folder that it must not leave; links in it may.
        text: the path; "." for the root.
        where: what is named in messages: the file and the line, or the key.

    Raises:
        ValueError: nothing, a NUL, a drive's letter, or a path that leads out of the root.
    """
    if _PLAIN.fullmatch(text):
        return text
    path = text.strip().replace("\\", "/")
    if not path:
        raise ValueError(f"{where}: expected a path inside {root}, found {text!r}")
    if _CONTROL.search(path) or not _is_encodable(path):
        raise ValueError(f"{where}: expected a path inside {root}, found control characters in {text!r}")
    if _DRIVE.match(path) or path.startswith("//"):
        raise ValueError(f"{where}: expected a path relative to {root}, found {text!r} with a drive or a server")
    if path.startswith("/"):
        path = path.removeprefix(f"{Path(root).absolute().as_posix()}/").lstrip("/")
    path = posixpath.normpath(path or ".")
    if path == ".." or path.startswith("../"):
        raise ValueError(f"{where}: {text!r} leads out of {root}")
    return path


def _is_encodable(text: str) -> bool:
    try:
        os.fsencode(text)
    except UnicodeEncodeError:
        return False
    return True
