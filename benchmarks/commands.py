"""What `rgbx predict` and `rgbx test` take beside the network: reading, class ids, pictures, files, scores.

    OMP_NUM_THREADS=1 PYTHONPATH=benchmarks:. python benchmarks/commands.py data/nyuv2_320x240 --out FILE.md

ROOT is as that of `benchmarks/data.py`. Its first frames are written at each of --sizes into a folder: RGB and labels
as PNGs of 8 bits, depth as PNGs of 16. The network is R18-light of RGB and depth with 40 classes, its weights drawn, or
that of --checkpoint, which must be of these classes.

Both commands run in this process with one thread of torch, as a user starts them, but without a loader's workers: on
one core they save nothing, and their CPU time would not be seen here. By turns with each command the network alone is
called on the same frames, already read and normalised: `MultimodalModel.run` up to the decoder's output, of the
ensemble for `predict`, of all branches for `test`, frame by frame. The first round is not counted; medians of the
others are reported, of the process's CPU time, which counts its threads too, and of wall time, which means little
where other work fills the machine.

What a command takes is clocked around its frames: `predict` without loading the checkpoint and listing, `test` from the
first frame to the scores, and its results, which come after, for themselves. Parts are the CPU time of the thread that
ran them, in further runs of the commands; ids are those of the ensemble or of all branches. The results of `test` are
the same work for any number of frames, but for a line a frame.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import functools
import io
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import cv2
import numpy as np
import torch
from end_to_end import build

import rgbx
from data import _processor, imread, write_frames
from rgbx.cli import evaluate, outputs, predict
from rgbx.cli.main import run
from rgbx.datasets import build_dataset
from rgbx.datasets.families.nyudv2 import NYUDV2_CLASSES, NYUDV2_PALETTE
from rgbx.datasets.sample import DenseDataset
from rgbx.evaluate import session
from rgbx.models import MultimodalModel, Predictor, load, result
from rgbx.models.checkpoint import to_plain
from rgbx.models.multimodal import Preprocessor
from rgbx.tasks.classes import ClassCounter, Classes
from rgbx.transforms import PackSample

CONFIG = Path(__file__).parent.parent / "configs" / "own" / "asymfusion_r18.py"
TOML = """
[classes]
names = {names}
palette = {palette}
[modalities.rgb]
folder = "."
suffix = "_rgb.png"
unit = "rgb8"
[modalities.depth]
folder = "."
suffix = "_depth.png"
unit = "metre"
scale = 5000
[label]
folder = "."
suffix = "_label.png"
[splits]
train = {stems}
val = {stems}
test = {stems}
"""
Clock = dict[str, float]  # seconds by what took them
WALL, CPU = "wall", "cpu"
NETWORK = "network"
PARTS: dict[str, list[tuple[object, str, str]]] = {  # what is clocked, and how it is called
    "predict": [
        (result, "read_frame", "reading"),
        (Preprocessor, "forward", "normalising"),
        (MultimodalModel, "run", NETWORK),
        (Classes, "finish_coarse", "class ids"),
        (Predictor, "__call__", "predictor"),
        (outputs.Outputs, "content", "{2} as PNG"),
        (outputs, "replace_file", "files"),
        (outputs.Progress, "add", "notes"),
    ],
    "test": [
        (DenseDataset, "__getitem__", "reading"),
        (Preprocessor, "forward", "normalising"),
        (MultimodalModel, "run", NETWORK),
        (Classes, "finish_coarse", "class ids"),
        (Predictor, "__call__", "predictor"),
        (ClassCounter, "count", "counting"),
        (session, "file_sizes", "sizes of files"),
        (ClassCounter, "evaluation", "scores"),
        (session, "metrics_of", "scores"),
    ],
}
OWN = {  # of the parts, what the network's answer does not need
    "predict": ("reading", "ids as PNG", "overlay as PNG", "files", "notes"),
    "test": ("reading", "counting", "sizes of files", "scores"),
}
Place = tuple[object, str]
WHOLE: dict[str, list[Place]] = {"predict": [(predict, "_write_all")], "test": [(session.Session, "count")]}
AFTER: list[Place] = [(evaluate, "_write_outputs")]


def write_dataset(root: Path, folder: Path, size: tuple[int, int], count: int) -> list[str]:
    """Frames of a size, and a `dataset.toml` beside them; returns the stems."""
    stems = write_frames(root, folder, count)
    for path in folder.glob("*"):
        image = imread(path)
        way = cv2.INTER_AREA if image.ndim == 3 else cv2.INTER_NEAREST
        cv2.imwrite(str(path), cv2.resize(image, size[::-1], interpolation=way))
    names, palette = list(NYUDV2_CLASSES), np.asarray(NYUDV2_PALETTE).tolist()
    (folder / "dataset.toml").write_text(TOML.format(names=names, palette=palette, stems=stems))
    return stems


def write_checkpoint(path: Path, dataset: Any) -> None:
    """R18-light with weights that are drawn, as a training would leave it."""
    model = build({"network": "R18-light", "modalities": 2, "what": "inference", "device": "cpu"})
    meta = {key: to_plain(dataset.metainfo[key]) for key in ("classes", "palette", "maps", "stored")}
    torch.save(
        {"state_dict": model.state_dict(), "model": to_plain(model.recipe), "meta": {"dataset_meta": meta}}, path
    )


@contextlib.contextmanager
def clocked(parts: Sequence[tuple[object, str, str]], found: Clock, clock: Callable[[], float]) -> Iterator[None]:
    """Adds to `found` what each function takes; a name may hold the number of a positional argument."""
    with contextlib.ExitStack() as stack:
        for owner, name, called in parts:
            function = getattr(owner, name)

            @functools.wraps(function)
            def timed(*given: Any, _function: Any = function, _called: str = called, **named: Any) -> Any:
                start = clock()
                try:
                    return _function(*given, **named)
                finally:
                    key = _called.format(*[*given, *named.values(), "", "", ""][1:])
                    found[key] = found.get(key, 0.0) + clock() - start

            stack.enter_context(mock.patch.object(owner, name, timed))
        yield


def alone(model: MultimodalModel, inputs: Sequence[Any], names: list[str] | None) -> dict[str, float]:
    """Seconds of the network on all frames."""
    wall, cpu = time.perf_counter(), time.process_time()
    with torch.no_grad():
        for maps in inputs:
            model.run(maps, names=names, heads=None, coarse=list(model.tasks), beliefs=True)
    return {WALL: time.perf_counter() - wall, CPU: time.process_time() - cpu}


def command(name: str, words: Sequence[str], *, parts: bool) -> Clock:
    """Seconds of a command around its frames, or of its parts; of `test` also of its results."""
    found: Clock = {}
    with contextlib.ExitStack() as stack:
        if parts:
            stack.enter_context(clocked(PARTS[name], found, time.thread_time))
        for which, clock in ((WALL, time.perf_counter), (CPU, time.process_time)):
            whole = [(owner, attribute, which) for owner, attribute in WHOLE[name]]
            after = [(owner, attribute, f"results {which}") for owner, attribute in AFTER] if name == "test" else []
            stack.enter_context(clocked([*whole, *after], found, clock))
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            code = run(name, words)
    if code:
        raise SystemExit(f"rgbx {name} ended with {code}: {said.getvalue()}")
    return found


def measure(
    folder: Path, checkpoint: Path, work: Path, rounds: int, save: Sequence[str]
) -> dict[str, dict[str, Clock]]:
    """Medians, by command: of the `network` alone, of the `command`, and of its `parts`, in seconds of all frames."""
    dataset = build_dataset(folder, "test", transforms=[PackSample()])
    model = load(checkpoint).eval()
    model.data_preprocessor.describe(dataset.metainfo["maps"])
    batches = [result.as_batch([{**dataset[i], "divided": {}}]) for i in range(len(dataset))]
    inputs = [model.data_preprocessor(batch)["inputs"] for batch in batches]
    data = ["--data-root", str(folder), "--cfg-options", "test_dataloader.num_workers=0"]
    told = {
        "predict": [str(checkpoint), str(folder), "--split", "test", "--overwrite", "--save", *save],
        "test": [str(CONFIG), str(checkpoint), *data, "--work-dir", str(work / "logs"), "--json", str(work / "r.json")],
    }
    told["predict"] += ["--out", str(work / "out"), "--device", "cpu"]
    names = {"predict": ["ensemble"], "test": None}
    taken: dict[str, dict[str, list[Clock]]] = {name: {"network": [], "command": [], "parts": []} for name in told}
    for number in range(rounds + 1):
        for name, words in told.items():
            before = alone(model, inputs, names[name])
            whole = command(name, words, parts=False)
            after = alone(model, inputs, names[name])
            parts = command(name, words, parts=True)
            if number:
                taken[name]["network"] += [before, after]
                taken[name]["command"].append(whole)
                taken[name]["parts"].append(parts)
    return {
        name: {
            kind: {key: statistics.median(each.get(key, 0.0) for each in clocks) for key in clocks[0]}
            for kind, clocks in kinds.items()
        }
        for name, kinds in taken.items()
    }


def lines_of(size: str, frames: int, found: dict[str, dict[str, Clock]]) -> list[str]:
    """A size as rows and a sentence of parts for each command."""
    lines = ["", f"## {size}", "", "| command | | CPU ms | wall ms | CPU / network | wall / network |"]
    lines.append("|---|---|---:|---:|---:|---:|")
    told = []
    for name, kinds in found.items():
        network, whole, parts = kinds["network"], kinds["command"], kinds["parts"]
        each = 1000 / frames
        lines.append(f"| {name} | network alone | {each * network[CPU]:.1f} | {each * network[WALL]:.1f} | | |")
        ratios = f"{whole[CPU] / network[CPU]:.3f} | {whole[WALL] / network[WALL]:.3f}"
        lines.append(f"| | frames | {each * whole[CPU]:.1f} | {each * whole[WALL]:.1f} | {ratios} |")
        if f"results {CPU}" in whole:
            more = [whole[f"results {which}"] for which in (CPU, WALL)]
            cpu, wall = (whole[w] + own for w, own in zip((CPU, WALL), more, strict=True))
            lines.append(
                f"| | and results | {each * cpu:.1f} | {each * wall:.1f} | {cpu / network[CPU]:.3f} | "
                f"{wall / network[WALL]:.3f} |"
            )
        inner = {key: ms for key, ms in parts.items() if not key.endswith((WALL, CPU))}
        inner["rest of the predictor"] = inner.pop("predictor") - sum(
            inner[key] for key in ("normalising", NETWORK, "class ids")
        )
        inner["rest"] = parts[CPU] - sum(inner.values())
        listed = ", ".join(f"{key} {each * seconds:.2f}" for key, seconds in inner.items())
        beside = parts[CPU] / inner[NETWORK] - 1
        own = sum(inner.get(key, 0.0) for key in OWN[name]) / inner[NETWORK]
        told += [
            f"`rgbx {name}`, ms of CPU a frame: {listed}. Of the network in that very run, all that is beside it takes "
            f"{beside:.1%}, and {' and '.join(OWN[name])} {own:.1%}.",
            "",
        ]
    return [*lines, "", *told]


def main() -> None:
    """Measures and writes a page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path, help="folder with rgb/, depth/ and masks/ or label/")
    parser.add_argument("--checkpoint", type=Path, help="of a network of RGB and depth with 40 classes")
    parser.add_argument("--sizes", nargs="+", default=["240x320", "480x640"])
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--save", nargs="+", default=["ids", "overlay"], help="of predict (its usual: ids overlay)")
    parser.add_argument("--out", type=Path, help="a Markdown file to write")
    arguments = parser.parse_args()
    rgbx.keep_memory()
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    network = arguments.checkpoint.name if arguments.checkpoint else "R18-light, weights drawn"
    lines = []
    with tempfile.TemporaryDirectory() as place:
        for size in arguments.sizes:
            height, width = map(int, size.split("x"))
            work = Path(place, size)
            folder = work / "frames"
            folder.mkdir(parents=True)
            write_dataset(arguments.root, folder, (height, width), arguments.frames)
            checkpoint = arguments.checkpoint or work / "model.pth"
            if not arguments.checkpoint:
                write_checkpoint(checkpoint, build_dataset(folder, "test"))
            found = measure(folder, checkpoint, work, arguments.rounds, arguments.save)
            lines += lines_of(size, arguments.frames, found)
            print("\n".join(lines), flush=True)
    head = (
        f"{arguments.frames} frames, {arguments.rounds} rounds, {network}; `--save {' '.join(arguments.save)}`; one "
        f"thread of torch on {_processor()}, load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores at the "
        f"end. Python {platform.python_version()}, torch {torch.__version__}, OpenCV {cv2.__version__}, "
        f"{datetime.date.today()}. How: `benchmarks/commands.py`."
    )
    if arguments.out:
        arguments.out.write_text("\n".join(["# Commands beside the network", "", head, *lines]) + "\n")


if __name__ == "__main__":
    main()
