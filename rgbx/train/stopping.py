"""Requests to end that a scheduler or an operator sends: a training saves its state at its next step, and ends."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import torch
import torch.distributed

REQUESTS = (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)  # `kill`, a closed terminal, Slurm's --signal=USR1@SECONDS


class TrainingStopped(RuntimeError):  # noqa: N818 - it ended as it was asked to, which is no error
    """A training that ended because a signal asked it to; the message says which one, and what was saved."""


class StopRequest:
    """Whether this run was asked to end, by a signal to any of its processes."""

    def __init__(self) -> None:
        self._received = 0
        self._group: torch.distributed.ProcessGroup | None = None

    @contextmanager
    def listening(self) -> Iterator[None]:
        """While active, the signals of `REQUESTS` are noted. One that is ignored, as a hang-up under nohup, stays so.

        With several processes, all of them enter this together.
        """
        if torch.distributed.is_initialized() and torch.distributed.get_world_size() > 1 and self._group is None:
            # Beside the group of the gradients: a GPU that is told to stop would otherwise be waited for at each step.
            self._group = torch.distributed.new_group(backend="gloo")
        is_main = threading.current_thread() is threading.main_thread()
        usual = [number for number in REQUESTS if is_main and signal.getsignal(number) is signal.SIG_DFL]
        for number in usual:
            signal.signal(number, self._note)
        try:
            yield
        finally:
            for number in usual:
                signal.signal(number, signal.SIG_DFL)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._received = number

    def received(self) -> signal.Signals | None:
        """The signal that this process has got."""
        return signal.Signals(self._received) if self._received else None

    def agreed(self) -> signal.Signals | None:
        """The signal that one of the processes has got; all of them ask this at the same step and get one answer."""
        number = self._received
        if self._group is not None:
            shared = torch.tensor(number)
            torch.distributed.all_reduce(shared, torch.distributed.ReduceOp.MAX, group=self._group)
            number = int(shared)
        return signal.Signals(number) if number else None
