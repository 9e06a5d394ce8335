"""The loops of the CPU kernel and every single thread of the CUDA kernel, on memory fenced by forbidden pages.

The CUDA threads are plain functions of where they stand, so a host can run them all: what is checked here is all of
the CUDA kernel but the launch itself.
"""

from __future__ import annotations

import ctypes
import faulthandler
import multiprocessing

import pytest
import torch
from cases import CASES, DTYPES, OPERATORS, Case, expected, same_bits
from guarded import Guarded

DENSE = [case for case in CASES if case.layout in ("nchw", "nhwc") and 0 not in case.shape]


def in_memory_order(x: torch.Tensor, case: Case) -> torch.Tensor:
    """Contiguous with the case's memory order: [M*N, H, W, C] for nhwc."""
    return x.permute(0, 2, 3, 1).contiguous() if case.layout == "nhwc" else x.contiguous()


def run_fenced(library: ctypes.CDLL, operator: str, case: Case, *, cuda: bool, at_end: bool) -> tuple[list, int]:
    """Results in memory order, and how many elements were taken at once."""
    inputs = [in_memory_order(x, case) for x in case.inputs(operator)]
    adjoint = operator in ("pixel_shift", "shift_add_shuffle_adjoint")
    count = 2 if operator == "shift_add_shuffle_adjoint" else 1
    size = inputs[0].numel() * inputs[0].element_size()
    buffers = [Guarded(size, at_end=at_end) for _ in range(len(inputs) + count)]
    for buffer, x in zip(buffers, inputs, strict=False):
        buffer.write(x)
    outputs = buffers[len(inputs) :]
    direction = -case.direction if operator == "shift_add_shuffle_adjoint" else case.direction
    sizes = (ctypes.c_int64 * 7)(case.num_modalities, *case.shape, case.shape[1] // 5, direction)
    pointers = [
        buffers[0].address,
        buffers[1].address if len(inputs) == 2 else None,
        outputs[0].address if count == 2 else None,
        outputs[-1].address,
    ]
    width = library.exchange(
        DTYPES.index(case.dtype),
        int(cuda),
        int(case.layout == "nhwc"),
        int(adjoint),
        sizes,
        *map(ctypes.c_void_p, pointers),
    )
    return [buffer.read(inputs[0]) for buffer in outputs], width


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("cuda", [False, True], ids=["cpu loops", "cuda threads"])
def test_reads_and_writes_inside_only_and_equals_plain_torch(host_kernels, cuda, operator):
    widths = set()
    for case in DENSE:
        wanted = [in_memory_order(x, case) for x in expected(operator, case, case.inputs(operator))]
        for at_end in (False, True):
            found, width = run_fenced(host_kernels, operator, case, cuda=cuda, at_end=at_end)
            widths.add(width)
            for x, y in zip(found, wanted, strict=True):
                assert same_bits(x, y), (case, at_end)
    assert widths == ({1, 2, 4, 8} if cuda else {1})


def test_the_fence_is_there(host_kernels):
    """A kernel told of one row too many must be stopped: run in a child, which dies."""
    child = multiprocessing.get_context("fork").Process(target=_overrun, args=(host_kernels,))
    child.start()
    child.join()
    assert child.exitcode is not None and child.exitcode < 0


def _overrun(library: ctypes.CDLL) -> None:
    faulthandler.disable()
    source, target = Guarded(4096, at_end=True), Guarded(4096, at_end=True)
    sizes = (ctypes.c_int64 * 7)(2, 1, 5, 11, 11, 1, 1)  # 1210 floats where 1024 fit
    library.exchange(0, 0, 0, 0, sizes, ctypes.c_void_p(source.address), None, None, ctypes.c_void_p(target.address))
