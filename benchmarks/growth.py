"""How the cost of a step grows with pixels, batch, modalities and processes, and what follows for eight GPUs.

    OMP_NUM_THREADS=1 PYTHONPATH=benchmarks:. python benchmarks/growth.py [--rounds N] [--out FILE]

Costs: CPU seconds of training steps and of inference of R18-light (one thread for each process), by rounds in which
all cases take turns, medians. Of processes over gloo the CPU time of one of them, with all that it does for the
collectives.

Bytes: from the model alone, `volume`: what a process hands to the collectives in a step. `benchmarks/scaling.py` counts
the same in two real processes, and `--compare` has it say whether they agree.

Eight GPUs: `projected`, from these bytes, the operations and the figures at the head of this file; nothing of it is
measured.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import scaling
import torch
from end_to_end import MODALITIES, NETWORKS, build, machine, make_batch
from scaling import free_port, in_processes, join
from torch import distributed

from rgbx._processes import together
from rgbx.layers import ModalityNorm, synchronise_norms
from rgbx.models import MultimodalModel
from rgbx.profile.measure import measure_complexity
from rgbx.train.distributed import finish_together, wrap

BF16_PEAK = 989e12  # operations a second of an H200, dense (its data sheet)
REACHED = 0.25  # share of that which convolutions of such networks reach in training
LINK = 450e9  # bytes a second and direction of NVLink between the eight
CALL = 20e-6  # seconds of a collective of few bytes
OVERHEAD = 0.01  # seconds of a step's kernels at least, as they are started one by one
LOADING = 4e-3  # CPU seconds of a sample of 480x640 with kept frames, crops and packing
CORES = 16  # for each GPU


class Volume(NamedTuple):
    """What a process hands to the collectives in a training step.

    Attributes:
        gradients: bytes of a float32 for each parameter that learns; reduced while the backward pass runs.
        statistics: bytes of means and squares in forward, and of their gradients in backward, float64.
        calls: how many collectives of statistics there are, for which a process waits.
    """

    gradients: int
    statistics: int
    calls: int


def volume(model: MultimodalModel, modalities: int) -> Volume:
    """Of a model with private batch norms in training, all of whose modalities are there."""
    gradients = 4 * sum(p.numel() for p in model.parameters() if p.requires_grad)
    found, calls = 0, 0
    for layer in model.modules():
        norm = next(iter(layer.norms.values())) if isinstance(layer, ModalityNorm) else None
        if isinstance(norm, torch.nn.BatchNorm2d) and norm.training:
            channels = modalities * norm.num_features
            found += 8 * (2 * channels + 1) + 8 * 2 * channels  # gathered forward, reduced backward
            calls += 2
    return Volume(gradients, found, calls)


def projected(flops: float, sent: Volume, batch: int, processes: int) -> dict[str, float]:
    """Images a second of so many GPUs, and the share of each one's speed alone.

    Args:
        flops: of an image, forward.
        sent: by each process in a step.
        batch: images of a process.
        processes: GPUs, in one machine.
    """
    step = max(OVERHEAD, 3 * flops * batch / (BF16_PEAK * REACHED))
    ring = 2 * (processes - 1) / processes / LINK
    hidden = max(2 / 3 * step, ring * sent.gradients)
    waited = (ring * sent.statistics + sent.calls * CALL) if processes > 1 else 0.0
    together_ = step / 3 + hidden + waited
    fed = CORES / LOADING / batch  # steps a second that the loader can feed
    return {
        "images": processes * batch * min(1 / together_, fed),
        "kept": step / together_,
        "loader": min(1, fed * step),
    }


def step_of(model: MultimodalModel, batch: dict[str, Any], wrapped: Any = None) -> Callable[[], None]:
    """A training step that changes nothing."""
    wrapped = model if wrapped is None else wrapped
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)

    def call() -> None:
        inputs = model.data_preprocessor(batch, training=True)
        with together():
            torch.stack(list(wrapped(**inputs, mode="loss").values())).sum().backward()
        optimizer.step()
        optimizer.zero_grad()

    return call


def predict_of(model: MultimodalModel, batch: dict[str, Any]) -> Callable[[], None]:
    """A pass."""
    maps = {name: x for name, x in batch.items() if name != "label"}

    def call() -> None:
        model.predict(maps)

    return call


def case(size: tuple[int, int], batch: int, modalities: int, what: str) -> Callable[[], None]:
    """What is measured of R18-light."""
    cell = dict(network="R18-light", size=size, what=what, modalities=modalities, batch=batch, device="cpu")
    cell["present"] = MODALITIES[:modalities]
    model = build(cell)
    make = step_of if what == "training" else predict_of
    return make(model, make_batch(cell))


def growth(rounds: int) -> dict[str, float]:
    """CPU seconds of each case."""
    wanted = {
        **{f"{h}x{w}, 2 maps, batch 1": ((h, w), 1, 2) for h, w in ((120, 160), (240, 320), (480, 640))},
        **{f"120x160, 2 maps, batch {n}": ((120, 160), n, 2) for n in (2, 4, 8)},
        **{f"120x160, {m} maps, batch 1": ((120, 160), 1, m) for m in (1, 3, 4)},
    }
    found: dict[str, list[float]] = {}
    for number in range(rounds + 1):
        for name, given in wanted.items():
            for what in ("inference", "training"):
                call = case(*given, what)
                call()  # a first pass is slower
                start = time.process_time()
                call()
                if number:
                    found.setdefault(f"{what}, {name}", []).append(time.process_time() - start)
    return {name: statistics.median(own) for name, own in found.items()}


def timed(rank: int, size: int, steps: int, port: int, answer: Any) -> None:
    """Puts on `answer` the CPU seconds of a step of two images of 120x160 for each process."""
    join(rank, size, port)
    cell = dict(network="R18-light", size=(120, 160), what="training", modalities=2, batch=2, device="cpu")
    cell["present"] = MODALITIES[:2]
    model = build(cell)
    synchronise_norms(model)
    call = step_of(model, make_batch(cell), wrap(model))
    taken = []
    for _ in range(steps + 1):
        start = time.process_time()
        call()
        taken.append(time.process_time() - start)
    if not rank:
        answer.put(statistics.median(taken[1:]))
    finish_together()
    distributed.destroy_process_group()


def page(arguments: argparse.Namespace) -> list[str]:
    """Measures; the lines of a Markdown page."""
    lines = [
        "# Growth",
        "",
        f"{machine('cpu')}. How: `benchmarks/growth.py`, medians of {arguments.rounds} rounds.",
        "",
    ]
    lines += ["| R18-light | inference, CPU s | training step, CPU s |", "|---|---|---|"]
    found = growth(arguments.rounds)
    for name in (name.partition(", ")[2] for name in found if name.startswith("inference")):
        lines.append(f"| {name} | {found[f'inference, {name}']:.3f} | {found[f'training, {name}']:.3f} |")
    lines += ["", "| processes over gloo, two images of 120x160 each | CPU s of a step of one |", "|---|---|"]
    for size in (1, 2, 4):
        own = [in_processes(timed, size, size, arguments.steps, free_port()) for _ in range(arguments.rounds)]
        lines.append(f"| {size} | {statistics.median(own):.3f} |")
    lines += ["", "Bytes that a process hands over in a step, two maps, from the model:", ""]
    head = ["network", "parameters", "gradients, MB", "statistics, kB", "calls", "GFLOP at 480x640"]
    head += ["images/s of one GPU, batch 8", "of eight", "kept", "batch 2: of eight", "kept"]
    lines += ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for network in NETWORKS:
        cell = dict(network=network, what="training", modalities=2, present=MODALITIES[:2], device="cpu")
        model = build(cell)
        sent, complexity = volume(model, 2), measure_complexity(model, (480, 640))
        words = [network, f"{complexity.total / 1e6:.2f} M", f"{sent.gradients / 1e6:.1f}"]
        words += [f"{sent.statistics / 1e3:.1f}", f"{sent.calls}", f"{complexity.flops / 1e9:.1f}"]
        one, eight, few = (projected(complexity.flops, sent, *given) for given in ((8, 1), (8, 8), (2, 8)))
        words += [f"{one['images']:.0f}", f"{eight['images']:.0f}", f"{eight['kept']:.0%}"]
        words += [f"{few['images']:.0f}", f"{few['kept']:.0%}"]
        lines.append("| " + " | ".join(words) + " |")
    return lines


def compare() -> None:
    """Whether `volume` is what two processes count."""
    for config in scaling.CONFIGS:
        counted = in_processes(scaling.count, 2, config, 2, free_port())
        model = scaling.model_of(config)
        synchronise_norms(model)
        own = volume(model, len(model.modalities))
        print(f"{config}: gradients {own.gradients} (counted {counted['gradient_bytes']}), statistics {own.statistics} "
              f"in {own.calls} calls (waited for: {counted['waited_bytes']} in {counted['waited_calls']})")  # fmt: skip


def main() -> None:
    """Measures, prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--compare", action="store_true")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    torch.set_num_threads(1)
    if arguments.compare:
        compare()
        return
    lines = page(arguments)
    print("\n".join(lines))
    if arguments.out:
        arguments.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
