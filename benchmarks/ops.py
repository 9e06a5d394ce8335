"""How fast the exchange is: compiled kernel, plain torch, the form for compilers, and that of the released code.

Times both steps of an asymmetric block together, S(a) and S(b + P(a)), on the shapes they have in ResNet-18 and -50
(the same: width 64 to 512 at strides 4 to 32) for two modalities; forward, and forward with backward. All
implementations and a plain copy (`clone`, which also allocates its result) take turns in one run; each figure is the
median over the rounds after a warm-up; on a CPU of processor time, on a GPU between two events. Yardsticks: the bytes
that must move, the sum of the two gradients of a among them, at the speed of the copy ("share of copy"); the time of as
many copies (a copy reads and writes the stacked tensor once: 2.5 forward, 6.5 with backward); and the same bytes at the
speed of b + a, one elementwise operation ("times elementwise"). The form for compilers is also what `torch.func` and
forward-mode differentiation take, uncompiled.

On a CPU glibc is told to keep freed memory, as torch's allocator does on a GPU: else the kernel's page faults for fresh
memory are most of what large tensors measure, for all implementations alike.

    python benchmarks/ops.py --sizes 480x640 1024x2048 --batches 1 8 --out benchmarks/results/ops_cpu.md
"""

from __future__ import annotations

import argparse
import ctypes
import datetime
import functools
import itertools
import platform
import statistics
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import pad

from rgbx.ops import channel_group, channel_shuffle, reference, shift_add_shuffle, traceable
from rgbx.ops._extension import KERNELS

STAGES = {1: (64, 4), 2: (128, 8), 3: (256, 16), 4: (512, 32)}  # channels, stride
MODALITIES = 2
Step = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


def both_steps(operations: object, group: int) -> Step:
    """(b, a) -> (S(a), S(b + P(a))) with the operations of a module."""
    ring = MODALITIES, group, 1

    def steps(b: Tensor, a: Tensor) -> tuple[Tensor, Tensor]:
        return operations.channel_shuffle(a, *ring), operations.shift_add_shuffle(b, a, *ring)  # type: ignore[attr-defined]

    return steps


def released_form(group: int) -> Step:
    """The released network's way: a list of modalities, each step padding, slicing and concatenating per group."""

    def shuffle(x: list[Tensor]) -> list[Tensor]:
        kept = 4 * group
        return [torch.cat([x[m][:, :kept], x[1 - m][:, kept:]], 1) for m in (0, 1)]

    def shift(x: Tensor) -> Tensor:
        parts = []
        for k, (dy, dx) in enumerate(reference.SHIFTS):
            framed = pad(x[:, k * group : (k + 1) * group], (1, 1, 1, 1))
            height, width = x.shape[-2:]
            parts.append(framed[:, :, 1 + dy : 1 + dy + height, 1 + dx : 1 + dx + width])
        return torch.cat([*parts, torch.zeros_like(x[:, 4 * group :])], 1)

    def steps(b: Tensor, a: Tensor) -> tuple[Tensor, Tensor]:
        own, sent = list(b.chunk(2)), list(a.chunk(2))
        received = [shift(sent[1]), shift(sent[0])]
        fused = shuffle([x + y for x, y in zip(own, received, strict=True)])
        return torch.cat(shuffle(sent)), torch.cat(fused)

    return steps


def implementations(group: int, device: str, compiled: bool) -> dict[str, Step]:
    found: dict[str, Step] = {}
    if KERNELS[device].loaded:
        found["kernel"] = both_steps(torch.ops.rgbx, group)
    found["plain torch"] = both_steps(reference_with_autograd(), group)
    found["for compilers"] = both_steps(traceable, group)
    if compiled:
        torch._dynamo.reset()
        found["for compilers, compiled"] = torch.compile(both_steps(traceable, group), fullgraph=True, dynamic=False)
    found["released form"] = released_form(group)
    return found


def reference_with_autograd() -> type:
    """`rgbx.ops.reference` with the backward that the operators have without a kernel."""

    def differentiable(name: str, inputs: int) -> Callable[..., Tensor]:
        class Function(torch.autograd.Function):
            @staticmethod
            def forward(ctx, *arguments):  # type: ignore[no-untyped-def]
                ctx.ring = arguments[inputs:]
                return getattr(reference, name)(*arguments)

            @staticmethod
            def backward(ctx, grad):  # type: ignore[no-untyped-def]
                if inputs == 2:
                    return *reference.shift_add_shuffle_adjoint(grad, *ctx.ring), None, None, None
                modalities, group, direction = ctx.ring
                return reference.channel_shuffle(grad, modalities, group, -direction), None, None, None

        return Function.apply

    names = {"channel_shuffle": 1, "shift_add_shuffle": 2}
    return type("Reference", (), {name: staticmethod(differentiable(name, n)) for name, n in names.items()})


def bytes_needed(x: Tensor, group: int, backward: bool) -> float:
    """What moves: 2 + (2 + kept share) stacked tensors, and backward 2 + 3 and 3 for the sum of the gradients of a."""
    kept = 4 * group / x.shape[1]
    return x.numel() * x.element_size() * (4 + kept + (8 if backward else 0))


def time_together(calls: dict[str, Callable[[], object]], device: str, seconds: float) -> dict[str, float]:
    """Median milliseconds of each call; all take turns until the time is used up (at least 5 rounds)."""
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        call(), call()
    stop = time.perf_counter() + seconds
    while len(next(iter(taken.values()))) < 5 or time.perf_counter() < stop:
        for name, call in calls.items():
            taken[name].append(time_once(call, device))
    return {name: statistics.median(values) for name, values in taken.items()}


