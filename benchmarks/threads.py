"""What waiting threads cost: CPU and wall time of training steps, alone and beside busy processes.

    python benchmarks/threads.py [--steps N] [--rounds N]

GNU OpenMP lets a thread that waits for the others spin, by default for some milliseconds: beside another busy process,
threads that wait hold the cores that those they wait for need. `rgbx` sets GOMP_SPINCOUNT=1000 (docs/training.md).
Every measurement is a process of its own; settings alternate, so that what else runs meets all alike.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch

from rgbx.models import multimodal_segmentor

ROOT = Path(__file__).parent.parent
SETTINGS = {"GNU OpenMP's own": "300000", "rgbx": "1000"}  # without OMP_WAIT_POLICY it spins 300,000 times


def measure(steps: int, backbone: str) -> dict[str, float]:
    """Seconds of CPU and of the clock for a step, in this process."""
    torch.manual_seed(0)
    statistics_of = {"depth": {"mean": (3.85,), "std": (1.4,)}}
    model = multimodal_segmentor(
        modalities=("rgb", "depth"), num_classes=10, backbone=backbone, decoder={"width": 64}, statistics=statistics_of
    )
    optimizer = torch.optim.AdamW(model.train().parameters())
    batch = {
        "rgb": torch.randint(0, 256, (8, 3, 120, 160), dtype=torch.uint8),
        "depth": 0.1 + 4 * torch.rand(8, 1, 120, 160),
        "label": torch.randint(0, 10, (8, 120, 160)),
    }
    for step in range(steps + 2):
        if step == 2:  # after the first, which are slower
            cpu, clock = time.process_time(), time.perf_counter()
        loss = sum(model(**model.data_preprocessor(batch, training=True), mode="loss").values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return {"cpu": (time.process_time() - cpu) / steps, "clock": (time.perf_counter() - clock) / steps}


def measured(spins: str, neighbours: int, arguments: argparse.Namespace) -> dict[str, float]:
    """The same in a process of its own, beside so many that do nothing but count."""
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(neighbours)]
    command = [sys.executable, __file__, "--here", "--steps", str(arguments.steps), "--backbone", arguments.backbone]
    environment = {**os.environ, "GOMP_SPINCOUNT": spins, "PYTHONPATH": str(ROOT)}
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    finally:
        for process in busy:
            process.kill()
            process.wait()
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Prints a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--backbone", default="resnet18")
    parser.add_argument("--neighbours", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.here:
        print(json.dumps(measure(arguments.steps, arguments.backbone)))
        return
    print("| busy processes beside | spinning | CPU, s a step | clock, s a step |\n|---|---|---|---|")
    for neighbours in arguments.neighbours:
        found: dict[str, list[dict[str, float]]] = {name: [] for name in SETTINGS}
        for _ in range(arguments.rounds):
            for name, spins in SETTINGS.items():
                found[name].append(measured(spins, neighbours, arguments))
        for name, runs in found.items():
            cpu, clock = (statistics.median(run[kind] for run in runs) for kind in ("cpu", "clock"))
            print(f"| {neighbours} | {name} | {cpu:.2f} | {clock:.2f} |", flush=True)


if __name__ == "__main__":
    main()
