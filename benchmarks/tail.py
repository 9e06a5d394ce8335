"""What comes after the decoder: class ids, confidence and the loss of logits at the image's size.

Each way is timed beside the plain one, in turns: resizing all logits, then the largest class, the softmax or the
cross-entropy. Figures are process CPU time on one thread, medians after a warm-up; "memory" is by how much the peak of
the process's resident memory rises. Logits are random, 40 classes at a quarter of 480×640. Ids of both ways must be
equal, losses to 1e-5, or the script stops.

    python benchmarks/tail.py
    python benchmarks/tail.py --device cuda --out tail_cuda.md

On a GPU ids and their confidence alone are timed, as the loss has no kernel there: by events round ten calls in a row,
contiguous and channels-last, with 19, 40 and 150 classes, also by plain torch in strips; memory is the peak of what is
allocated. Both must be those of plain torch in strips on a CPU to the bit, and ids 0.9999 of those of resized logits.
"""

from __future__ import annotations

import argparse
import platform
import re
import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor

from rgbx.losses import build_loss
from rgbx.losses.segmentation import CrossEntropy
from rgbx.models import MultimodalModel, Predictor, multimodal
from rgbx.ops import reference, resized_argmax, resized_is_compiled
from rgbx.ops._extension import KERNELS
from rgbx.ops.functional import _taps_of
from rgbx.tasks import ENSEMBLE, Classes
from rgbx.tasks.classes import largest_class

SIZE, CLASSES, STRIDE = (480, 640), 40, 4
RESULT = Path(__file__).parent / "results" / "tail.md"
Way = Callable[[], object]


def plain_ids(
    logits: Tensor,  # [B, K, h, w]
    *,
    confidence: bool = False,
) -> tuple[Tensor, Tensor | None]:  # 2 x [B, H, W]
    """All logits at the image's size, then their largest."""
    resized = F.interpolate(logits, size=SIZE, mode="bilinear", align_corners=False)
    return largest_class(resized)[1], resized.softmax(1).amax(1) if confidence else None


def peak(way: Way) -> float:
    """MB by which the process's peak of resident memory rises."""
    Path("/proc/self/clear_refs").write_text("5")

    def kilobytes(key: str) -> int:
        return int(re.findall(rf"{key}:\s+(\d+)", Path("/proc/self/status").read_text())[0])

    before = kilobytes("VmRSS")
    way()
    return (kilobytes("VmHWM") - before) / 1024


