"""Whether the kernels of a device answer as plain torch does on a CPU, in all bits, within seconds.

Every operator of the exchange and the gradients of the public step, in four dtypes and both memory formats, on planes
whose rows fit vectors, on odd ones, on slices of something larger and at odd addresses; and on the same the class of
resized logits, float32, with confidence and without. Small, so that it can run under compute-sanitizer. Exits with 1
where an answer differs, or where there is no kernel.

    PYTORCH_NO_CUDA_MEMORY_CACHING=1 compute-sanitizer --tool memcheck python benchmarks/probe.py --device cuda
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterator

import torch
from torch import Tensor

from rgbx.ops import reference, shift_add_shuffle
from rgbx.ops._extension import KERNELS, may_use_kernel
from rgbx.ops.functional import _taps_of

SHAPES = ((20, 8, 16), (64, 6, 10), (13, 25, 25), (5, 1, 9))  # C, H, W
SIZES = ((32, 64), (23, 41), (25, 25), (4, 36))  # of resized logits of these shapes
DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
INTEGERS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}  # by bytes
INPUTS = {"channel_shuffle": 1, "pixel_shift": 1, "shift_add_shuffle": 2, "shift_add_shuffle_adjoint": 1}


def same_bits(x: Tensor, y: Tensor) -> bool:
    """Equality that tells -0.0 from 0.0."""
    x, y = (value.detach().cpu().contiguous() for value in (x, y))
    return x.dtype == y.dtype and torch.equal(x.view(INTEGERS[x.itemsize]), y.view(INTEGERS[y.itemsize]))


def placements(values: Tensor) -> Iterator[Tensor]:
    """The same values dense in both formats, one element further on, and in every second row and column."""
    yield values
    yield values.contiguous(memory_format=torch.channels_last)
    memory = values.new_zeros(values.numel() + 1)
    memory[1:] = values.flatten()
    yield memory[1:].view(values.shape)
    batch, channels, height, width = values.shape
    wide = values.new_zeros(batch, channels, 2 * height, 2 * width)
    wide[..., 1::2, 1::2] = values
    yield wide[..., 1::2, 1::2]


def wrong_answers(device: str) -> Iterator[str]:
    """A line for each answer that differs."""
    for (channels, *size), dtype, modalities in itertools.product(SHAPES, DTYPES, (2, 3)):
        ring = modalities, channels // 5, 1
        b, a = torch.randn(2, 2 * modalities, channels, *size).to(dtype)  # two samples
        there = [list(placements(x.to(device))) for x in (b, a)]
        for name, inputs in INPUTS.items():
            wanted = getattr(reference, name)(*(b, a)[:inputs], *ring)
            for k, placed in enumerate(zip(*there, strict=True)):
                found = getattr(torch.ops.rgbx, name)(*placed[:inputs], *ring)
                pairs = zip(found, wanted, strict=True) if isinstance(wanted, tuple) else [(found, wanted)]
                if not all(same_bits(x, y) for x, y in pairs):
                    yield f"{name} of {channels}x{size[0]}x{size[1]}, {dtype}, {modalities} maps, placement {k}"
        leaves = [x.to(device).requires_grad_() for x in (b, a)]
        gradients = torch.autograd.grad(shift_add_shuffle(leaves[0], leaves[1], modalities), leaves, b.to(device))
        wanted = reference.shift_add_shuffle_adjoint(b, *ring)
        if not all(map(same_bits, gradients, wanted)):
            yield f"gradients of {channels}x{size[0]}x{size[1]}, {dtype}, {modalities} maps"


def wrong_ids(device: str) -> Iterator[str]:
    """A line for each class or confidence that differs."""
    for shape, size, confidence in itertools.product(SHAPES, SIZES, (True, False)):
        x = 3 * torch.randn(2, *shape)
        taps = _taps_of(x, size, size)
        wanted = reference.resized_argmax(x, *taps, confidence=confidence)
        for k, placed in enumerate(placements(x.to(device))):
            found = torch.ops.rgbx.resized_argmax(placed, *(each.to(device) for each in taps), confidence)
            if not all(same_bits(one, other) for one, other in zip(found, wanted, strict=True)):
                yield f"classes of {'x'.join(map(str, shape))} at {size}, placement {k}, confidence {confidence}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", help="cpu, cuda or cuda:N")
    options = parser.parse_args()
    device = torch.device(options.device)
    kernel = KERNELS[device.type]
    if not kernel.loaded or not may_use_kernel(device):
        raise SystemExit(f"no kernel for {options.device}: {kernel.detail}")
    torch.manual_seed(0)
    wrong = [*wrong_answers(options.device), *wrong_ids(options.device)]
    print("\n".join(wrong) or f"{options.device}: all answers equal those of plain torch")
    raise SystemExit(bool(wrong))


if __name__ == "__main__":
    main()
