"""Measures the model of a config or checkpoint: its parts, and per subset of modalities operations, memory, latency."""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Sequence
from pathlib import Path

import torch

from rgbx._text import subset_titles, text_table
from rgbx.cli.errors import command
from rgbx.cli.model import read_model
from rgbx.cli.subsets import all_subsets
from rgbx.maps import replace_file
from rgbx.profile.measure import Profile, describe_machine, find_device, measure_complexity, profile_model

FORMAT = "rgbx-profile/1"
METHOD = (
    "From normalised maps to the outputs of all heads. Parameters: of a model for these modalities alone, without "
    "objectives and discriminators.\nGFLOP: per sample, two per multiply-add. Peak memory includes weights and inputs; "
    "{memory}."
)
MEMORY = {
    "cuda": "what torch's allocator handed out",
    "cpu": "tensors alive between two operations, without the kernels' own scratch",
}


@command("profile")
def main(arguments: argparse.Namespace) -> int:
    """Parses, builds, measures every combination, prints a table; exit code 0, 2 for a user's error, 130 for Ctrl-C."""
    model = read_model(arguments.model, options=arguments.cfg_options, trust=arguments.trust)
    subsets = [model.layout.order(text.split("+")) for text in arguments.modalities] or all_subsets(model.modalities)
    device = find_device(arguments.device)
    model.to(device)
    machine = describe_machine(device)
    height, width = arguments.size
    print(f"{arguments.model} at {height}x{width} on {machine}", flush=True)
    print(f"{type(model).__name__}: {measure_complexity(model, arguments.size)}", flush=True)
    for part in (model.objectives, *model.opponents):
        part.cpu()  # what predicts nothing takes no memory of the device
    rows = [
        profile_model(
            model,
            size=arguments.size,
            modalities=subset,
            batch=batch,
            dtype=getattr(torch, dtype),
            repeats=arguments.repeats,
        )
        for subset, batch, dtype in itertools.product(subsets, arguments.batches, arguments.dtypes)
    ]
    print(f"{profile_table(rows)}\n{METHOD.format(memory=MEMORY.get(device.type, MEMORY['cpu']))}")
    if arguments.json:
        _write(arguments, machine, device, rows)
    return 0


def profile_table(rows: Sequence[Profile]) -> str:
    """One line per measurement; a dash where the device ran out of memory."""
    titles = subset_titles("+".join(row.modalities) for row in rows)
    header = ["given", "batch", "dtype", "M params", "GFLOP", "peak MiB", "median ms", "p95 ms", "images/s"]
    cells = []
    for row in rows:
        measured = ["-"] * 4
        if row.seconds and row.peak_bytes is not None:
            times = [f"{1000 * row.median:.2f}", f"{1000 * row.p95:.2f}", f"{row.batch / row.median:.1f}"]
            measured = [f"{row.peak_bytes / 2**20:.0f}", *times]
        size = [f"{row.parameters / 1e6:.2f}", f"{row.flops / 1e9:.2f}"]
        cells.append([titles["+".join(row.modalities)], str(row.batch), row.dtype, *size, *measured])
    return text_table(header, cells)


def _write(arguments: argparse.Namespace, machine: str, device: torch.device, rows: Sequence[Profile]) -> None:
    report = {
        "format": FORMAT,
        "config": str(arguments.model),
        "machine": machine,
        "device": device.type,
        "size": list(arguments.size),
        "rows": [row.as_dict() for row in rows],
    }
    replace_file(Path(arguments.json), (json.dumps(report, indent=2) + "\n").encode())