def compare(ways: dict[str, Way], rounds: int) -> list[str]:
    """A row of each way: ms, its ratio to the first, and MB."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    memory = {}
    for name, way in ways.items():
        way()
        memory[name] = peak(way)
    for _ in range(rounds):
        for name, way in ways.items():
            start = time.process_time()
            way()
            times[name].append(1e3 * (time.process_time() - start))
    medians = {name: statistics.median(found) for name, found in times.items()}
    first = next(iter(medians.values()))
    return [
        f"| {name} | {ms:,.1f} | {min(times[name]):,.1f} to {max(times[name]):,.1f} | {ms / first:.3f} | "
        f"{memory[name]:,.0f} |"
        for name, ms in medians.items()
    ]


def tails(rounds: int) -> list[str]:
    """Of three predictions, and of one with its confidence."""
    logits = 3 * torch.randn(3, CLASSES, SIZE[0] // STRIDE, SIZE[1] // STRIDE)
    assert torch.equal(resized_argmax(logits, SIZE)[0], plain_ids(logits)[0])
    ways: dict[str, Way] = {
        "plain, ids of three predictions": lambda: plain_ids(logits),
        "ids of three": lambda: resized_argmax(logits, SIZE),
        "ids of one": lambda: resized_argmax(logits[2:], SIZE),
        "plain, ids and confidence of one": lambda: plain_ids(logits[2:], confidence=True),
        "ids and confidence of one": lambda: resized_argmax(logits[2:], SIZE, confidence=True),
    }
    return compare(ways, rounds)


def graphics_time(way: Way, calls: int = 10) -> float:
    """ms of a call on the GPU, of `calls` in a row."""
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    for _ in range(calls):
        way()
    end.record()
    end.synchronize()
    return start.elapsed_time(end) / calls


def graphics_rows(classes: int, layout: torch.memory_format, rounds: int) -> Iterator[str]:
    """Rows as of `compare` for one number of classes in one memory format, on the current GPU."""
    logits = 3 * torch.randn(1, classes, SIZE[0] // STRIDE, SIZE[1] // STRIDE, device="cuda")
    logits = logits.contiguous(memory_format=layout)
    taps = _taps_of(logits, SIZE, SIZE)
    ids, shares, _ = resized_argmax(logits, SIZE, confidence=True)
    rows, row_weights, columns, column_weights = (x.cpu() for x in taps)
    wanted = reference.resized_argmax(logits.cpu(), rows, row_weights, columns, column_weights, confidence=True)
    assert torch.equal(ids.cpu(), wanted[0]) and shares is not None and torch.equal(shares.cpu(), wanted[1])
    assert (ids == plain_ids(logits)[0]).float().mean() > 0.9999
    ways: dict[str, Way] = {}
    for asked in (False, True):
        what = "ids and confidence" if asked else "ids"
        ways |= {
            f"plain, {what}": partial(plain_ids, logits, confidence=asked),
            f"strips, {what}": partial(reference.resized_argmax, logits, *taps, confidence=asked),
            f"{what}": partial(resized_argmax, logits, SIZE, confidence=asked),
            f"kernel alone, {what}": partial(torch.ops.rgbx.resized_argmax, logits, *taps, asked),
        }
    memory: dict[str, float] = {}
    times: dict[str, list[float]] = {name: [] for name in ways}
    for name, way in ways.items():
        graphics_time(way)
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        way()
        memory[name] = (torch.cuda.max_memory_allocated() - before) / 2**20
    for _ in range(rounds):
        for name, way in ways.items():
            times[name].append(graphics_time(way))
    for name, found in times.items():
        ms = statistics.median(found)
        first = statistics.median(times["plain, " + name.split(", ")[-1]])
        kind = "NHWC" if layout == torch.channels_last else "NCHW"
        yield (
            f"| {classes}, {kind}, {name} | {ms:.3f} | {min(found):.3f} to {max(found):.3f} | {ms / first:.3f} | "
            f"{memory[name]:,.1f} |"
        )


def graphics_page(rounds: int) -> list[str]:
    """What is measured on a GPU."""
    if not KERNELS["cuda"].loaded:
        raise SystemExit(f"the CUDA kernels are not there: {KERNELS['cuda'].detail}")
    formats = (torch.contiguous_format, torch.channels_last)
    return [
        "# After the decoder, on a GPU",
        "",
        f"`python benchmarks/tail.py --device cuda --rounds {rounds}`; torch {torch.__version__}, "
        f"{torch.cuda.get_device_name()}. Decoder at 1/{STRIDE} of {SIZE[0]}×{SIZE[1]}, one prediction. Ids and "
        "confidence equal those of plain torch in strips on a CPU, to the bit.",
        "",
        "| classes, format, way | ms | from, to | ratio | memory, MB |",
        "|---|---|---|---|---|",
        *(row for classes in (19, 40, 150) for layout in formats for row in graphics_rows(classes, layout, rounds)),
    ]


def build() -> tuple[MultimodalModel, dict[str, Tensor]]:
    """ResNet-18 with the light decoder on RGB and depth, and a batch of one."""
    heads = {"labels": {"task": "classes", "num_classes": CLASSES, "decoder": {"name": "light"}}}
    model = multimodal(modalities=("rgb", "depth"), backbone="resnet18", heads=heads)
    batch: dict[str, Tensor] = {
        "rgb": torch.randint(0, 256, (1, 3, *SIZE), dtype=torch.uint8),
        "depth": 0.5 + 5 * torch.rand(1, 1, *SIZE),
        "label": torch.randint(0, CLASSES, (1, *SIZE)),
    }
    return model, batch


def predictions(rounds: int) -> list[str]:
    """Of the whole model."""
    model, batch = build()
    every, one = Predictor(model.eval()), Predictor(model, names=[ENSEMBLE])

    def plain() -> Any:
        with mock.patch.object(Classes, "finishes_coarse", lambda *_: False):
            return every(batch)

    for name, ids in plain()[0]["prediction"].items():
        assert torch.equal(every(batch)[0]["prediction"][name], ids)
    ways: dict[str, Way] = {
        "plain, ids of all predictions": plain,
        "ids of all": lambda: every(batch),
        "ids of the ensemble": lambda: one(batch),
        "ids and confidence of the ensemble": lambda: one(batch, keep_confidence=True),
    }
    return compare(ways, rounds)


def losses(rounds: int) -> list[list[str]]:
    """Cross-entropy of three predictions and its gradient, and a training step on a batch of one."""
    logits = 3 * torch.randn(3, CLASSES, SIZE[0] // STRIDE, SIZE[1] // STRIDE)
    logits.requires_grad_()
    label, loss = torch.randint(0, CLASSES, (3, *SIZE)), build_loss("cross_entropy")
    assert isinstance(loss, CrossEntropy)

    def plain() -> Tensor:
        found = loss(F.interpolate(logits, size=SIZE, mode="bilinear", align_corners=False), label)
        found.backward()
        return found.detach()

    def coarse() -> Tensor:
        found = loss.of_coarse(logits, label, SIZE)
        found.backward()
        return found.detach()

    assert torch.allclose(plain(), coarse(), rtol=1e-5)
    model, batch = build()
    model.train()
    given = model.data_preprocessor(batch, True)

    def step() -> None:
        torch.stack(list(model(given["inputs"], given["targets"], mode="loss").values())).sum().backward()
        model.zero_grad()

    def plain_step() -> None:
        with mock.patch.object(MultimodalModel, "_coarse", lambda *_: []):
            step()

    kinds = compare({"plain, loss and gradient of three predictions": plain, "loss and gradient": coarse}, rounds)
    steps: dict[str, Way] = {"plain, training step, batch of 1": plain_step, "training step, batch of 1": step}
    return [kinds, compare(steps, max(2, rounds // 3))]


def page(rounds: int) -> list[str]:
    """What is measured on a CPU."""
    if not resized_is_compiled(torch.device("cpu")):
        raise SystemExit("the kernels are not built: python -m rgbx.ops build")
    head = ["| way | ms of CPU | from, to | ratio | memory, MB |", "|---|---|---|---|---|"]
    told = f"torch {torch.__version__}, {platform.machine()}, {torch.backends.cpu.get_cpu_capability()}, one thread"
    loss, steps = losses(rounds)
    return [
        "# After the decoder",
        "",
        f"`python benchmarks/tail.py --rounds {rounds}`; {told}. {CLASSES} classes, decoder at 1/{STRIDE} of "
        f"{SIZE[0]}×{SIZE[1]}. Process CPU time, medians of {rounds} (steps {max(2, rounds // 3)}) taken in turns; the "
        "ratio is to the first row of a table; memory is the rise of the peak of the resident memory. Ids are equal.",
        "",
        "## Ids",
        "",
        *head,
        *tails(rounds),
        "",
        "## A prediction, R18-light, RGB and depth",
        "",
        *head,
        *predictions(rounds),
        "",
        "## The loss",
        "",
        *head,
        *loss,
        "",
        "## A training step, R18-light, RGB and depth",
        "",
        *head,
        *steps,
    ]


def main() -> None:
    """Measures and writes the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--out", type=Path, default=RESULT, help="the page")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    lines = (page if options.device == "cpu" else graphics_page)(options.rounds)
    options.out.write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
