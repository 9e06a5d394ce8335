"""How fast exported files answer beside the model in PyTorch, and what their JSON says of parity and of 8 bits.

    rgbx export work_dirs/rooms --modalities rgb+depth --data data/rooms --int8 --out work_dirs/exported
    python benchmarks/export.py work_dirs/rooms work_dirs/exported/rgb+depth.onnx --out benchmarks/results/export.md

All of them compute class ids and confidence of one frame from maps in their units. The rounds go through all in turn;
figures are medians of the rounds after the first two. CPU time, of the process and its threads, tells more than wall
time where a machine is shared. "the same in PyTorch" is the module that was exported, without rgbx's checks of a batch
around it.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import onnxruntime
import torch

from rgbx._types import Meta
from rgbx.export.program import Arrays, Deployed
from rgbx.models.load import load
from rgbx.models.predict import Predictor

ROUNDS, SKIPPED = 14, 2
EAGER = "the same in PyTorch"
SIZES = ((240, 320), (480, 640))


def noise(about: Meta, size: tuple[int, int]) -> Arrays:
    """One frame of every map: time does not depend on values."""
    rng, found = np.random.default_rng(0), {}
    for name, each in about["inputs"].items():
        shape = (1, each["shape"][1], *size)
        whole = each["dtype"] == "uint8"
        found[name] = rng.integers(0, 256, shape, np.uint8) if whole else rng.uniform(1, 5, shape).astype(np.float32)
    return found


def opened(file: Path, threads: int) -> onnxruntime.InferenceSession:
    """A session whose waiting threads do not spin, which would count as their CPU time."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])


def contestants(checkpoint: Path, files: Sequence[Path], size: tuple[int, int], threads: int) -> dict[str, Callable]:
    """What answers one frame of a size, by name."""
    torch.set_num_threads(threads)
    model, about = load(checkpoint), json.loads(files[0].with_suffix(".json").read_text())
    maps = noise(about, size)
    tensors = {name: torch.from_numpy(x) for name, x in maps.items()}
    module, predictor = Deployed(model, about["modalities"]).eval(), Predictor(model, modalities=about["modalities"])

    def eager() -> None:
        with torch.inference_mode():
            module(*tensors.values())

    found: dict[str, Callable] = {
        "Predictor": lambda: predictor(tensors, keep_probability=True),
        EAGER: eager,
    }
    for file in files:
        session = opened(file, threads)
        found[f"onnxruntime, {'8 bits' if '.int8' in file.name else 'float32'}"] = lambda s=session: s.run(None, maps)
    return found


def measure(runs: Mapping[str, Callable]) -> dict[str, tuple[float, float]]:
    """Medians of wall and CPU milliseconds by name."""
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in runs}
    for _ in range(ROUNDS):
        for name, run in runs.items():
            wall, cpu = time.perf_counter(), time.process_time()
            run()
            times[name].append((1e3 * (time.perf_counter() - wall), 1e3 * (time.process_time() - cpu)))
    return {
        name: (statistics.median(x for x, _ in found[SKIPPED:]), statistics.median(y for _, y in found[SKIPPED:]))
        for name, found in times.items()
    }


def table(checkpoint: Path, files: Sequence[Path]) -> str:
    """All sizes and threads of one model."""
    lines = [
        "| size | threads | | wall, ms | CPU, ms | wall, times as fast | CPU, times as fast |",
        "|---|---|---|---|---|---|---|",
    ]
    for size in SIZES:
        for threads in (1, 2):
            found = measure(contestants(checkpoint, files, size, threads))
            for name, (wall, cpu) in found.items():
                ratios = f"{found[EAGER][0] / wall:.2f} | {found[EAGER][1] / cpu:.2f}"
                lines.append(f"| {size[0]}×{size[1]} | {threads} | {name} | {wall:.1f} | {cpu:.1f} | {ratios} |")
    return "\n".join(lines)


def told(files: Sequence[Path]) -> str:
    """Sizes, parity and what 8 bits lose, as the files' JSON has it."""
    lines = ["| file | MB | equal classes | largest difference | on |", "|---|---|---|---|---|"]
    after = []
    for file in files:
        about = json.loads(file.with_suffix(".json").read_text())
        parity = about["parity"]
        lines.append(
            f"| {file.name} | {file.stat().st_size / 1e6:.1f} | {parity['equal_classes']:.4%} | "
            f"{parity['largest_difference']:.2g} | {parity['frames']} frames |"
        )
        for head, lost in about.get("int8", {}).get("heads", {}).items():
            after.append(
                f"8 bits, head {head}: {lost['score']} {lost['float']:.4f} becomes {lost['int8']:.4f}, a loss of "
                f"{lost['loss']:.1g}, on {about['int8']['frames']} frames."
            )
    return "\n".join([*lines, "", *after])


def main() -> None:
    """Measures one model after the other and writes the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pairs", nargs="+", type=Path, metavar="CHECKPOINT FILE", help="and the ONNX file made of it")
    parser.add_argument("--names", nargs="+", default=[], help="of the models, for headings")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    about = f"{platform.machine()}, torch {torch.__version__}, onnxruntime {onnxruntime.__version__}"
    parts = [f"# Exported files\n\nMedians of {ROUNDS - SKIPPED} rounds of `benchmarks/export.py`, {about}."]
    pairs = list(zip(arguments.pairs[::2], arguments.pairs[1::2], strict=True))
    for i, (checkpoint, file) in enumerate(pairs):
        files = [each for each in (file, file.with_suffix(".int8.onnx")) if each.is_file()]
        name = arguments.names[i] if i < len(arguments.names) else str(checkpoint)
        parts.append(f"## {name}\n\n{told(files)}\n\n{table(checkpoint, files)}")
        arguments.out.write_text("\n\n".join(parts) + "\n")


if __name__ == "__main__":
    main()
