"""One process at work in a folder: a lock that names its holder."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shlex
import socket
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from rgbx._files import open_own

LOCK, LONGEST_HOLDER = "lock", 500
TRIES, PAUSE = 5, 0.02  # seconds
_held = dict[Path, IO[str]]()  # by this process, for itself alone


class HeldError(ValueError):
    """A lock that another process holds.

    Attributes:
        holder: "process 4711 on gpu3 since 2026-05-04 09:12:33" and its command; "" where it has not said so yet.
    """

    def __init__(self, message: str, holder: str) -> None:
        super().__init__(message)
        self.holder = holder


@contextlib.contextmanager
def locked(folder: Path, what: str, *, alone: bool = False, name: str = LOCK, wait: bool = False) -> Iterator[IO[str]]:
    """Holds a folder's lock file, which started processes may inherit: it stays locked while one of them lives.

    The system frees a lock when its last holder ends, however it ended.

    Args:
        folder: made where it is not there.
        what: is at work there where the lock is held, for the message: "another training".
        alone: this process holds it for itself: those that it forks, such as workers that outlive it, do not, it may
            hold it several times, and the lock file goes when it is done, as do folders made for nothing else.
        name: of the lock file.
        wait: until nobody holds it.

    Raises:
        HeldError: another process holds it; the message says which.
        OSError: nothing can be written there.
    """
    place = folder.resolve()
    if alone and place in _held:
        yield _held[place]
        return
    made = [path for path in (place, *place.parents) if not path.exists()] if alone else []
    try:
        with _locked_file(Path(folder, name), what, wait=wait) as file:
            with contextlib.suppress(OSError):  # a full disk can still be locked
                file.truncate(0)
                os.write(file.fileno(), _holder())
            yield from _alone(file, place) if alone else (file,)
    finally:
        with contextlib.suppress(OSError):  # where something has been written
            for path in made:
                path.rmdir()


def _alone(file: IO[str], place: Path) -> Iterator[IO[str]]:
    _held[place] = file
    try:
        yield file
    finally:
        del _held[place]
        Path(place, LOCK).unlink(missing_ok=True)


def holder_of(folder: Path, name: str = LOCK) -> str | None:
    """Who holds a folder's lock, as far as the process has said; None for nobody.

    A lock that somebody takes at this very moment is taken nevertheless.
    """
    try:
        with open_own(Path(folder, name), "r", errors="replace") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return file.read(LONGEST_HOLDER).strip() or "another process"
    except OSError:  # no file, or no locks here
        return None
    return None


@contextlib.contextmanager
def _locked_file(path: Path, what: str, *, wait: bool) -> Iterator[IO[str]]:
    """The lock file, and not one that its last holder has removed in the meantime."""
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open_own(path, "a+", errors="replace") as file:
            try:
                _lock(file, wait=wait)
            except BlockingIOError as error:
                file.seek(0)
                holder = file.read(LONGEST_HOLDER).strip()
                message = f"{path.parent}: {what} is still at work{holder and f' ({holder})'}"
                raise HeldError(message, holder) from error
            except OSError as error:
                warnings.warn(
                    f"{path.parent} cannot be locked ({error.strerror}): start nothing else there", stacklevel=1
                )
            if os.fstat(file.fileno()).st_nlink:
                yield file
                return


def _lock(file: IO[str], *, wait: bool) -> None:
    """Tries a few times, as one who looks whether a lock is held holds it for a moment."""
    for left in reversed(range(TRIES)):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            return
        except BlockingIOError:
            if not left:
                raise
        time.sleep(PAUSE)


def _holder() -> bytes:
    began = time.strftime("%Y-%m-%d %H:%M:%S")
    command = shlex.join(["rgbx" if "rgbx" in Path(sys.argv[0]).name else sys.argv[0], *sys.argv[1:]])
    return f"process {os.getpid()} on {socket.gethostname()} since {began}: {command}".encode()[:LONGEST_HOLDER]


def _let_go() -> None:
    """In a process that was forked: the lock is its parent's."""
    for file in _held.values():
        file.close()
    _held.clear()


os.register_at_fork(after_in_child=_let_go)
