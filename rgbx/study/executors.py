"""Work of this project as jobs of a cluster, whose library is imported only where it is asked for."""

from __future__ import annotations

import importlib
import os
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol, TypeVar, cast

import rgbx
from rgbx.study.commands import Commands, PutOffError
from rgbx.study.grid import Progress
from rgbx.study.runs import DONE, Run, read_state
from rgbx.study.work import Outcome, Task

POLL = 1.0  # seconds
REFUSED = 30.0  # seconds until what a cluster did not take is submitted again
REFUSALS = 20  # times in a row
SHARED = 30.0  # seconds until what a job has written is seen here
AGAIN = 2  # times that a run is submitted again whose job was killed, or put off without being requeued


class Job(Protocol):
    """Work that was submitted.

    Attributes:
        name: for messages: "job 12_3".
        log: where it tells more.
    """

    name: str
    log: str

    def result(self) -> object:
        """What the work gave, of a job that has ended.

        Raises:
            PutOffError: it was killed, or asked to end, before it had done its work.
            RuntimeError: it failed; the message is the last line of the reason.
        """


J = TypeVar("J", bound=Job)


class Cluster(Protocol[J]):
    """What carries out work elsewhere.

    Attributes:
        most: jobs at a time; the others wait here, not there.
    """

    most: int

    def submit(self, works: Sequence[Callable[[Commands], object]]) -> list[J]:
        """Submits work as jobs, which begin at once or later."""

    def ended(self, jobs: Sequence[J]) -> list[J]:
        """Those that have ended."""

    def cancel(self, jobs: Sequence[J]) -> None:
        """Asks jobs to end, as a scheduler does; those that have not begun never will."""


def open_cluster(executor: str, **options: object) -> Cluster[Job]:
    """The cluster of an executor: "submitit" or "ray".

    Args:
        executor: its name.
        options: of its `open_cluster`.

    Raises:
        ImportError: its library is not installed; the message says how to.
    """
    module = importlib.import_module(f"rgbx.study.on_{executor}")
    return cast(Callable[..., Cluster[Job]], module.open_cluster)(**options)


def run_on(cluster: Cluster[J], tasks: Sequence[Task], progress: Progress) -> list[Run]:
    """Carries out tasks as jobs; returns the runs that failed.

    A run whose job was killed is submitted again, twice at most. A cluster that takes no jobs is asked again later,
    unless it has taken none so far. On Ctrl-C, and on any error, all jobs are cancelled.

    Raises:
        ValueError: the cluster takes no job; the message is its own.
    """
    waiting, at_work = deque(_free(tasks, progress)), dict[J, Task]()
    lost, failed, refusals, not_before = Counter[Task](), list[Run](), 0, -REFUSED
    taken = False
    try:
        while waiting or at_work:
            free = min(len(waiting), cluster.most - len(at_work)) if time.monotonic() >= not_before else 0
            begun = [waiting.popleft() for _ in range(free)]
            try:
                at_work |= zip(cluster.submit(begun), begun, strict=True) if begun else {}
                taken, refusals = taken or bool(begun), 0 if begun else refusals
            except ValueError as error:
                refusals += 1
                if not taken or (refusals > REFUSALS and not at_work):
                    raise
                progress.say(f"{error}; tried again in {REFUSED:.0f} s")
                waiting.extendleft(reversed(begun))
                not_before = time.monotonic() + REFUSED
            for job in cluster.ended(list(at_work)):
                task = at_work.pop(job)
                outcome = _outcome(job, task, again=lost[task] < AGAIN)
                if outcome is None:
                    lost[task] += 1
                    progress.say(f"{task.run.title}: {job.name} was killed or put off; it is submitted again")
                    waiting.append(task)
                    continue
                if outcome.failure is not None:
                    failed.append(task.run)
                progress.report(task.run, read_state(task.run), outcome)
            if at_work or waiting:
                time.sleep(POLL)
    except BaseException:
        progress.say(f"{len(at_work)} jobs are cancelled")
        cluster.cancel(list(at_work))
        raise
    return failed


def _free(tasks: Sequence[Task], progress: Progress) -> Iterator[Task]:
    """Those that nobody is at work on; of the others it is told."""
    for task in tasks:
        if holder := task.run.holder():
            progress.report(task.run, read_state(task.run), Outcome(left=holder))
        else:
            yield task


def _outcome(job: Job, task: Task, *, again: bool) -> Outcome | None:
    """What became of a job; None where its run is to be submitted again."""
    try:
        found = cast(Outcome, job.result())
        if found.failure is None and found.left is None and not _is_seen(task.run):
            told = f"{job.name} has done it, but nothing of it is seen in {task.run.folder}: this machine and the job's"
            return Outcome(failure=f"{told} need one file system")
        return found
    except PutOffError as error:
        if read_state(task.run).kind == DONE:  # and its job was killed before it could say so
            return Outcome()
        return None if again else Outcome(failure=f"{job.name}, {AGAIN + 1} times: {error}; {job.log} may tell why")
    except RuntimeError as error:
        return Outcome(failure=f"{job.name}: {error}")


def _is_seen(run: Run) -> bool:
    end = time.monotonic() + SHARED
    while read_state(run).kind != DONE:
        if time.monotonic() > end:
            return False
        time.sleep(POLL)
    return True


def options_of(texts: Sequence[str], option: str) -> Mapping[str, str]:
    """NAME=VALUE as a mapping.

    Raises:
        ValueError: a text without "=" or a name.
    """
    found = {}
    for text in texts:
        name, sign, value = text.partition("=")
        if not name or not sign:
            raise ValueError(f"{option} {text}: expected NAME=VALUE")
        found[name] = value
    return found


def python_path() -> str:
    """PYTHONPATH of a process elsewhere that imports this very package, and looks for others where this one does."""
    places = [Path(rgbx.__file__).parents[1], *(Path(place).absolute() for place in sys.path if place)]
    return os.pathsep.join(dict.fromkeys(map(str, places)))


def last_words(error: BaseException) -> str:
    """The last error that an error's text tells of, which other processes fill with traces."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip(" -")]
    told = [line for line in lines if "Error" in line or "requeued" in line]
    return (told or lines or [type(error).__name__])[-1].rpartition("Error: ")[2]
