"""Files that are there as a whole or not at all: they get their name when all of their bytes are on the disk.

Until then the bytes are in a part beside it, which a process that is killed leaves behind. Whether the writer of a part
is dead, the number of its process tells only on its own host. A lock on the part tells it on every host that shares the
folder: the system frees it when its holder ends, however that was. Where a file system knows no locks, parts stay.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # what says that a file finds no room
_PART = re.compile(r"\.(?P<name>.+)\.[0-9a-f]{32}\.part(\.\w+)?", re.ASCII)
_EARLIER = re.compile(r"\.(?P<name>.+\.pth)\.\d+\.tmp", re.ASCII)  # those of 0.1.0, which nobody locked
_LONG_AGO = 3600  # seconds
_LOCK = ".lock"  # in a part that is a folder


@contextmanager
def writing(path: Path, *, size: int = 0, many: bool = False, suffix: str = "") -> Iterator[IO[bytes]]:
    """A file to write, whose name is `path` once the block has ended well; it replaces what is there.

    The parts that dead writers of the same file have left are removed. Programs that want a name rather than an open
    file write to the file's `name`, and leave what they open closed.

    Args:
        path: its folder is made where it is not there.
        size: bytes that it will have at least.
        many: whether it is one of many files, none of which is worth the wait until it is on the disk: after a crash of
            the machine it may be there, and empty. `remove_left` then removes their parts.
        suffix: of the part's name, for programs that go by it.

    Raises:
        OSError: it cannot be written, or finds no room, which is told with the bytes that are free. Nothing is left.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if not many:
        remove_left(path.parent, of=path.name)
    with naming(path, size):
        if size and shutil.disk_usage(path.parent).free < size:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        with _locked(lambda: _part(path, suffix)) as file:
            part = Path(file.name)
            try:
                yield file
                file.flush()
                if not many:
                    os.fsync(file.fileno())
                part.replace(path)
            finally:
                part.unlink(missing_ok=True)
        if not many:
            sync_folder(path.parent)


def place_new(path: Path, content: bytes) -> bool:
    """Writes a file whole or not at all, but where one of its name is there already: of several writers one is first.

    Returns:
        Whether this one was.

    Raises:
        OSError: see `writing`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_left(path.parent, of=path.name)
    with naming(path), _locked(lambda: _part(path)) as file:
        part = Path(file.name)
        try:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            os.link(part, path)
        except FileExistsError:
            return False
        except PermissionError:  # a file system without hard links
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
    sync_folder(path.parent)
    return True


@contextmanager
def naming(path: Path, size: int = 0) -> Iterator[None]:
    """Errors of a disk name the file, and not its part or nothing, and tell what there is no room for.

    Args:
        path: of the file.
        size: bytes that are written to it, where that is known.
    """
    try:
        yield
    except OSError as error:
        if error.errno is None or not Path(error.filename or path).name.startswith((path.name, f".{path.name}.")):
            raise
        if error.errno not in FULL:
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise no_room(error, path, size) from error


def no_room(error: OSError, path: Path, size: int = 0) -> OSError:
    """An error of a full disk with the file, the bytes that were to be written, where that is known, and those free."""
    folder = next(folder for folder in path.absolute().parents if folder.exists())
    room = f"{size} bytes are to be written, " * bool(size) + f"{shutil.disk_usage(folder).free} bytes are free"
    return OSError(error.errno, f"{error.strerror}: {room}", str(path))


@contextmanager
def folder_beside(path: Path) -> Iterator[Path]:
    """A folder beside a file, for files that are to take their places together; it goes when the block ends.

    It is a part as those of `writing` are: one that a dead process has left is removed by the next for the same file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_left(path.parent, of=path.name)

    def lock() -> Path:
        folder = _part(path)
        folder.mkdir()
        return folder / _LOCK

    with _locked(lock) as file:
        try:
            yield Path(file.name).parent
        finally:
            shutil.rmtree(Path(file.name).parent, ignore_errors=True)


def _part(path: Path, suffix: str = "") -> Path:
    return path.with_name(f".{path.name}.{uuid.uuid4().hex}.part{suffix}")


@contextmanager
def _locked(name: Callable[[], Path]) -> Iterator[IO[bytes]]:
    """A new file with a lock on it, by the first name at which nobody has removed it before it was locked."""
    while True:
        with name().open("xb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:  # one who removes parts was quicker
                continue
            except OSError:  # no locks here
                pass
            if os.fstat(file.fileno()).st_nlink:
                yield file
                return


def remove_left(folder: Path, *, of: str = "", deep: bool = False) -> list[str]:
    """Removes the parts of files whose writers are dead.

    Args:
        folder: in which they lie.
        of: the only file whose parts are removed; "" for any.
        deep: whether those in folders of the folder go too.

    Returns:
        Their names.
    """
    removed = []
    for path in folder.rglob(".*") if deep else folder.glob(".*"):
        found = _PART.fullmatch(path.name) or _EARLIER.fullmatch(path.name)
        if found and found["name"] == (of or found["name"]) and _remove_if_left(path):
            removed.append(path.name)
    return removed


def _remove_if_left(path: Path) -> bool:
    lock = path / _LOCK if path.is_dir() else path
    if path.is_symlink() or not lock.is_file():
        return False
    try:
        with lock.open("r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _EARLIER.fullmatch(path.name) and time.time() - os.fstat(file.fileno()).st_mtime < _LONG_AGO:
                return False
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    except OSError:
        return False
    return True


def sync_folder(folder: Path) -> None:
    """Waits until the names in a folder are on the disk, where its file system can tell."""
    with suppress(OSError):
        opened = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)
