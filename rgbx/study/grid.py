"""All runs of a study: some at a time, with a line for each that ends."""

from __future__ import annotations

import contextlib
import signal
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from types import FrameType

from rgbx.study.commands import RunError, StoppedError
from rgbx.study.runs import Run, State, read_state
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

    def report(self, run: Run, state: State, seconds: float, failure: str | None) -> None:
        """Tells of a run that ended after some seconds."""
        self.ended += 1
        self.durations.append(seconds)
        outcome = f"failed: {failure}" if failure else run.shown.headline.said(run.score(state))
        line = f"[{self.ended}/{self.total}] {run.title}: {outcome} ({duration(seconds)})"
        if self.ended < self.total:
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
    runs: Sequence[Run],
    execute: Callable[[Run], None],
    *,
    jobs: int,
    progress: Progress,
    stop: Callable[[], None],
) -> list[Run]:
    """Executes runs in their order, `jobs` at a time; returns those that failed.

    Args:
        runs: what to do.
        execute: does one, or raises RunError.
        jobs: how many at a time.
        progress: hears of each that ended.
        stop: makes what is being executed end; called on Ctrl-C and on any error but RunError.
    """
    failed: list[Run] = []
    with ThreadPoolExecutor(jobs) as pool:
        futures = {pool.submit(_timed, execute, run): run for run in runs}
        try:
            for future in _as_completed(futures):
                seconds, failure = future.result()
                if failure is not None:
                    failed.append(futures[future])
                progress.report(futures[future], read_state(futures[future]), seconds, failure)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            stop()
            raise
    return failed


def _timed(execute: Callable[[Run], None], run: Run) -> tuple[float, str | None]:
    start = time.monotonic()
    try:
        execute(run)
    except RunError as error:
        return time.monotonic() - start, str(error)
    except StoppedError as error:
        raise KeyboardInterrupt from error
    return time.monotonic() - start, None


def _as_completed(futures: dict[Future[tuple[float, str | None]], Run]) -> Iterator[Future[tuple[float, str | None]]]:
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
