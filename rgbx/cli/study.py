"""Runs a study: a declared grid of methods and seeds, trained and tested with one budget, told in one table."""

from __future__ import annotations

import argparse
import importlib.metadata
import shlex
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import rgbx
from rgbx._lock import locked
from rgbx.cli.errors import INTERRUPTED, STOPPED, ConfigError, command
from rgbx.cli.study_runs import common_arguments, read_study, resolve_runs, select, shared_overrides, subject_of
from rgbx.maps import replace_file
from rgbx.profile.measure import find_device
from rgbx.study import Study
from rgbx.study.commands import Commands
from rgbx.study.costs import Costs, measure_costs, read_costs, write_costs
from rgbx.study.document import relative, study_document
from rgbx.study.environment import child_environment
from rgbx.study.executors import Cluster, Job, open_cluster, run_on
from rgbx.study.grid import Progress, StopRequestedError, ended_as_interrupted, run_all
from rgbx.study.plot import plot_front, plot_study
from rgbx.study.runs import (
    ABSENT,
    AT_WORK,
    CHANGED,
    DAMAGED,
    DONE,
    FAILED,
    STARTED,
    Run,
    State,
    read_state,
    shorten,
    state_now,
)
from rgbx.study.scores import gather
from rgbx.study.table import csv_text, markdown_table
from rgbx.study.work import Task

SOME_FAILED = 1


@command("study")
def main(arguments: argparse.Namespace) -> int:
    """Parses, runs what is not done, measures costs, writes the table.

    Exit code 0, 1 if runs failed or are damaged, 2 for a user's error, 75 if a signal asked it to end, 130 for Ctrl-C.
    """
    declared = read_study(arguments.study)
    work_dir = Path(arguments.work_dir or Path("work_dirs/studies", declared.file.stem))
    if arguments.executor == "local":
        child_environment(arguments.device, 1)
        find_device(arguments.device)  # before hours of training on another one
    runs = resolve_runs(declared, work_dir, arguments)
    selected = select(declared, runs, only=arguments.only, seeds=arguments.seeds)
    if arguments.dry_run:
        print(grid_text(selected))
        return SOME_FAILED if _damaged(selected) else 0
    try:
        with ended_as_interrupted():
            damaged = _damaged(selected)
            for run, why in damaged.items():
                print(f"{run.title} is left as it is: {why}", file=sys.stderr)
            tasks = _to_do(declared, selected, arguments)
            if tasks and arguments.no_wait:
                print(submitted_text(tasks, work_dir, arguments))
                return SOME_FAILED if damaged else 0
            failed = _run(tasks, selected, work_dir, arguments) if tasks else []
            with locked(work_dir, "another call's table", wait=True):  # the last one to write has seen all runs
                costs = costs_of(declared, runs, arguments, work_dir)
                print(write_outputs(declared, runs, costs, arguments, Path(arguments.out or work_dir)))
    except KeyboardInterrupt as error:
        print("\nInterrupted; the same command goes on where this one stopped.", file=sys.stderr)
        return STOPPED if isinstance(error, StopRequestedError) else INTERRUPTED
    return SOME_FAILED if failed or damaged else 0


def _damaged(runs: Sequence[Run]) -> dict[Run, str]:
    """The runs of which a file cannot be read, and what is wrong with it."""
    states = {run: read_state(run) for run in runs}
    return {run: state.notes[0] for run, state in states.items() if state.kind == DAMAGED}


def _to_do(study: Study, selected: Sequence[Run], arguments: argparse.Namespace) -> list[Task]:
    """The runs to carry out, in their order; of those that others are at work on, too, as these may end.

    Raises:
        ConfigError: a run's config has changed, and `--rerun-changed` is not given.
    """
    states = {run: read_state(run) for run in selected}
    changed = [run for run, state in states.items() if state.kind == CHANGED]
    if changed and (arguments.table_only or not arguments.rerun_changed):
        raise ConfigError(change_text(changed[0], states[changed[0]], len(changed)))
    if arguments.table_only:
        return []
    config, common = relative(study.config, outside=True), tuple(common_arguments(arguments))
    return [
        Task(run, config, common, arguments.rerun_changed, state.kind == FAILED)
        for run, state in states.items()
        if state.kind not in (DONE, DAMAGED)
    ]


def change_text(run: Run, state: State, count: int) -> str:
    """One sentence on runs whose config is another one now."""
    shown = "; ".join(state.notes[:5]) + (f"; and {len(state.notes) - 5} more" if len(state.notes) > 5 else "")
    others = f" (and {count - 1} other runs)" if count > 1 else ""
    return (
        f"the config of {run.title}{others} is not that of the run in {run.folder}: {shown or 'its text differs'}. "
        "--rerun-changed runs it anew and keeps the old folder under another name; another --work-dir keeps both"
    )


def _run(tasks: Sequence[Task], selected: Sequence[Run], work_dir: Path, arguments: argparse.Namespace) -> list[Run]:
    """Carries out what no other call is at work on; returns the runs that failed."""
    done = sum(read_state(run).kind == DONE for run in selected)
    cluster = _cluster(work_dir, arguments)
    jobs = arguments.jobs or (1 if cluster is None else min(cluster.most, len(tasks)))
    print(
        f"{len(selected)} runs, {done} done before, {jobs} at a time; logs: {work_dir}/METHOD/seed_N/log.txt",
        flush=True,
    )
    progress = Progress(done + len(tasks), done, jobs, partial(print, flush=True))
    failed: list[Run] = []
    while tasks:
        if cluster is None:
            commands = Commands(child_environment(arguments.device, jobs))
            execute = partial(Task.__call__, commands=commands)
            failed += run_all(tasks, execute, jobs=jobs, progress=progress, stop=commands.stop)
        else:
            failed += run_on(cluster, tasks, progress)
        tasks = [task for task in tasks if task.run not in failed and state_now(task.run).kind in (STARTED, ABSENT)]
        progress.total += len(tasks)  # their holders have ended, and they have not
    return failed


