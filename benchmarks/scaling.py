"""What several processes send each other in a step, counted, and how that compares with the step itself.

    OMP_NUM_THREADS=1 python benchmarks/scaling.py [--rounds N] [--json FILE]

Bytes: a real step of each config's model in two processes, with torch's wrapper and synchronised norms. What a process
hands to the collectives is added up: gradients, in buckets, as they go while the backward pass runs, and all else
(statistics of norms, weights of losses), for which a process waits. Neither depends on the size of the images.

Times: steps of the same model with the same batch for each process, in one process and in two, which take turns, one
thread each, over gloo on this machine: medians of wall time. Two cores share caches, memory and clock, so what is lost
is an upper bound for what the collectives take.

`--reason` prints what follows for W processes from the bytes, the operations and stated speeds; nothing is measured.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, distributed
from torch.multiprocessing import spawn

from rgbx._processes import together
from rgbx.cli.config import load_config
from rgbx.cli.model import config_model
from rgbx.layers import synchronise_norms
from rgbx.models import MultimodalModel
from rgbx.profile.measure import measure_complexity
from rgbx.train.distributed import finish_together, wrap

ROOT = Path(__file__).parent.parent
CONFIGS = {  # and the size of their images
    "rooms/asymfusion_small_rooms_160x120": (120, 160),
    "nyudv2/asymfusion_r50_nyudv2_lists": (480, 640),
    "nyudv2/asymfusion_r152_nyudv2_authors": (500, 500),
}
COLLECTIVES = ("all_reduce", "all_gather", "all_gather_into_tensor", "broadcast", "reduce_scatter_tensor")
NETWORKS = {"NVLink, 450 GB/s": 450e9, "400 Gbit/s": 50e9, "25 Gbit/s": 3.1e9}
SPEED = 60e12  # operations a second that a GPU is taken to reach in training
SHORTEST = 0.01  # seconds that a step takes at least, as kernels are started one by one
CALL = 20e-6  # seconds of a collective of few bytes


def model_of(config: str) -> MultimodalModel:
    """A config's model, with weights drawn."""
    torch.manual_seed(0)
    return config_model(load_config(ROOT / "configs" / f"{config}.py")).train()


def batch_of(model: MultimodalModel, size: tuple[int, int], count: int) -> dict[str, Tensor | list[str]]:
    """Noise for each modality [N, c, H, W] and labels [N, H, W]."""
    maps: dict[str, Tensor | list[str]] = {}
    for name in model.modalities:
        colours = torch.randint(0, 256, (count, 3, *size), dtype=torch.uint8)
        maps[name] = colours if name in ("rgb", "hha") else 0.1 + 4 * torch.rand(count, 1, *size)
    return {**maps, "label": torch.randint(0, 10, (count, *size)), "sample_id": [str(i) for i in range(count)]}


def join(rank: int, size: int, port: int) -> None:
    """One process of a group over gloo, with one thread."""
    torch.set_num_threads(1)
    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "RANK": str(rank), "WORLD_SIZE": str(size)}
    os.environ.update(address, LOCAL_RANK=str(rank))
    distributed.init_process_group("gloo")