def time_once(call: Callable[[], object], device: str) -> float:
    """Milliseconds of one call: processor time on a CPU, device time between two events on a GPU."""
    if device == "cpu":
        start = time.process_time()
        call()
        return 1000 * (time.process_time() - start)
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda._sleep(4_000_000)  # the call is queued before the device gets to it: host time stays out
    begin.record()
    call()
    end.record()
    end.synchronize()
    return begin.elapsed_time(end)


def host_microseconds(call: Callable[[], object], device: str) -> float:
    """Median time until a call returns while the device is busy with something else; on a CPU, on tiny tensors."""
    taken = []
    for _ in range(200):
        if device == "cuda":
            torch.cuda._sleep(2_000_000)
        start = time.perf_counter()
        call()
        taken.append(1e6 * (time.perf_counter() - start))
        if device == "cuda":
            torch.cuda.synchronize()
    return statistics.median(taken)


def rows_for(case: tuple, options: argparse.Namespace) -> Iterable[str]:
    """Table rows of one shape, dtype and format."""
    (height, width), batch, stage, dtype, form = case
    channels, stride = STAGES[stage]
    group = channel_group(channels)
    shape = (MODALITIES * batch, channels, height // stride, width // stride)
    layout = torch.channels_last if form == "nhwc" else torch.contiguous_format
    b, a = (
        torch.randn(shape, device=options.device).to(getattr(torch, dtype)).contiguous(memory_format=layout)
        for _ in "ba"
    )
    steps = implementations(group, options.device, options.compiled)
    for backward in (False, True):
        calls: dict[str, Callable[[], object]] = {"copy": lambda: b.clone(), "b + a": lambda: b + a}
        for name, step in steps.items():
            calls[name] = training_call(step, b, a) if backward else functools.partial(step, b, a)
        times = time_together(calls, options.device, options.seconds)
        size = b.numel() * b.element_size()
        copies = 6.5 if backward else 2.5
        for name in steps:
            needed = bytes_needed(b, group, backward)
            share = needed / times[name] / (2 * size / times["copy"])
            elementwise = needed * times["b + a"] / (3 * size)  # b + a reads two stacks and writes one
            passes = "forward + backward" if backward else "forward"
            yield (
                f"| {'x'.join(map(str, shape))} | {size / 2**20:.0f} | {dtype} {form} | {passes} "
                f"| {name} | {times[name]:.3f} | {needed / 2**20:.0f} | {needed / times[name] / 1e6:.1f} | {share:.0%} "
                f"| {times[name] / (copies * times['copy']):.2f} | {times[name] / elementwise:.2f} |"
            )


def training_call(step: Step, b: Tensor, a: Tensor) -> Callable[[], object]:
    leaves = [x.detach().clone(memory_format=torch.preserve_format).requires_grad_() for x in (b, a)]
    grads = [torch.randn_like(x) for x in (b, a)]
    return lambda: torch.autograd.grad(step(*leaves), leaves, grads)


def public_steps(b: Tensor, a: Tensor) -> tuple[Tensor, Tensor]:
    """The functions a user calls, with their checks."""
    return channel_shuffle(a, MODALITIES), shift_add_shuffle(b, a, MODALITIES)


def host_rows(device: str) -> Iterable[str]:
    b, a = torch.randn(2, 2, 64, 4, 4, device=device).unbind()
    for name, step in {"public functions": public_steps, **implementations(12, device, False)}.items():
        forward = host_microseconds(functools.partial(step, b, a), device)
        both = host_microseconds(training_call(step, b, a), device)
        yield f"| {name} | {forward:.0f} | {both:.0f} |"


def keep_freed_memory() -> None:
    """mallopt: no mapping of large blocks, no trimming of the heap."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        m_trim_threshold, m_mmap_max = -1, -4
        libc.mallopt(m_mmap_max, 0)
        libc.mallopt(m_trim_threshold, 2**31 - 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--sizes", nargs="+", default=["480x640"], help="image sizes, HxW")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--stages", type=int, nargs="+", choices=STAGES, default=list(STAGES))
    parser.add_argument("--dtypes", nargs="+", default=["float32"])
    parser.add_argument("--formats", nargs="+", choices=["nchw", "nhwc"], default=["nchw", "nhwc"])
    parser.add_argument("--compiled", action="store_true", help="also time torch.compile (slow to start)")
    parser.add_argument("--seconds", type=float, default=2.0, help="per shape and direction")
    parser.add_argument("--out", type=Path, default=None, help="Markdown file to write")
    options = parser.parse_args()
    if options.device == "cpu":
        keep_freed_memory()
    sizes = [tuple(int(side) for side in size.split("x")) for size in options.sizes]
    machine = (
        torch.cuda.get_device_name()
        if options.device == "cuda"
        else f"{platform.machine()}, {torch.get_num_threads()} threads"
    )
    lines = [
        "# The exchange: both steps together\n",
        f"By `benchmarks/ops.py`, which says what is measured. {machine}, Python {platform.python_version()}, torch "
        f"{torch.__version__}, {datetime.date.today()}.\n",
        "| stack | MiB | type | passes | implementation | ms | MiB needed | GB/s | share of copy | times its copies "
        "| times elementwise |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for case in itertools.product(sizes, options.batches, options.stages, options.dtypes, options.formats):
        for row in rows_for(case, options):
            print(row, flush=True)
            lines.append(row)
    lines += [
        "",
        "Host time per pair of steps, µs, on [2, 64, 4, 4]:\n",
        "| implementation | forward | forward + backward |",
    ]
    lines += ["|---|---|---|", *host_rows(options.device)]
    if options.out:
        options.out.write_text("\n".join(lines) + "\n")
    print("\n".join(lines[-5:]))


if __name__ == "__main__":
    main()
