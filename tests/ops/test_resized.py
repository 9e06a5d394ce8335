"""What is asked of resized scores: the kernel against plain torch in all bits, and both against PyTorch's own."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from cases import RESIZED, same_bits, scores
from torch._subclasses.fake_tensor import FakeTensorMode

from rgbx.ops import functional as module
from rgbx.ops import reference, resized_argmax, resized_cross_entropy
from rgbx.ops.functional import _taps, _taps_of, _taps_on


@pytest.fixture(params=RESIZED)
def case(request):
    return RESIZED[request.param]


def label_of(shape, crop):
    """Classes, and weights of which many are 0."""
    generator = torch.Generator().manual_seed(1)
    size = (shape[0], *crop)
    weights = (torch.rand(size, generator=generator) - 0.3).clamp(min=0)
    weights[:, : crop[0] // 3] = 0
    return torch.randint(0, shape[1], size, generator=generator), weights


def naive(x, size, crop):
    """Bilinear resizing by its definition, pixel by pixel in double precision, [B, K, H, W]."""
    found = x.new_empty((*x.shape[:2], *crop), dtype=torch.float64)

    def between(i, n, m):
        at = max((i + 0.5) * n / m - 0.5, 0.0)
        lower = min(math.floor(at), n - 1)
        return lower, min(lower + 1, n - 1), at - lower

    for i in range(crop[0]):
        top, bottom, v = between(i, x.shape[2], size[0])
        for j in range(crop[1]):
            left, right, u = between(j, x.shape[3], size[1])
            above = (1 - u) * x[:, :, top, left].double() + u * x[:, :, top, right].double()
            below = (1 - u) * x[:, :, bottom, left].double() + u * x[:, :, bottom, right].double()
            found[:, :, i, j] = (1 - v) * above + v * below
    return found


@pytest.mark.parametrize("layout", ["nchw", "nhwc", "strided"])
def test_kernels_are_plain_torch_in_all_bits(need_kernel, monkeypatch, case, layout):
    need_kernel("cpu")
    shape, size, crop = case
    monkeypatch.setitem(reference.STRIP, "cpu", 700)  # several strips
    x, taps = scores(shape, layout), _taps_of(scores(shape), size, crop)
    label, weights = label_of(shape, crop)
    threads = torch.get_num_threads()
    for count in (1, 3):
        torch.set_num_threads(count)
        try:
            for flag in (True, False):
                found = torch.ops.rgbx.resized_argmax(x, *taps, flag)
                assert all(map(same_bits, found[:2], reference.resized_argmax(x, *taps, flag)[:2]))
                assert found[2].all()
                found = torch.ops.rgbx.resized_cross_entropy(x, *taps, label, weights, flag)
                assert all(map(same_bits, found, reference.resized_cross_entropy(x, *taps, label, weights, flag)))
        finally:
            torch.set_num_threads(threads)


@pytest.mark.parametrize("layout", ["nchw", "nhwc", "strided"])
def test_ids_on_a_gpu_are_plain_torch_in_all_bits(need_kernel, case, layout):
    need_kernel("cuda")
    shape, size, crop = case
    x, taps = scores(shape, layout), _taps_of(scores(shape), size, crop)
    storage = torch.empty(0).set_(x.untyped_storage()).cuda()
    placed = storage.as_strided(x.shape, x.stride(), x.storage_offset())
    for flag in (True, False):
        found = torch.ops.rgbx.resized_argmax(placed, *(each.cuda() for each in taps), flag)
        assert all(map(same_bits, found, reference.resized_argmax(x, *taps, flag)))


def test_a_graph_replays_class_ids(need_kernel):
    """Captured through the public function: what a graph cannot take would fail."""
    need_kernel("cuda")
    x = scores((2, 9, 6, 5)).cuda()
    resized_argmax(x, (24, 20), confidence=True)
    stream, graph = torch.cuda.Stream(), torch.cuda.CUDAGraph()
    torch.cuda.synchronize()
    with torch.cuda.graph(graph, stream=stream):
        found = resized_argmax(x, (24, 20), confidence=True)
    for sign in (1, -1):
        values = sign * scores((2, 9, 6, 5))
        x.copy_(values)
        graph.replay()
        torch.cuda.synchronize()
        assert all(map(same_bits, found, resized_argmax(values, (24, 20), confidence=True)))


def test_ids_of_a_gpu_come_behind_what_is_queued(need_kernel):
    need_kernel("cuda")
    x, taps = (
        torch.zeros(1, 3, 8, 8, device="cuda"),
        _taps_of(torch.zeros(1, 3, 8, 8, device="cuda"), (32, 32), (32, 32)),
    )
    stream = torch.cuda.Stream()
    torch.cuda.synchronize()
    with torch.cuda.stream(stream):
        torch.cuda._sleep(50_000_000)
        x[:, 2] = 1
        ids, _, _ = torch.ops.rgbx.resized_argmax(x, *taps, False)
        assert not stream.query()  # nothing has waited
    stream.synchronize()
    assert ids.eq(2).all()


def test_what_a_gpu_is_not_given(need_kernel):
    need_kernel("cuda")
    x = torch.zeros(2, 3, 4, 5, device="cuda")
    taps = _taps_of(x, (8, 10), (8, 10))
    with pytest.raises(RuntimeError, match="expected places and weights on the device of the scores"):
        torch.ops.rgbx.resized_argmax(x, taps[0].cpu(), *taps[1:], False)
    with pytest.raises(RuntimeError, match="expected 1 to 256 classes, found 257"):
        torch.ops.rgbx.resized_argmax(torch.zeros(1, 257, 4, 5, device="cuda"), *taps, False)
    _, _, finite = torch.ops.rgbx.resized_argmax(x[:, :, :3], *taps, False)  # told by its row, as no check waits
    assert finite.tolist() == [[True] * 5 + [False] * 3] * 2
    found = torch.ops.rgbx.resized_argmax(x[:0], *taps, True)
    assert [each.shape for each in found] == [(0, 8, 10), (0, 8, 10), (0, 8)]
    half = resized_argmax(scores((1, 5, 4, 4)).half().cuda(), (16, 16), confidence=True)
    assert all(map(same_bits, half, resized_argmax(scores((1, 5, 4, 4)).half(), (16, 16), confidence=True)))


def test_a_second_gpu_computes_its_own_ids(need_kernel):
    need_kernel("cuda")
    if torch.cuda.device_count() < 2:
        pytest.skip("needs two GPUs")
    x = scores((2, 9, 6, 5))
    assert same_bits(resized_argmax(x.to("cuda:1"), (24, 20))[0], resized_argmax(x, (24, 20))[0])
    assert torch.cuda.current_device() == 0


@pytest.mark.parametrize(
    ("side", "resized", "kept"), [(5, 20, 20), (120, 480, 471), (7, 32, 30), (30, 13, 13), (8, 8, 7)]
)
def test_places_of_a_device_are_those_of_arrays(side, resized, kept):
    for found, wanted in zip(
        _taps_on(torch.device("cpu"), side, resized, kept), _taps(side, resized, kept), strict=True
    ):
        assert same_bits(found, torch.from_numpy(wanted))


def test_a_gpu_without_kernels_gets_plain_torch(monkeypatch):
    x = scores((1, 3, 4, 5))
    wanted = resized_argmax(x, (8, 10))
    monkeypatch.setattr(module, "may_use_kernel", lambda device: False)
    with monkeypatch.context() as inner:
        inner.setattr(torch.ops.rgbx, "resized_argmax", None)
        found = resized_argmax(x, (8, 10))
    assert torch.equal(found[0], wanted[0])


@pytest.mark.parametrize("operations", [torch.ops.rgbx, reference], ids=["operator", "plain"])
def test_ids_are_the_largest_of_the_resized_scores(operations, case):
    shape, size, crop = case
    x, wanted = scores(shape), naive(scores(shape), size, crop)
    ids, confidence, finite = operations.resized_argmax(x, *_taps_of(x, size, crop), True)
    assert ids.dtype == torch.uint8 and confidence.dtype == torch.float32 and finite.shape == ids.shape[:2]
    own = wanted.gather(1, ids.long()[:, None])
    assert (wanted.amax(1, keepdim=True) - own).max() < 1e-5  # other classes only where they are all but equal
    assert torch.allclose(confidence.double(), wanted.softmax(1).amax(1), rtol=2e-5, atol=0)
    resized = F.interpolate(x, size=size, mode="bilinear", align_corners=False)[..., : crop[0], : crop[1]]
    assert (ids != resized.argmax(1)).float().mean() < 1e-3


@pytest.mark.parametrize("operations", [torch.ops.rgbx, reference], ids=["operator", "plain"])
def test_what_is_no_number_is_told_by_its_row(operations):
    x = torch.zeros(3, 4, 5, 6)
    x[0, 1, 2, 3], x[1, :, 4, 5], x[2, 0] = torch.nan, -torch.inf, -torch.inf
    ids, _, finite = operations.resized_argmax(x, *_taps_of(x, (5, 6), (5, 6)), True)
    assert (~finite).nonzero().tolist() == [[0, 2], [1, 4]]
    assert ids[2].eq(1).all()  # a class that is ruled out is no error


def test_the_first_of_equals_wins():
    x = torch.zeros(1, 7, 3, 3)
    x[:, 3] = x[:, 5] = 1
    for layout in (torch.contiguous_format, torch.channels_last):
        assert resized_argmax(x.contiguous(memory_format=layout), (11, 10))[0].eq(3).all()


def test_cross_entropy_and_its_gradient(case):
    shape, size, crop = case
    label, weights = label_of(shape, crop)
    x = scores(shape).requires_grad_()
    total, losses = resized_cross_entropy(x, label, weights, size)
    (2 * total).backward()
    y = scores(shape).double().requires_grad_()
    resized = F.interpolate(y, size=size, mode="bilinear", align_corners=False)[..., : crop[0], : crop[1]]
    wanted = F.cross_entropy(resized, label, reduction="none")
    (2 * (wanted * weights).sum()).backward()
    assert torch.allclose(losses.double(), wanted, rtol=1e-5, atol=2e-5)
    assert float(total) == pytest.approx(float((wanted * weights).sum()), rel=1e-6)
    assert torch.allclose(x.grad.double(), y.grad, rtol=1e-4, atol=2e-5 * float(y.grad.abs().max()))
    assert not losses.requires_grad and resized_cross_entropy(x.detach(), label, weights, size)[0].grad_fn is None


def test_exponentials():
    x = -torch.linspace(0, 90, 100001)
    wanted = x.double().clamp(min=-87).exp()
    assert ((reference.exponential(x).double() - wanted) / wanted).abs().max() < 2e-7
    assert reference.exponential(torch.zeros(1)) == 1


def test_what_cannot_be_is_refused():
    x, label = torch.zeros(1, 3, 4, 5), torch.zeros(1, 8, 10, dtype=torch.long)
    with pytest.raises(ValueError, match=r"shape \[3, 4, 5\]; expected \[B, K, h, w\] with 1 to 256 classes"):
        resized_argmax(x[0], (8, 10))
    with pytest.raises(ValueError, match=r"9×10 pixels count; expected rows and columns of the size \(8, 10\)"):
        resized_argmax(x, (8, 10), crop=(9, 10))
    with pytest.raises(TypeError, match=r"x is torch.int64; expected float32"):
        resized_argmax(x.long(), (8, 10))
    with pytest.raises(ValueError, match=r"\[1, 8, 10\] and \[1, 8, 9\]; expected \[1, H, W\]"):
        resized_cross_entropy(x, label, torch.ones(1, 8, 9), (8, 10))
    with pytest.raises(TypeError, match=r"torch.float64, torch.int64, torch.float32; expected float32"):
        resized_cross_entropy(x.double(), label, torch.ones(1, 8, 10), (8, 10))


def test_kernels_refuse_what_lies_outside(need_kernel):
    need_kernel("cpu")
    x, label, weights = torch.zeros(1, 3, 4, 5), torch.full((1, 8, 10), 3), torch.ones(1, 8, 10)
    taps = _taps_of(x, (8, 10), (8, 10))
    with pytest.raises(RuntimeError, match="expected places of 0 to 2"):
        torch.ops.rgbx.resized_argmax(x[:, :, :3], *taps, False)
    with pytest.raises(RuntimeError, match="expected labels of 0 to 2"):
        torch.ops.rgbx.resized_cross_entropy(x, *taps, label, weights, False)


def test_shapes_without_values():
    x = torch.zeros(2, 3, 4, 5, device="meta")
    assert [y.shape for y in resized_argmax(x, (8, 10), confidence=True)] == [(2, 8, 10), (2, 8, 10), (2, 8)]


def test_a_gradient_that_is_differentiated():
    """Hessian times a vector, in double precision by PyTorch's operations on resized scores."""
    x = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    label, weights = torch.randint(0, 3, (2, 9, 11)), torch.rand(2, 9, 11)
    found = []
    for dtype in (torch.float32, torch.float64):
        scores = x.to(dtype).requires_grad_()
        if dtype == torch.float32:
            total, _ = resized_cross_entropy(scores, label, weights, (9, 11))
        else:
            losses = F.cross_entropy(F.interpolate(scores, (9, 11), mode="bilinear"), label, reduction="none")
            total = (losses * weights).sum()
        (slope,) = torch.autograd.grad(total, scores, create_graph=True)
        found += [slope.double(), torch.autograd.grad((slope**2).sum(), scores)[0].double()]
    torch.testing.assert_close(found[:2], found[2:], rtol=1e-4, atol=1e-5)
    assert found[1].norm() > 0.1
    func = torch.func.grad(lambda t: resized_cross_entropy(t, label, weights, (9, 11))[0])(x)
    torch.testing.assert_close(func.double(), found[2], rtol=1e-4, atol=1e-5)


def test_a_call_of_a_trace_leaves_nothing_to_real_ones():
    with FakeTensorMode():
        resized_argmax(torch.randn(1, 3, 5, 5), (13, 17))
    ids, _, _ = resized_argmax(x := torch.randn(1, 3, 5, 5), (13, 17))
    assert torch.equal(ids.long(), F.interpolate(x, (13, 17), mode="bilinear").argmax(1))
