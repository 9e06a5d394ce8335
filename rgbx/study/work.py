"""One run carried out by whichever process comes to it first: of this call, of another one, or of another machine."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial

from rgbx._lock import HeldError
from rgbx.study.commands import Commands, RunError, carry_out
from rgbx.study.runs import CHANGED, DAMAGED, DONE, FAILED, Run, in_short, move_aside, read_state

IN_ANOTHER = "in another call"


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
    """A run that is to be carried out.

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