def submitted_text(tasks: Sequence[Task], work_dir: Path, arguments: argparse.Namespace) -> str:
    """Submits what nobody is at work on, and says by which jobs it is done, for whom nobody waits."""
    cluster = _cluster(work_dir, arguments)
    holders = {task: task.run.holder() for task in tasks}
    free = [task for task, holder in holders.items() if holder is None]
    jobs = cluster.submit(free) if cluster is not None and free else []
    lines = [f"{task.run.title}: {job.name}" for task, job in zip(free, jobs, strict=True)]
    lines += [f"{task.run.title}: at work: {holder}" for task, holder in holders.items() if holder]
    return "\n".join([*lines, f"{len(free)} jobs are submitted; --dry-run tells of them, --table-only tabulates"])


def _cluster(work_dir: Path, arguments: argparse.Namespace) -> Cluster[Job] | None:
    """Where the runs are carried out; None for here."""
    shared = {"most": arguments.jobs, "device": arguments.device}
    if arguments.executor == "submitit":
        place = {"folder": work_dir / "jobs", "cluster": arguments.cluster, "parameters": arguments.slurm}
        return open_cluster("submitit", **place, **shared)
    if arguments.executor == "ray":
        return open_cluster("ray", address=arguments.ray_address, options=arguments.ray, **shared)
    return None


def grid_text(runs: Sequence[Run]) -> str:
    """One line per run: what it is tested on, and whether it is done."""
    lines = []
    for run in runs:
        state = state_now(run)
        value = run.score(state)
        known = "" if value is None else f", {run.shown.headline.said(value)}"
        notes = f" ({'; '.join(state.notes[:3])})" if state.notes else ""
        lines.append(f"{run.title} on {', '.join(run.subsets)}: {state.kind}{known}{notes}")
    done = sum(read_state(run).kind == DONE for run in runs)
    return "\n".join([*lines, f"{len(runs)} runs, {done} done"])


def costs_of(study: Study, runs: Sequence[Run], arguments: argparse.Namespace, work_dir: Path) -> Costs:
    """Parameters, operations and latency of all methods: those kept in the work directory, or measured now."""
    path, latency = work_dir / "costs.json", not arguments.no_latency
    first = {run.method: run for run in reversed(runs)}
    key = {
        "configs": {method: first[method].sha256 for method in study.methods},
        "subsets": {method: first[method].subsets[0] for method in study.methods},
        "versions": {"rgbx": rgbx.__version__, "torch": importlib.metadata.version("torch")},
        "device": arguments.device,
    }
    kept = read_costs(path)
    if kept is not None and kept.has(key, latency=latency):
        return kept
    if latency and (why := _untimed(runs, arguments.executor)):
        print(f"The methods are not timed, as {why}; --table-only times them afterwards", flush=True)
        latency = False
        if kept is not None and kept.has(key, latency=False):
            return kept
    print("Measuring parameters and operations" + (", and timing the methods in turn" if latency else ""), flush=True)
    builders = {
        method: partial(subject_of, study, method, arguments, first[method].subsets[0]) for method in study.methods
    }
    device = arguments.device if arguments.executor == "local" else "cpu"  # this machine may not have the runs' one
    costs = measure_costs(builders, device=device, key=key, latency=latency)
    write_costs(costs, path)
    return costs


def _untimed(runs: Sequence[Run], executor: str) -> str:
    """Why times would mean nothing now; "" where they would."""
    at_work = [run for run in runs if state_now(run).kind == AT_WORK]
    if at_work:
        others = f" and {len(at_work) - 1} others" if at_work[1:] else ""
        return f"{at_work[0].title}{others} may be at work on this machine"
    return "" if executor == "local" else f"the runs of --executor {executor} may have been on other machines"


def write_outputs(study: Study, runs: Sequence[Run], costs: Costs, arguments: argparse.Namespace, folder: Path) -> str:
    """Writes STUDY.md, STUDY.csv and STUDY.png; returns the table and where they are, to be printed."""
    gathered = gather(study, {run: state_now(run) for run in runs}, costs.methods)
    markdown, table, picture = (folder / f"{study.file.stem}.{suffix}" for suffix in ("md", "csv", "png"))
    document = study_document(
        gathered,
        command=command_line(arguments),
        costs=costs,
        picture=picture.name,
        overrides=shared_overrides(study, arguments),
    )
    plot_study(gathered, picture)
    plot_front(gathered, picture.with_name(f"{picture.stem}_front.png"))
    replace_file(table, csv_text(gathered).encode())
    replace_file(markdown, document.encode())
    return f"{markdown_table(gathered)}\n{markdown}, {table.name} and {picture.name} are written"


def command_line(arguments: argparse.Namespace) -> str:
    """The command that repeats the study, without places outside the working directory."""
    words = ["rgbx", "study", relative(Path(arguments.study))]
    if arguments.data_root:
        words += ["--data-root", relative(Path(arguments.data_root))]
    for name in ("dtype", "device", "jobs"):
        value = getattr(arguments, name)
        if value not in (None, "auto", 1):
            words += [f"--{name}", str(value)]
    if arguments.trust:
        words.append("--trust")
    if arguments.cfg_options:
        words += ["--cfg-options", *map(shorten, arguments.cfg_options)]
    return shlex.join(words)
