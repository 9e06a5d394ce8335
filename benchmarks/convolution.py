"""What both gradients of a 3x3 convolution take on a CPU: of channels-last maps, of contiguous ones, and of both.

    OMP_NUM_THREADS=1 PYTHONPATH=. python benchmarks/convolution.py [--markdown FILE]

CPU time of one thread, median of rounds that take turns, after one. "copies": maps are channels-last, and the gradient
of the weight is found of contiguous copies, the copying included; `rgbx.layers.convolution` does that where it says.
"""

from __future__ import annotations

import argparse
import datetime
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

import rgbx
from rgbx.layers import convolution

CASES = [  # batch, channels, height, width
    *[(4, 128, 120, 160), (4, 64, 120, 160), (4, 128, 60, 80), (4, 256, 30, 40), (4, 512, 15, 20), (2, 256, 60, 80)],
    *[(16, 64, 24, 32), (16, 128, 24, 32), (16, 128, 12, 16), (2, 32, 120, 160), (2, 16, 120, 160)],
]


def step(layer: nn.Module, shape: tuple[int, ...], form: torch.memory_format) -> Callable[[], object]:
    """Both gradients of a layer."""
    layer = layer.to(memory_format=form)  # type: ignore[call-overload]
    x = torch.randn(shape).contiguous(memory_format=form).requires_grad_()
    y = layer(x)
    above = torch.randn_like(y)
    return lambda: torch.autograd.grad(y, [x, *layer.parameters()], above, retain_graph=True)


def main() -> None:
    """Measures, prints and writes a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--markdown", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rgbx.keep_memory()
    convolution.PIXELS = convolution.INPUTS = 0  # always
    lines = [
        "| maps | channels last, ms | contiguous | copies | copies / channels last | taken |",
        "|---|" + "---:|" * 5,
    ]
    for count, channels, height, width in CASES:
        plain, copying = (
            kind(channels, channels, 3, padding=1, bias=False) for kind in (nn.Conv2d, convolution.Conv2d)
        )
        shape = (count, channels, height, width)
        ways = {
            "channels last": step(plain, shape, torch.channels_last),
            "contiguous": step(nn.Conv2d(channels, channels, 3, padding=1, bias=False), shape, torch.contiguous_format),
            "copies": step(copying, shape, torch.channels_last),
        }
        taken: dict[str, list[float]] = {way: [] for way in ways}
        for turn in range(arguments.rounds + 1):
            for way, call in ways.items():
                begun = time.process_time()
                call()
                if turn:
                    taken[way].append(1000 * (time.process_time() - begun))
        words = [f"{statistics.median(each):.1f}" for each in taken.values()]
        ratio = statistics.median(a / b for a, b in zip(taken["copies"], taken["channels last"], strict=True))
        rule = "yes" if height * width >= LEAST[0] and 9 * channels >= LEAST[1] else ""
        lines.append("| " + " | ".join(["x".join(map(str, shape)), *words, f"{ratio:.2f}", rule]) + " |")
        print(lines[-1], flush=True)
    capability = torch.backends.cpu.get_cpu_capability()
    lines += [
        "",
        f"{capability}, torch {torch.__version__}, Python {platform.python_version()}, {datetime.date.today()}.",
    ]
    if arguments.markdown:
        arguments.markdown.write_text("\n".join(["# Gradients of convolutions", "", *lines]) + "\n")


LEAST = (convolution.PIXELS, convolution.INPUTS)

if __name__ == "__main__":
    main()
