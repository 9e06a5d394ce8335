"""What the memory of a process costs: training steps and predictions with glibc's malloc as it is, and as rgbx sets it.

    python benchmarks/allocator.py [--rounds N] [--steps N]

R18-light, RGB and depth, 480x640, one thread: a prediction of one frame, a training step of two. Every measurement is a
process of its own; settings alternate, so that what else runs meets all alike. Times are of the process's CPU, medians
of the steps after two, and of the rounds; page faults are per step, the peak is that of the whole process.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

import rgbx
from rgbx.models import Predictor, multimodal_segmentor

ROOT = Path(__file__).parent.parent
SETTINGS, WORK, SIZE = ("system", "keep"), ("inference", "training"), (480, 640)


def prepared(work: str) -> Callable[[], object]:
    """What is measured."""
    torch.manual_seed(0)
    model = multimodal_segmentor(
        modalities=("rgb", "depth"),
        num_classes=40,
        backbone="resnet18",
        decoder={"name": "light"},
        statistics={"depth": {"mean": (3.85,), "std": (1.4,)}},
    )
    count = 2 if work == "training" else 1
    batch = {
        "rgb": torch.randint(0, 256, (count, 3, *SIZE), dtype=torch.uint8),
        "depth": 0.1 + 4 * torch.rand(count, 1, *SIZE),
    }
    if work == "inference":
        predictor = Predictor(model.eval())
        return lambda: predictor(batch)
    optimizer = torch.optim.AdamW(model.train().parameters())
    batch["label"] = torch.randint(0, 40, (count, *SIZE))

    def step() -> None:
        loss = sum(model(**model.data_preprocessor(batch, training=True), mode="loss").values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def measure(work: str, steps: int) -> None:
    """Prints seconds and page faults of a step, and the peak in MiB, of this process."""
    rgbx.keep_memory()  # unless RGBX_MALLOC=system
    torch.set_num_threads(1)
    step, times = prepared(work), []
    for _ in range(2):
        step()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(steps):
        begun = time.process_time()
        step()
        times.append(time.process_time() - begun)
    after = resource.getrusage(resource.RUSAGE_SELF)
    print(statistics.median(times), (after.ru_minflt - before) / steps, after.ru_maxrss / 1024)


def measured(work: str, setting: str, steps: int) -> list[float]:
    """The same in a process of its own."""
    environment = {**os.environ, "RGBX_MALLOC": setting, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, __file__, "--here", work, "--steps", str(steps)]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return [float(word) for word in done.stdout.split()]


def main() -> None:
    """Measures and prints a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=2, help="processes of each kind (2)")
    parser.add_argument("--steps", type=int, default=5, help="steps of a process, after two (5)")
    parser.add_argument("--here", choices=WORK, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.here:
        measure(options.here, options.steps)
        return
    print("| work | malloc | CPU ms | ratio | page faults | peak MiB |\n|---|---|---:|---:|---:|---:|")
    for work in WORK:
        found: dict[str, list[list[float]]] = {setting: [] for setting in SETTINGS}
        for _ in range(options.rounds):
            for setting in SETTINGS:
                found[setting].append(measured(work, setting, options.steps))
        rows = {k: [statistics.median(values) for values in zip(*v, strict=True)] for k, v in found.items()}
        for setting, (seconds, faults, peak) in rows.items():
            ratio = seconds / rows["system"][0]
            print(
                f"| {work} | {setting} | {1000 * seconds:.0f} | {ratio:.3f} | {faults:.0f} | {peak:.0f} |", flush=True
            )


if __name__ == "__main__":
    main()
