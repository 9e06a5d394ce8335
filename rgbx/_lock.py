"""One process at work in a folder: a lock that names its holder."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shlex
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

LOCK, LONGEST_HOLDER = "lock", 500


@contextlib.contextmanager
def locked(folder: Path, what: str) -> Iterator[IO[str]]:
    """Holds a folder's lock file, which started processes may inherit: it stays locked while one of them lives.

    The system frees a lock when its last holder ends, however it ended.

    Args:
        folder: made where it is not there.
        what: is at work there where the lock is held, for the message: "another training".

    Raises:
        ValueError: another process holds it; the message says which.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with Path(folder, LOCK).open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.seek(0)
            holder = file.read(LONGEST_HOLDER).strip()
            raise ValueError(f"{folder}: {what} is still at work{holder and f' ({holder})'}") from error
        file.truncate(0)
        began = time.strftime("%Y-%m-%d %H:%M:%S")
        command = shlex.join(["rgbx" if "rgbx" in Path(sys.argv[0]).name else sys.argv[0], *sys.argv[1:]])
        file.write(f"process {os.getpid()} on {socket.gethostname()} since {began}: {command}"[:LONGEST_HOLDER])
        file.flush()
        yield file
