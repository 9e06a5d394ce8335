"""What objectives cost: the time of a training step and the parameters, of none against another revision, and of each.

    python benchmarks/objectives.py [--against PATH] [--steps N] [--rounds N]

Every model lives in a process of its own. They take turns, in one order and then in the other, so that only one
computes at a time and what slows the machine slows all. Times are by the clock and of the process's CPU, the median
over the rounds, as are the ratios, each of one round. PATH is the checkout of a revision, also of one that knows no
objectives, whose model is timed against `objectives=[]`.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import IO, Any, cast

import torch

import rgbx
from rgbx.models import multimodal_segmentor
from rgbx.train.loops import training_step
from rgbx.train.optim import EncoderDecoderConstructor

ROOT = Path(__file__).resolve().parents[1]
NONE, OTHER = "objectives=[]", "the other revision"
KINDS = ("clock", "cpu")
Times = dict[str, float]


def serve(objectives: list[str], backbone: str, steps: int) -> None:
    """Tells the parameters of a model, then for every line of input what a step takes, seconds by clock and by CPU."""
    torch.manual_seed(0)
    given: Any = {"objectives": objectives} if objectives else {}  # an old revision has no such option
    model = multimodal_segmentor(
        modalities=("rgb", "depth"),
        num_classes=10,
        backbone=backbone,
        decoder={"width": 64},
        statistics={"depth": {"mean": (3.85,), "std": (1.4,)}},
        **given,
    ).train()
    optimizer = {"type": "AdamW", "lr": 0.0}  # all steps are of the same weights
    wrapper = EncoderDecoderConstructor({"optimizer": optimizer})(model)
    batch = {
        "rgb": torch.randint(0, 256, (8, 3, 120, 160), dtype=torch.uint8),
        "depth": 0.1 + 4 * torch.rand(8, 1, 120, 160),
        "label": torch.randint(0, 10, (8, 120, 160)),
    }
    for _ in range(2):  # the first are slower
        training_step(model, batch, wrapper)
    parameters = sum(p.numel() for p in model.parameters())
    print(json.dumps({"parameters": parameters, "rgbx": str(Path(rgbx.__file__).parent)}), flush=True)
    for _ in sys.stdin:
        clock, cpu = time.perf_counter(), time.process_time()
        for _ in range(steps):
            training_step(model, batch, wrapper)
        found = (time.perf_counter() - clock) / steps, (time.process_time() - cpu) / steps
        print(json.dumps(dict(zip(KINDS, found, strict=True))), flush=True)


class Turn:
    """A model in a process of its own, which computes when it is asked to.

    Args:
        objectives: of the model.
        root: the checkout whose rgbx it is of.
        options: of the command line.
    """

    def __init__(self, objectives: list[str], root: Path, options: argparse.Namespace) -> None:
        words = ["--here", json.dumps(objectives), "--steps", str(options.steps), "--backbone", options.backbone]
        self.process = subprocess.Popen(
            [sys.executable, __file__, *words],
            env={**os.environ, "PYTHONPATH": str(root.resolve())},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.asks, self.answers = cast(IO[str], self.process.stdin), cast(IO[str], self.process.stdout)
        told = self._read()
        self.parameters, self.rounds = int(told["parameters"]), list[Times]()
        if Path(told["rgbx"]) != root.resolve() / "rgbx":
            raise SystemExit(f"{told['rgbx']} was imported; expected that of {root}")

    def take(self) -> None:
        """One more round."""
        self.asks.write("\n")
        self.asks.flush()
        self.rounds.append(self._read())

    def _read(self) -> Any:
        line = self.answers.readline()
        if not line:
            raise RuntimeError("it ended without an answer")
        return json.loads(line)

    def end(self) -> None:
        """Lets the process end."""
        self.asks.close()
        self.process.wait()

    def cells(self, first: Turn) -> list[str]:
        """Parameters, and of clock and CPU the time and its ratio to that of another."""
        cells = [f"{self.parameters:,}"]
        for kind in KINDS:
            times, others = ([found[kind] for found in turn.rounds] for turn in (self, first))
            ratios = [a / b for a, b in zip(times, others, strict=True)]
            spread = f" ({min(ratios):.3f} to {max(ratios):.3f})" if self is not first else ""
            cells += [f"{statistics.median(times):.3f}", f"{statistics.median(ratios):.3f}{spread}"]
        return cells


def main() -> None:
    """Prints a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--against", type=Path, help="a checkout of another revision, with its compiled operators")
    parser.add_argument("--names", nargs="+", help="objectives to time; all of this revision by default")
    parser.add_argument("--steps", type=int, default=3, help="in a round")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--backbone", default="resnet18")
    parser.add_argument("--here", type=json.loads, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.here is not None:
        serve(options.here, options.backbone, options.steps)
        return
    turns = {NONE: Turn([], ROOT, options)}
    if options.against is not None:
        turns[OTHER] = Turn([], options.against, options)
    known = importlib.import_module("rgbx.objectives").OBJECTIVES  # which an old revision has not
    for name in options.names or known:
        try:
            turns[name] = Turn([name], ROOT, options)
        except RuntimeError as error:
            print(f"{name}: not of this model as it is: {error}", file=sys.stderr)
    for index in range(options.rounds):
        for turn in list(turns.values())[:: -1 if index % 2 else 1]:
            turn.take()
    print("| objectives | parameters | clock, s a step | × the first | CPU, s a step | × the first |")
    print("|---|---:|---:|---:|---:|---:|")
    for name, turn in turns.items():
        print(f"| {name} | {' | '.join(turn.cells(turns[NONE]))} |")
        turn.end()
    print(f"\nMedians of {options.rounds} rounds of {options.steps} steps, torch {torch.__version__}.")


if __name__ == "__main__":
    main()
