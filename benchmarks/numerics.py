"""What it costs to ask of every training step whether it is finite: CPU time of a step, with the guard and without.

    OMP_NUM_THREADS=1 python benchmarks/numerics.py [--rounds N]

Steps without the guard, with "stop" and with "skip" alternate on one model, so that what else runs meets all alike.
Medians are printed, and the guard's share of a step, by the CPU time of its own calls. No weight changes.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from functools import wraps
from types import SimpleNamespace
from typing import TypeVar

import torch
from torch import Tensor

from rgbx.models import MultimodalModel, multimodal_segmentor
from rgbx.train.loops import training_step
from rgbx.train.numerics import FiniteGuard
from rgbx.train.optim import EncoderDecoderConstructor

MODELS = {
    "ResNet-18, 240×320, batch 4": ("resnet18", (240, 320), 4),
    "the rooms' small network, 120×160, batch 8": ("test_resnet", (120, 160), 8),
}
Made = TypeVar("Made")


def build(backbone: str) -> MultimodalModel:
    """Of the two modalities of rooms."""
    torch.manual_seed(0)
    told = {"depth": {"mean": (3.85,), "std": (1.4,)}}
    return multimodal_segmentor(
        modalities=("rgb", "depth"), num_classes=10, backbone=backbone, decoder={"width": 64}, statistics=told
    ).train()


def batch_of(size: tuple[int, int], count: int) -> dict[str, Tensor | list[str]]:
    """Noise: rgb [N, 3, H, W], depth [N, 1, H, W] and label [N, H, W]."""
    return {
        "rgb": torch.randint(0, 256, (count, 3, *size), dtype=torch.uint8),
        "depth": 0.1 + 4 * torch.rand(count, 1, *size),
        "label": torch.randint(0, 10, (count, *size)),
        "sample_id": [f"frame {i}" for i in range(count)],
    }


def timed(call: Callable[..., Made], spent: list[float]) -> Callable[..., Made]:
    """The call, whose CPU time is added up."""

    @wraps(call)
    def wrapped(*given: object) -> Made:
        start = time.process_time()
        try:
            return call(*given)
        finally:
            spent[-1] += time.process_time() - start

    return wrapped


def measure(backbone: str, size: tuple[int, int], count: int, rounds: int) -> dict[str, tuple[float, float]]:
    """By policy, seconds of CPU for a step and for what the guard does in it, medians."""
    model, data = build(backbone), batch_of(size, count)
    optimizer = {"type": torch.optim.AdamW, "lr": 0.0, "weight_decay": 0.0}
    wrapper = EncoderDecoderConstructor({"optimizer": optimizer})(model)
    policies = ("none", "stop", "skip")
    own: dict[str, list[float]] = {policy: [] for policy in policies}
    steps: dict[str, list[float]] = {policy: [] for policy in policies}
    guards: dict[str, FiniteGuard | None] = {"none": None}
    for policy in policies[1:]:
        guard = FiniteGuard(policy)
        guard.before_train(SimpleNamespace(model=model))
        guard.begin = timed(guard.begin, own[policy])  # type: ignore[method-assign]
        guard.sound = timed(guard.sound, own[policy])  # type: ignore[method-assign]
        guards[policy] = guard
    for _ in range(rounds + 1):
        for policy in policies:
            own[policy].append(0.0)
            start = time.process_time()
            training_step(model, data, wrapper, guards[policy])
            steps[policy].append(time.process_time() - start)
    return {policy: (statistics.median(steps[policy][1:]), statistics.median(own[policy][1:])) for policy in policies}


def main() -> None:
    """Prints a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    arguments = parser.parse_args()
    print("| CPU time of a step, ms | without | stop | skip | of it the guard: stop, skip |\n|---|---|---|---|---|")
    for name, given in MODELS.items():
        found = measure(*given, rounds=arguments.rounds)
        cells = [f"{1000 * found[policy][0]:.1f}" for policy in found]
        shares = [f"{100 * found[policy][1] / found[policy][0]:.2f} %" for policy in ("stop", "skip")]
        print(f"| {name} | {' | '.join(cells)} | {', '.join(shares)} |", flush=True)


if __name__ == "__main__":
    main()
