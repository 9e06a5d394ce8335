"""The end of a run's process together with the study that started it.

Imports nothing heavy: a process watches from its first moment on.
"""

from __future__ import annotations

import os
import signal
import threading


def end_with(pipe: int) -> None:
    """From now on this process, and the workers that it starts, end at once when its study does, however that ended.

    The system closes what a process held open when it ends, by SIGKILL too; so the study holds the other end of a pipe,
    and nobody else does.

    Args:
        pipe: the descriptor of the end to read from, into which nothing is written.
    """
    threading.Thread(target=_watch, args=(pipe,), name="watching the study", daemon=True).start()


def _watch(pipe: int) -> None:
    while os.read(pipe, 1):
        pass
    os.killpg(os.getpgrp(), signal.SIGKILL)
