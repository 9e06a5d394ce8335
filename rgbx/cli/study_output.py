"""What `tools/study.py` leaves behind: costs, a table as Markdown and CSV, a plot."""

from __future__ import annotations

import argparse
import importlib.metadata
import shlex
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import rgbx
from rgbx.cli.study_runs import shared_overrides, subject_of
from rgbx.maps import replace_file
from rgbx.study import Study
from rgbx.study.costs import Costs, measure_costs, read_costs, write_costs
from rgbx.study.document import relative, study_document
from rgbx.study.plot import plot_study
from rgbx.study.runs import Run, read_state, shorten
from rgbx.study.scores import gather
from rgbx.study.table import csv_text, markdown_table


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
    print("Measuring parameters and operations" + (", and timing the methods in turn" if latency else ""), flush=True)
    builders = {
        method: partial(subject_of, study, method, arguments, first[method].subsets[0]) for method in study.methods
    }
    costs = measure_costs(builders, device=arguments.device, key=key, latency=latency)
    write_costs(costs, path)
    return costs


def write_outputs(study: Study, runs: Sequence[Run], costs: Costs, arguments: argparse.Namespace, folder: Path) -> str:
    """Writes STUDY.md, STUDY.csv and STUDY.png; returns the table and where they are, to be printed."""
    gathered = gather(study, {run: read_state(run) for run in runs}, costs.methods)
    markdown, table, picture = (folder / f"{study.file.stem}.{suffix}" for suffix in ("md", "csv", "png"))
    document = study_document(
        gathered,
        command=command_line(arguments),
        costs=costs,
        picture=picture.name,
        overrides=shared_overrides(study, arguments),
    )
    plot_study(gathered, picture)
    replace_file(table, csv_text(gathered).encode())
    replace_file(markdown, document.encode())
    return f"{markdown_table(gathered)}\n{markdown}, {table.name} and {picture.name} are written"


def command_line(arguments: argparse.Namespace) -> str:
    """The command that repeats the study, without places outside the working directory."""
    words = ["python", "tools/study.py", relative(Path(arguments.study))]
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
