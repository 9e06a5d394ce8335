"""One run of a study, and what its folder says about it.

A folder holds what rgbx train and rgbx test leave there, the log of both (log.txt), the result file
(results.json), and `run.json`: the resolved config that the run was started with, how long it took, how it failed.
Whoever is at work on the run, on whichever machine, holds the lock beside the folder (seed_N.lock).
"""

from __future__ import annotations

import json
import re
import reprlib
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any

from rgbx._files import read_json
from rgbx._lock import holder_of, locked
from rgbx._runs import find_last
from rgbx.evaluate.result import read_result
from rgbx.evaluate.result_form import Result
from rgbx.maps import replace_file
from rgbx.study.declaration import Overrides
from rgbx.study.shown import Shown
from rgbx.train.flat import Flat, differences

FORMAT = "rgbx-study-run/1"
DONE, FAILED, STARTED, CHANGED, DAMAGED, ABSENT = "done", "failed", "unfinished", "changed", "damaged", "not run"
AT_WORK = "at work"
Note = dict[str, Any]  # what `run.json` holds
_KINDS: dict[str, tuple[tuple[type, ...], type]] = {  # of its fields, and of what stands in those
    "sha256": ((str,), str),
    "seconds": ((int, float), str),
    "failure": ((str, type(None)), str),
    "commits": ((list,), str),
    "config": ((dict,), str),
}
_PLACE = re.compile(r"\brgbx\.(?:[a-z_0-9]+\.)+(?=\w)")  # of a class or builder
LONGEST = 200  # characters of a failure


@dataclass(frozen=True)
class Run:
    """A method with a seed.

    Attributes:
        method: its name in the study.
        seed: of all its randomness.
        folder: where it lies.
        overrides: of the study's config, the seed included.
        resolved: every value of the config with these overrides.
        sha256: of the same, as rgbx test notes it in its result file.
        subsets: the modalities it is tested on, the headline first.
        shown: the scores of its result that the study shows, the same of all runs.
        objectives: of its model, in words.
    """

    method: str
    seed: int
    folder: Path
    overrides: Overrides = field(hash=False)
    resolved: Flat = field(hash=False)
    sha256: str
    subsets: tuple[str, ...]
    shown: Shown = field(hash=False)
    objectives: tuple[str, ...] = ()

    @property
    def log(self) -> Path:
        """What training and testing print."""
        return self.folder / "log.txt"

    @property
    def lock_name(self) -> str:
        """Of the lock beside the folder: not inside, as the folder may get another name."""
        return f"{self.folder.name}.lock"

    def taken(self) -> AbstractContextManager[IO[str]]:
        """Keeps all other calls of the study away from this run, see `rgbx._lock.locked`."""
        return locked(self.folder.parent, self.title, name=self.lock_name)

    def holder(self) -> str | None:
        """Who is at work on it: "process 4711 on gpu3 since 2026-05-04 09:12:33"; None for nobody."""
        found = holder_of(self.folder.parent, self.lock_name)
        return found and in_short(found)

    @property
    def results(self) -> Path:
        """The result file of the test."""
        return self.folder / "results.json"

    def score(self, state: State, subset: str | None = None) -> float | None:
        """The first of the scores under a subset, the headline by default; None where it was not measured."""
        if state.result is None:
            return None
        return self.shown.value(state.result, subset or self.subsets[0], self.shown.headline.name)

    @property
    def title(self) -> str:
        """ "method, seed 0"."""
        return f"{self.method}, seed {self.seed}"


@dataclass(frozen=True)
class State:
    """What a folder says about its run.

    Attributes:
        kind: DONE, FAILED, STARTED (and interrupted), CHANGED (another config than now), DAMAGED (a file that cannot be
            read), ABSENT, or AT_WORK, as far as `state_now` tells.
        result: the result file; None unless done.
        notes: the failure, what changed, what is damaged, or who is at work.
        seconds: that training and testing took so far.
        commits: of the program that worked on it, where known.
    """

    kind: str
    result: Result | None = None
    notes: tuple[str, ...] = ()
    seconds: float = 0.0
    commits: tuple[str, ...] = ()


