"""One run carried out by whichever process comes to it first: of this call, of another one, or of another machine."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from rgbx._lock import HeldError
from rgbx.study.commands import Commands, PutOffError, RunError, carry_out
from rgbx.study.runs import CHANGED, DAMAGED, DONE, FAILED, Run, in_short, move_aside, read_state

R = TypeVar("R")
IN_ANOTHER = "in another call"
GLANCE = 0.5  # seconds between two looks whether the main thread was interrupted


@dataclass(frozen=True)
class Outcome:
    """What became of a run.

    Attributes:
        seconds: that it took here.
        failure: what it ended with; None where it is done.
        left: who is at work on it, or has finished it, instead.
    """

    seconds: float = 0.0
    failure: str | None = None
    left: str | None = None


@dataclass(frozen=True)
class Task:
    """A run that is to be carried out, with all that a process elsewhere has to know.

    Attributes:
        run: neither done nor damaged when the study began.
        config: of the study.
        common: arguments of training and of testing, such as --data-root.
        rerun_changed: whether what another config has left is moved aside.
        failed_before: whether the run had failed when the study began; one that fails in another call since is not
            tried again.
    """

    run: Run
    config: str
    common: tuple[str, ...] = ()
    rerun_changed: bool = False
    failed_before: bool = False

    def __call__(self, commands: Commands) -> Outcome:
        """Takes the run, unless another process has it, and carries it out.

        Raises:
            PutOffError: another than this study has asked the run to end; it can go on where it was.
            StoppedError: `commands` were stopped.
        """
        start = time.monotonic()
        try:
            with self.run.taken() as lock:
                if not self._is_left():
                    return Outcome(left=IN_ANOTHER)
                call = partial(commands, keep_open=lock.fileno())
                carry_out(self.run, call, config=self.config, common=self.common)
        except HeldError as error:
            return Outcome(left=in_short(error.holder))
        except PutOffError:
            raise
        except RunError as error:
            return Outcome(time.monotonic() - start, str(error))
        return Outcome(time.monotonic() - start)

    def _is_left(self) -> bool:
        """Whether nobody has finished the run since the study began; what is in the way of it is moved aside.

        Raises:
            RunError: it cannot be carried out as it is now.
        """
        state = read_state(self.run)
        if state.kind == DAMAGED or (state.kind == FAILED and not self.failed_before):
            raise RunError(f"{state.notes[0]} ({IN_ANOTHER})")
        if state.kind == CHANGED:
            if not self.rerun_changed:
                raise RunError("its config is that of another call by now")
            aside = move_aside(self.run)
            print(f"{self.run.title}: its config has changed; what it left is now in {aside}", flush=True)
            return True
        return state.kind != DONE


def interruptible(work: Callable[[Commands], R], commands: Commands, begin: Callable[[], None] = lambda: None) -> R:
    """Calls `work(commands)` in a thread, so that this one hears of signals, and stops the commands on any of them.

    Args:
        work: what to do.
        commands: what it does so with.
        begin: is called first, in the thread.
    """
    with ThreadPoolExecutor(1, initializer=begin) as pool:
        future = pool.submit(work, commands)
        try:
            while not wait([future], GLANCE).done:
                pass
        except BaseException:
            commands.stop()
            raise
        return future.result()
