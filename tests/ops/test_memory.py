"""The loops of the CPU kernel and every single thread of the CUDA kernels, on memory fenced by forbidden pages.

The CUDA threads are plain functions of where they stand, so a host can run them all: what is checked here is all of
the CUDA kernels but the launch itself.
"""

from __future__ import annotations

import ctypes
import faulthandler
import itertools
import multiprocessing

import pytest
import torch
from cases import CASES, DTYPES, OPERATORS, RESIZED, Case, expected, same_bits, scores
from guarded import Guarded

from rgbx.ops import reference
from rgbx.ops.functional import _taps_of

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


def answer_fenced(library: ctypes.CDLL, x: torch.Tensor, taps, *, at_end: bool, confidence: bool) -> tuple[list, int]:
    """What the CUDA threads make of scores with any strides, and how many classes a thread took at once."""
    size = (len(x), taps[0].shape[1], taps[2].shape[1])
    storage = torch.empty(0).set_(x.untyped_storage())
    buffers = []
    for tensor in (storage, *taps):
        buffers.append(Guarded(tensor.numel() * tensor.itemsize, at_end=at_end))
        buffers[-1].write(tensor)
    like = (torch.zeros(size, dtype=torch.uint8), torch.zeros(size), torch.ones(size[:2], dtype=torch.bool))
    outputs = [Guarded(tensor.numel() * tensor.itemsize, at_end=at_end) for tensor in like]
    outputs[2].write(like[2])
    pointers = [buffer.address for buffer in (*buffers, *outputs)]
    pointers[0] += 4 * x.storage_offset()
    pointers[6] = pointers[6] if confidence else None
    numbers = (ctypes.c_int64 * 6)(*x.shape, *size[1:]), (ctypes.c_int64 * 4)(*x.stride())
    width = library.resized_argmax(*numbers, *map(ctypes.c_void_p, pointers))
    return [buffer.read(each) for buffer, each in zip(outputs, like, strict=True)], width


@pytest.mark.parametrize("confidence", [True, False])
def test_threads_for_class_ids_stay_inside_and_equal_plain_torch(host_kernels, confidence):
    widths = set()
    for (shape, size, crop), layout, at_end in itertools.product(RESIZED.values(), ("nchw", "nhwc", "strided"), (0, 1)):
        x = scores(shape, layout)
        if at_end:
            x.round_()  # many equals, of which the first wins
        taps = _taps_of(x, size, crop)
        found, width = answer_fenced(host_kernels, x, taps, at_end=bool(at_end), confidence=confidence)
        wanted = reference.resized_argmax(x, *taps, confidence)
        widths.add(width)
        assert same_bits(found[0], wanted[0]), (shape, layout)
        assert not confidence or same_bits(found[1], wanted[1]), (shape, layout)
        assert found[2].all()
    assert widths == {1, 2, 4}


def test_threads_tell_what_is_no_number_and_what_lies_outside(host_kernels):
    x = scores((3, 8, 5, 6), "nhwc")
    x[0, 1, 2, 3] = x[0, 5, 2, 3] = torch.nan
    x[1, :, 4, 5], x[2, 0], x[2, 3, 1, 1] = -torch.inf, -torch.inf, torch.inf
    taps = _taps_of(x, (5, 6), (5, 6))
    (ids, shares, finite), _ = answer_fenced(host_kernels, x, taps, at_end=True, confidence=True)
    assert torch.equal(ids.long(), x.argmax(1))
    assert (~finite).nonzero().tolist() == [[0, 2], [1, 4], [2, 1]]
    assert shares.isnan().nonzero().tolist() == [[0, 2, 3], [1, 4, 5], [2, 1, 1]]
    taps = tuple(each.clone() for each in taps)  # of arrays that are kept
    taps[0][0, 1], taps[0][1, 3] = -1, 5  # rows of which none is read
    (ids, shares, finite), _ = answer_fenced(host_kernels, scores((3, 8, 5, 6)), taps, at_end=False, confidence=True)
    assert finite.tolist() == [[True, False, True, False, True]] * 3
    assert shares[:, [1, 3]].isnan().all() and ids[:, [1, 3]].eq(0).all()


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
