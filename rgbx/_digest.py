"""The digest that a file of `torch.save` carries in itself, and what is wrong with one whose bytes have changed.

Such a file is a ZIP archive, which may end with a comment: here ``sha256:`` and the SHA-256, as hexadecimal digits, of
all bytes before the two that tell the comment's length. Everything that reads archives reads the file as before.
Archives without it, of other programs and of earlier versions, have a CRC-32 for each record, which torch does not
check.
"""

from __future__ import annotations

import functools
import hashlib
import pickle
import zipfile
from pathlib import Path
from typing import IO

CHUNK = 1 << 20
MOST_UNPACKED = 8, 2**20  # times the bytes of a file, and bytes, that it may take in memory; `torch.save` packs nothing
_MARK, _HEXADECIMAL = b"sha256:", 64
_COMMENT = len(_MARK) + _HEXADECIMAL
_LENGTH = 2  # bytes that tell a comment's length, the last of an archive without one
_NONE, _OWN = bytes(_LENGTH), _COMMENT.to_bytes(_LENGTH, "little")
_RECORD, _END, _END_SIZE = b"PK\3\4", b"PK\5\6", 22  # how a record and the end of an archive begin
_LONGEST_COMMENT = 1 << 16
_PACKINGS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


class DamagedFileError(ValueError):
    """A file whose bytes are not those that were written, or that never was what it is taken for."""


class Digesting:
    """What `torch.save` writes to in place of a file that is open: it sums up the bytes as they pass.

    An error of the file is kept until `finish`, as torch ends the process when one comes in the midst of its archive.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._sum, self._last = file, hashlib.sha256(), b""
        self._error: OSError | None = None

    def write(self, data: bytes | memoryview) -> int:
        """Takes all bytes; the last two, which tell how long a comment follows, are held back."""
        if len(data) >= _LENGTH:
            self._pass_on(self._last)
            self._pass_on(data[:-_LENGTH])
            self._last = bytes(data[-_LENGTH:])
        else:
            joined = self._last + bytes(data)
            self._pass_on(joined[:-_LENGTH])
            self._last = joined[-_LENGTH:]
        return len(data)

    def flush(self) -> None:
        """Asked for by torch; the file is flushed when it is whole."""

    def finish(self) -> None:
        """Adds the digest.

        Raises:
            OSError: what has kept a byte from being written.
        """
        if self._last == _NONE:
            self._last = _OWN + _MARK + self._sum.hexdigest().encode()
        self._pass_on(self._last)
        if self._error is not None:
            raise self._error

    def _pass_on(self, data: bytes | memoryview) -> None:
        if self._error is None:
            self._sum.update(data)
            try:
                self._file.write(data)
            except OSError as error:
                self._error = error


def fault_of(path: str | Path) -> str:
    """What is wrong with the bytes of a file of `torch.save`; "" where nothing shows.

    Also that it would take far more memory than it has bytes. Of a file of torch's oldest form, which is no archive and
    has no sums, only how it begins. A file is read once in a process, unless it changes.

    Raises:
        OSError: it cannot be read.
    """
    status = Path(path).stat()
    return _fault(Path(path).absolute(), status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


@functools.lru_cache(maxsize=256)
def _fault(path: Path, _inode: int, size: int, _modified: int, _changed: int) -> str:
    if size == 0:
        return "it is empty"
    with path.open("rb") as file:
        begin = file.read(len(_RECORD))
        file.seek(max(0, size - _END_SIZE - _COMMENT))
        tail = file.read()
    end = tail[_END_SIZE - _LENGTH :]
    signs = tail.startswith(_END), end[:_LENGTH] == _OWN, end[_LENGTH:].startswith(_MARK)
    signed = sum(signs) > 1  # one of them may be damaged, and one may stand in a file of others by chance
    if signed and (fault := _of_digest(path, size - _LENGTH - _COMMENT, end)):
        return fault
    if _ends_as_archive(path, size):
        return _of_records(path, size, sums=not signed)
    if begin == _RECORD:
        return f"it is not whole, or has more behind its end: {size} bytes"
    return "" if begin.startswith(pickle.PROTO) else f"it begins with {begin!r}, as no file of torch.save does"


def _of_digest(path: Path, most: int, end: bytes) -> str:
    found = hashlib.sha256()
    with path.open("rb") as file:
        while most > 0 and (part := file.read(min(CHUNK, most))):
            found.update(part)
            most -= len(part)
    if end == _OWN + _MARK + found.hexdigest().encode():
        return ""
    said = end[_LENGTH + len(_MARK) :].decode("ascii", "replace")
    return f"its bytes are not those that were written: their SHA-256 is {found.hexdigest()}, the file says {said!r}"


def _ends_as_archive(path: Path, size: int) -> bool:
    """Whether the end of an archive is that of the file."""
    with path.open("rb") as file:
        file.seek(max(0, size - _END_SIZE - _LONGEST_COMMENT))
        tail = file.read()
    at = tail.rfind(_END)
    comment = tail[at + _END_SIZE :]
    return at >= 0 and tail[at + _END_SIZE - _LENGTH : at + _END_SIZE] == len(comment).to_bytes(_LENGTH, "little")


def _of_records(path: Path, size: int, *, sums: bool) -> str:
    times, beside = MOST_UNPACKED
    try:
        with zipfile.ZipFile(path) as archive:
            if any(entry.compress_type not in _PACKINGS for entry in archive.infolist()):
                return "it is packed in a way of which a step may unpack to gigabytes; torch.save packs nothing"
            unpacked = sum(entry.file_size for entry in archive.infolist())
            if unpacked > times * size + beside:
                return f"it unpacks to {unpacked} bytes, expected at most {times * size + beside}"
            sums = sums and any(entry.CRC for entry in archive.infolist())  # torch can be told to write none
            record = archive.testzip() if sums else None
    except Exception as error:  # zlib's, struct's, and what Python makes of packing that it does not know
        return f"it is no archive that can be read: {error or type(error).__name__}"
    return "" if record is None else f"its record {record} is not as it was written: its CRC-32 differs"
