"""What users write: text files, read as what they are, and paths, read inside the folder that they belong to."""

from __future__ import annotations

import codecs
import json
import os
import posixpath
import re
import stat
from pathlib import Path

TEXT_LIMIT = 64 << 20  # bytes
_MARKS = (  # UTF-32's first, as it begins with UTF-16's
    (codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32"), (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"),
)  # fmt: skip
_DRIVE = re.compile(r"[A-Za-z]:(/|$)")
_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}


def not_a_file(path: str | Path) -> str:
    """What lies at a path where a file should, such as "a named pipe"; "" for a file, whatever links lead to it.

    Raises:
        FileNotFoundError: nothing lies there.
    """
    try:
        mode = Path(path).stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotFoundError(f"{path}: no such file") from None
    return "" if stat.S_ISREG(mode) else _KINDS.get(stat.S_IFMT(mode), "no file")


def read_text(path: str | Path, *, limit: int = TEXT_LIMIT) -> str:
    r"""A text file of a user: UTF-8, or any Unicode with a byte-order mark; lines end with "\n", whatever ended them.

    Args:
        path: a regular file, or a link to one.
        limit: its largest size in bytes.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no regular file, too large, of another encoding, or no text; named with file and line.
    """
    if kind := not_a_file(path):
        raise ValueError(f"{path} is {kind}, expected a text file")
    with Path(path).open("rb") as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise ValueError(f"{path}: more than {limit >> 20} MiB, which is no list or declaration")
    encoding = next((name for mark, name in _MARKS if data.startswith(mark)), "utf-8")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        found = f"the byte 0x{data[error.start]:02x}" if error.start < len(data) else "a cut-off character"
        advice = "; is it in a Windows code page such as cp1252? Save it as UTF-8" if encoding == "utf-8" else ""
        raise ValueError(f"{path}:{line}: not {encoding.upper()}, found {found}{advice}") from None
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise ValueError(f"{path}:{line}: a NUL character; is this UTF-16 without a byte-order mark, or no text?")
    return text


def read_json(path: str | Path) -> object:
    """The value of a JSON file.

    Raises:
        FileNotFoundError, ValueError: see `read_text`; or not JSON.
    """
    text = read_text(path)
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}:{error.lineno}: not valid JSON: {error.msg}") from error
    except ValueError as error:  # a number may be too long for Python
        raise ValueError(f"{path}: not valid JSON: {error}") from error
    except RecursionError:
        raise ValueError(f"{path}: not valid JSON: nested too deeply") from None


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
    path = text.strip().replace("\\", "/")
    if not path:
        raise ValueError(f"{where}: expected a path inside {root}, found {text!r}")
    if any(character < " " or character == "\x7f" for character in path) or not _is_encodable(path):
        raise ValueError(f"{where}: expected a path inside {root}, found control characters in {text!r}")
    if _DRIVE.match(path) or path.startswith("//"):
        raise ValueError(f"{where}: expected a path relative to {root}, found {text!r} with a drive or a server")
    own = f"{Path(root).absolute().as_posix()}/"
    path = posixpath.normpath(path.removeprefix(own).lstrip("/") or ".")
    if path == ".." or path.startswith("../"):
        raise ValueError(f"{where}: {text!r} leads out of {root}")
    return path


def _is_encodable(text: str) -> bool:
    try:
        os.fsencode(text)
    except UnicodeEncodeError:
        return False
    return True
