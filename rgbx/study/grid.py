"""All runs of a study: some at a time, with a line for each that ends."""

from __future__ import annotations

import contextlib
import signal
import statistics
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from types import FrameType

from rgbx.study.commands import PutOffError, StoppedError
from rgbx.study.runs import DONE, Run, State, read_state
from rgbx.study.work import Outcome, Task
from rgbx.train.stopping import REQUESTS


class Progress:
    """Prints a line for every run that ends, with the time that the others will take.

    Args:
        total: runs of the grid.
        done: how many of them were done before.
        jobs: runs at a time.
        say: prints a line.
    """

    def __init__(self, total: int, done: int, jobs: int, say: Callable[[str], None] = print) -> None:
        self.total, self.ended, self.jobs, self.say = total, done, jobs, say
        self.durations: list[float] = []

    def report(self, run: Run, state: State, outcome: Outcome) -> None:
        """Tells of a run that ended, or that is left to others."""
        if outcome.left is not None and state.kind != DONE:
            self.total -= 1
            self.say(f"{run.title}: at work: {outcome.left}; left to it")
            return
        self.ended += 1
        if outcome.left is None:
            self.durations.append(outcome.seconds)
        told = f"failed: {outcome.failure}" if outcome.failure else run.shown.headline.said(run.score(state))
        line = f"[{self.ended}/{self.total}] {run.title}: {told} ({outcome.left or duration(outcome.seconds)})"
        if self.ended < self.total and self.durations:
            line += f"; about {duration(self.left())} left"
        self.say(line)

    def left(self) -> float:
        """Seconds: the mean duration so far for each run that is left, some at a time."""
        left = self.total - self.ended
        return statistics.mean(self.durations) * left / min(self.jobs, left)


def duration(seconds: float) -> str:
    """ "40 s", "12 min" or "3.5 h"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def run_all(
    tasks: Sequence[Task],
    execute: Callable[[Task], Outcome],
    *,
    jobs: int,
    progress: Progress,
    stop: Callable[[], None],
) -> list[Run]:
    """Executes tasks in their order, `jobs` at a time; returns the runs that failed.

    Args:
        tasks: what to do.
        execute: does one.
        jobs: how many at a time.
        progress: hears of each that ended.
        stop: makes what is being executed end; called on Ctrl-C and on any error.
    """
    failed: list[Run] = []
    with ThreadPoolExecutor(jobs) as pool:
        futures = {pool.submit(_interrupted_where_stopped, execute, task): task.run for task in tasks}
        try:
            for future in _as_completed(futures):
                run, outcome = futures[future], future.result()
                if outcome.failure is not None:
                    failed.append(run)
                progress.report(run, read_state(run), outcome)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            stop()
            raise
    return failed


def _interrupted_where_stopped(execute: Callable[[Task], Outcome], task: Task) -> Outcome:
    try:
        return execute(task)
    except PutOffError as error:
        return Outcome(failure=str(error))
    except StoppedError as error:
        raise KeyboardInterrupt from error


def _as_completed(futures: Collection[Future[Outcome]]) -> Iterator[Future[Outcome]]:
    """Futures as they end; those that end together in the order of their submission."""
    left = list(futures)
    while left:
        done, _ = wait(left, return_when=FIRST_COMPLETED)
        yield from [future for future in left if future in done]
        left = [future for future in left if future not in done]


class StopRequestedError(KeyboardInterrupt):
    """A signal asked the study to end; it does as by Ctrl-C."""


@contextlib.contextmanager
def ended_as_interrupted() -> Iterator[None]:
    """While active, signals that a training ends by end the main thread as Ctrl-C does, so that its runs are stopped.

    What is ignored, such as a hang-up under nohup, stays ignored.

    Raises:
        StopRequestedError: one came.
    """

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise StopRequestedError

    is_main = threading.current_thread() is threading.main_thread()
    numbers = [n for n in REQUESTS if is_main and signal.getsignal(n) is signal.SIG_DFL]
    for number in numbers:
        signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number in numbers:
            signal.signal(number, signal.SIG_DFL)