def read_state(run: Run) -> State:
    """Reads what a run left behind.

    A run is done where its result file carries the hash of the run's config, with all heads and subsets. It is
    changed where it was of another config and left something that could be taken for this one's: a result or an epoch.
    """
    try:
        note = read_note(run)
        result = _read_result(run)
    except (ValueError, OSError) as error:
        return State(DAMAGED, notes=(str(error),))
    seconds = float(note.get("seconds", 0.0))
    commits = tuple(note.get("commits", ()))
    left = result is not None or find_last(run.folder) is not None
    changed = _changes(note, run)
    if left and changed is not None:
        return State(CHANGED, notes=tuple(changed), seconds=seconds)
    if result is not None and result["config"]["sha256"] not in (run.sha256, note.get("sha256")):
        return State(CHANGED, notes=("results.json was made with another config",), seconds=seconds)
    if result is not None and run.shown.covers(result, run.subsets):
        return State(DONE, result, seconds=seconds, commits=commits)
    if note.get("failure"):
        return State(FAILED, notes=(str(note["failure"]),), seconds=seconds, commits=commits)
    return State(STARTED if note else ABSENT, seconds=seconds, commits=commits)


def state_now(run: Run) -> State:
    """What a run has left behind, or that a process is at work on it: this one's others, or another machine's."""
    holder, state = run.holder(), read_state(run)  # in this order, as a run that ends meanwhile is done
    at_work = holder is not None and state.kind in (FAILED, STARTED, ABSENT)
    return replace(state, kind=AT_WORK, notes=(str(holder),)) if at_work else state


def in_short(holder: str) -> str:
    """Who holds a lock, without the command."""
    return holder.partition(": ")[0] or "another process"


def _read_result(run: Run) -> Result | None:
    if not run.results.exists():
        return None
    try:
        return read_result(run.results)
    except ValueError as error:
        raise ValueError(f"{error}; remove the file to have the run tested anew") from error


def _changes(note: Note, run: Run) -> list[str] | None:
    """What the config is now and was not when the run began; None where it is the same.

    Classes of rgbx that merely lie elsewhere in it by now are the same ones.
    """
    if note.get("sha256", run.sha256) == run.sha256:
        return None
    before, now = (
        {path: _PLACE.sub("rgbx.", value) for path, value in config.items()}
        for config in (note.get("config", {}), run.resolved)
    )
    found = differences(before, now)
    return found if found or not before else None


def read_note(run: Run) -> Note:
    """The run's `run.json`; empty where there is none.

    Raises:
        ValueError: the file is no such note.
    """
    path = run.folder / "run.json"
    if not path.exists():
        return {}
    try:
        note: Any = read_json(path)
        found = note["format"]
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{path} is damaged ({error}); remove the run's folder to run it anew") from error
    if found != FORMAT:
        raise ValueError(f"{path}: field 'format' is {reprlib.repr(found)}, expected {FORMAT!r}")
    for name, (kinds, inner) in _KINDS.items():
        value = note.get(name)
        items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        if name in note and not (isinstance(value, kinds) and all(isinstance(item, inner) for item in items)):
            raise ValueError(f"{path}: field {name!r} is {reprlib.repr(value)}; remove the run's folder to run it anew")
    return note


def write_note(run: Run, *, seconds: float, failure: str | None = None, commits: Sequence[str] = ()) -> None:
    """Notes the config of a run, the time it has taken, the failure it ended with and who worked on it."""
    note = {
        "format": FORMAT,
        "method": run.method,
        "seed": run.seed,
        "sha256": run.sha256,
        "seconds": seconds,
        "failure": failure,
        "commits": list(commits),
        "config": run.resolved,
    }
    replace_file(run.folder / "run.json", (json.dumps(note, indent=1) + "\n").encode())


def move_aside(run: Run) -> Path:
    """Renames the folder of a run whose config has changed, so that nothing of it is resumed; returns the new name."""
    count = 1
    while (target := run.folder.with_name(f"{run.folder.name}.changed_{count}")).exists():
        count += 1
    run.folder.rename(target)
    return target


def last_line(log: Path, start: int = 0) -> str:
    """The last line that a command printed, short and without the folders of paths.

    Args:
        log: the file it printed to.
        start: bytes that were there before it.
    """
    with log.open("rb") as file:
        file.seek(start)
        lines = file.read().decode(errors="replace").split("\n")
    text = next((line.strip() for line in reversed(lines) if line.strip()), "it printed nothing")
    return shorten(text.split("\r")[-1])


def shorten(text: str) -> str:
    """At most 200 characters, with file names for absolute paths."""
    text = re.sub(r"(?<![\w.~/])~?/(?:[^\s/'\":,;]+/)*([^\s/'\":,;]+)", r"\1", text)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