def free_port() -> int:
    """One that nobody listens at now."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextmanager
def counted(found: dict[str, int]) -> Iterator[None]:
    """Adds up what this process hands to the collectives that it calls itself, and how many they are."""
    calls = {name: getattr(distributed, name) for name in COLLECTIVES}

    def counting(call: Callable[..., object]) -> Callable[..., object]:
        def counts(*given: Any, **named: Any) -> object:
            tensors = [x for x in (*given, *named.values()) if isinstance(x, Tensor)]
            found["waited_bytes"] += tensors[-1].numel() * tensors[-1].element_size()
            found["waited_calls"] += 1
            return call(*given, **named)

        return counts

    try:
        for name, call in calls.items():
            setattr(distributed, name, counting(call))
        yield
    finally:
        for name, call in calls.items():
            setattr(distributed, name, call)


def count(rank: int, config: str, batch: int, port: int, answer: Any) -> None:
    """Puts on `answer` the bytes that a step sends."""
    join(rank, 2, port)
    model = model_of(config)
    synchronise_norms(model)
    found = {"parameters": sum(p.numel() for p in model.parameters())}

    def hook(state: None, bucket: distributed.GradBucket) -> torch.futures.Future[Tensor]:
        found["gradient_bytes"] += bucket.buffer().numel() * bucket.buffer().element_size()
        found["buckets"] += 1
        done: torch.futures.Future[Tensor] = torch.futures.Future()
        done.set_result(bucket.buffer())
        return done

    hook.__annotations__.clear()  # torch compares them with the classes, and here they are text
    wrapped = wrap(model)
    wrapped.register_comm_hook(None, hook)
    data = model.data_preprocessor(batch_of(model, (96, 128), batch), training=True)
    for _ in range(2):  # the buckets of the first step are not those of the others
        found |= dict.fromkeys(("gradient_bytes", "buckets", "waited_bytes", "waited_calls"), 0)
        with counted(found), together():
            torch.stack(list(wrapped(**data, mode="loss").values())).sum().backward()
    if not rank:
        answer.put(found)
    finish_together()
    distributed.destroy_process_group()


def timed(rank: int, size: int, config: str, batch: int, steps: int, port: int, answer: Any) -> None:
    """Puts on `answer` the median seconds of a step."""
    join(rank, size, port)
    model = model_of(config)
    synchronise_norms(model)
    wrapped = wrap(model)
    optimizer = torch.optim.SGD(wrapped.parameters(), lr=0.0)
    data = batch_of(model, CONFIGS[config], batch)
    taken = []
    for step in range(steps + 1):
        distributed.barrier()
        start = time.perf_counter()
        inputs = model.data_preprocessor(data, training=True)
        with together():
            torch.stack(list(wrapped(**inputs, mode="loss").values())).sum().backward()
        optimizer.step()
        optimizer.zero_grad()
        distributed.barrier()
        if step:
            taken.append(time.perf_counter() - start)
    if not rank:
        answer.put(statistics.median(taken))
    finish_together()
    distributed.destroy_process_group()


def in_processes(function: Callable[..., None], size: int, *arguments: object) -> Any:
    """What function(rank, *arguments, answer) puts on `answer`, called in so many processes."""
    answer = torch.multiprocessing.get_context("spawn").SimpleQueue()
    spawn(function, (*arguments, answer), nprocs=size)
    return answer.get()


def measure(config: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Bytes of a step, operations of it, and its times in one process and in two."""
    found: dict[str, Any] = in_processes(count, 2, config, arguments.batch, free_port())
    complexity = measure_complexity(model_of(config), CONFIGS[config])
    found |= {"config": config, "flops_per_image": 3 * complexity.flops, "size": CONFIGS[config], "seconds": {}}
    if config in arguments.timed:
        rounds: dict[int, list[float]] = {1: [], 2: []}
        for _ in range(arguments.rounds):
            for size, own in rounds.items():
                own.append(in_processes(timed, size, size, config, arguments.batch, arguments.steps, free_port()))
        found["seconds"] = {str(size): statistics.median(own) for size, own in rounds.items()}
    return found


def reasoned(found: dict[str, Any], batch: int, processes: int, bandwidth: float) -> float:
    """The share of its speed alone that a process keeps among so many.

    A ring sends 2 (W - 1) / W times the bytes through each process. Gradients go while the backward pass runs, which
    takes two thirds of the step; what is longer than that, and all else, is waited for.
    """
    step = max(SHORTEST, batch * found["flops_per_image"] / SPEED)
    ring = 2 * (processes - 1) / processes / bandwidth
    hidden = max(2 / 3 * step, ring * found["gradient_bytes"])
    waited = ring * found["waited_bytes"] + found["waited_calls"] * CALL
    return float(step / (step / 3 + hidden + waited))


def main() -> None:
    """Measures, prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--batch", type=int, default=4, help="images of a process")
    parser.add_argument("--timed", nargs="*", default=list(CONFIGS)[:1], choices=CONFIGS, metavar="CONFIG")
    parser.add_argument("--reason", action="store_true")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    found = [measure(config, arguments) for config in CONFIGS]
    for one in found:
        print(f"{one['config']}: {one['parameters'] / 1e6:.2f} M parameters")
        print(f"  gradients {one['gradient_bytes'] / 1e6:.2f} MB in {one['buckets']} buckets; waited for "
              f"{one['waited_bytes'] / 1e3:.1f} kB in {one['waited_calls']} calls")  # fmt: skip
        if one["seconds"]:
            alone, two = one["seconds"]["1"], one["seconds"]["2"]
            print(f"  a step of {arguments.batch} images: {alone:.3f} s alone, {two:.3f} s as one of two: "
                  f"{alone / two:.2f} of its speed")  # fmt: skip
        for network, bandwidth in NETWORKS.items() if arguments.reason else ():
            kept = [f"{w}: {100 * reasoned(one, arguments.batch, w, bandwidth):.0f} %" for w in (2, 8, 64)]
            print(f"  reasoned, {network}: {', '.join(kept)}")
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
