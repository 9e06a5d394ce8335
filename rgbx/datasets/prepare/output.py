"""Writing many files so that an interrupted run can be repeated and every file can be checked.

A file appears by one rename, so it is there as a whole or not at all. What it is, and what it was made of, is noted
before that (`rgbx.datasets.prepare.notes`). So a later run knows which files are its own: those are kept if they are
unchanged and were made of the same sources, and any other file in the way is an error, told before anything is written.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from rgbx._files import FileInMemory, inside
from rgbx._types import Options
from rgbx.datasets.prepare.notes import Note, Notes, at_work, finish, identity, journal, read_notes
from rgbx.maps.files import file_hash, read_image, replace_file

_KNOWN = 4096  # sources whose identities are remembered; one file may be behind all jobs
_LOOK = 0.5  # seconds between looks at whether a process lives
_TOLD = 6  # sources, in a message


class Content(NamedTuple):
    """What a file will hold.

    Attributes:
        data: all of it.
        saturated: pixels whose value was too large for the file.
    """

    data: bytes
    saturated: int = 0


class NotMadeError(ValueError):
    """The files of a job cannot be made, whatever the others; the message says which and why."""


@dataclass(frozen=True)
class Job:
    """Files that are made together.

    Attributes:
        names: relative to the output folder, with "/" between folders.
        make: the content of each of the names; called only if one of them is missing. A `NotMadeError` leaves them out.
        sources: the files that they are made of.
        options: what decides on the content of these files alone, as plain values.
    """

    names: tuple[str, ...]
    make: Callable[[], Mapping[str, Content]]
    sources: Iterable[Path] = ()
    options: Options = field(default_factory=dict)


@dataclass(frozen=True)
class Preparation:
    """All that is made of a dataset.

    Attributes:
        dataset: its name.
        source: the folder or file that it lies in, for messages.
        jobs: in the order of writing.
        options: what decides on the content besides the sources, as plain values.
        unit: what a job makes, for the progress bar.
    """

    dataset: str
    source: Path
    jobs: Sequence[Job]
    options: Options = field(default_factory=dict)
    unit: str = "frame"

    @property
    def origin(self) -> str:
        """In words, for messages."""
        return f"{self.dataset} in {self.source.resolve()}"


class Summary(NamedTuple):
    """What a run did.

    Attributes:
        written: files.
        kept: files that were there already.
        saturated: pixels of all files in the folder, also of those that earlier runs wrote.
        compared: kept files of which nobody had noted what they were made of; made anew, they were the same.
        failed: what was said of each job whose files could not be made.
    """

    written: int
    kept: int
    saturated: int = 0
    compared: int = 0
    failed: tuple[str, ...] = ()


def write_preparation(folder: str | Path, preparation: Preparation, *, workers: int = 0) -> Summary:
    """Writes what is missing of a preparation's files, with a progress bar, then what is known of them.

    Args:
        folder: made if it is not there.
        preparation: what to write.
        workers: processes that make the files, which this one writes in their order; 0 makes them here.

    Raises:
        FileExistsError: a file in the way that no earlier run wrote, that has changed since, or that was made of other
            sources or by other options.
        ValueError: notes of an earlier run that are none, a name that leads out of the folder, or another process at
            work there.
    """
    folder, jobs = Path(folder), preparation.jobs
    names = [name for job in jobs for name in job.names]
    for name in names:
        if inside(folder, name, "output") != name:
            raise ValueError(f"output: {name!r} is no plain name of a file in {folder}")
    with at_work(folder) as work:
        notes = read_notes(folder)
        check = _Check(folder, preparation, notes)
        compared = check.all()
        notes.origin = preparation.origin
        written, lacking, failed = 0, 0, list[str]()
        with journal(work, notes) as note_down:
            missing = [job for job in jobs if any(not (folder / name).exists() for name in job.names)]
            made = _made(missing, check, workers)
            for job in _shown(missing, preparation.dataset, preparation.unit, len(jobs)):
                contents, made_of = next(made)
                if isinstance(contents, NotMadeError):
                    failed.append(str(contents))
                    lacking += len(job.names)
                else:
                    written += _write(job, contents, made_of, check, note_down)
        finish(folder, notes, preparation.options)
    saturated = sum(note.saturated for note in notes.files.values())
    return Summary(written, len(names) - written - lacking, saturated, compared, tuple(failed))


def _shown(jobs: Sequence[Job], title: str, unit: str, of: int) -> Iterable[Job]:
    """The jobs, with a progress bar in a terminal, where they are the last of so many."""
    found: Iterable[Job] = tqdm(jobs, desc=title, unit=unit, initial=of - len(jobs), total=of, disable=None)
    return found


Made = tuple[Mapping[str, Content] | NotMadeError, str]  # of a job: its files, and what they are made of


def _made(jobs: Sequence[Job], check: _Check, workers: int) -> Iterator[Made]:
    """What each job gives in turn; by processes, a few jobs ahead."""
    if not workers:
        yield from (_attempt(job, check) for job in jobs)
        return
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("fork"), _give_jobs, (jobs, check, os.getpid()))
    try:
        waiting: deque[Future[Made]] = deque()
        for number in range(len(jobs)):
            waiting.append(pool.submit(_make, number))
            if len(waiting) > workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


_GIVEN: list[tuple[Sequence[Job], _Check]] = []  # in a process that makes: by forking, as jobs may be large


def _give_jobs(jobs: Sequence[Job], check: _Check, parent: int) -> None:
    _GIVEN.append((jobs, check))
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: int) -> None:
    """Ends this process soon after the one that started it, which may be killed."""
    while os.getppid() == parent:
        time.sleep(_LOOK)
    os._exit(1)


def _make(number: int) -> Made:
    jobs, check = _GIVEN[-1]
    return _attempt(jobs[number], check)


def _attempt(job: Job, check: _Check) -> Made:
    try:
        return job.make(), check.made_of(job)
    except NotMadeError as error:
        return error, ""


class _Check:
    """Whether what lies in a folder is what a preparation would write there."""

    def __init__(self, folder: Path, preparation: Preparation, notes: Notes) -> None:
        self.folder, self.preparation, self.notes = folder, preparation, notes
        self._identity = lru_cache(_KNOWN)(identity)

    def all(self) -> int:
        """Checks what is there of all jobs; returns how many files had to be made anew for that.

        Raises:
            FileExistsError: see `write_preparation`.
        """
        known, origin = self.notes.files, self.notes.origin
        for name in (name for job in self.preparation.jobs for name in job.names):
            if name not in known and (self.folder / name).exists():
                raise FileExistsError(
                    f"{self.folder / name} is in the way: no earlier run wrote it; use another output folder"
                )
        jobs = self.preparation.jobs
        found = [self._one(job) for job in _shown(jobs, "checking", self.preparation.unit, len(jobs))]
        others = any((self.folder / name).exists() for name in known)
        if origin not in (None, self.preparation.origin) and others and not any(kept for kept, _ in found):
            raise FileExistsError(
                f"{self.folder} was prepared from {origin}, and has no file in common with {self.preparation.origin} "
                "by which to see that both are one: use another output folder"
            )
        return sum(compared for _, compared in found)

    def made_of(self, job: Job) -> str:
        """A digest of the content of a job's sources and of what else decides on that of its files."""
        found = [self._identity(path) for path in job.sources]
        own = [dict(job.options)] if job.options else []
        text = json.dumps([self.preparation.dataset, dict(self.preparation.options), found, *own], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def _one(self, job: Job) -> tuple[int, int]:
        """How many of a job's files are there, and how many of them had to be made anew."""
        notes = {name: self.notes.files[name] for name in job.names if (self.folder / name).exists()}
        for name, note in notes.items():
            if file_hash(self.folder / name) != note.sha256:
                raise FileExistsError(
                    f"{self.folder / name} has changed since it was written; delete it to have it made again"
                )
        if all(note.made_of for note in notes.values()):
            wrong = [name for name, note in notes.items() if note.made_of != self.made_of(job)]
            anew = 0
        else:
            contents, anew = job.make(), len(notes)
            wrong = [name for name in notes if not _is_same(self.folder / name, contents[name].data)]
            for name, note in notes.items():
                self.notes.files[name] = Note(note.sha256, self.made_of(job), contents[name].saturated)
        if wrong:
            before = self.notes.origin or "files of which no note was made"
            files = [str(path) for path in islice(job.sources, _TOLD + 1)]
            more = ", ..." if len(files) > _TOLD else ""
            raise FileExistsError(
                f"{self.folder} was prepared from {before}; {wrong[0]} there is not what {self.preparation.origin} "
                f"gives now ({', '.join(files[:_TOLD])}{more}): use another output folder"
            )
        return len(notes), anew


def _is_same(path: Path, data: bytes) -> bool:
    """Whether a file has these bytes, or is an image of the same pixels, which another encoder has packed."""
    if path.read_bytes() == data:
        return True
    try:
        before, now = read_image(path), read_image(FileInMemory(path.name, data))
    except ValueError:
        return False
    return before.dtype == now.dtype and np.array_equal(before, now)


def _write(
    job: Job,
    contents: Mapping[str, Content],
    made_of: str,
    check: _Check,
    note_down: Callable[[Mapping[str, Note]], None],
) -> int:
    """Writes what is missing of a job's files, and returns how many those were."""
    missing = [name for name in job.names if not (check.folder / name).exists()]
    found = {
        name: Note(hashlib.sha256(contents[name].data).hexdigest(), made_of, contents[name].saturated)
        for name in missing
    }
    note_down(found)
    check.notes.files |= found
    for name in missing:
        replace_file(check.folder / name, contents[name].data)
    return len(missing)
