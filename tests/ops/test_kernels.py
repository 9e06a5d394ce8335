"""Every compiled kernel against plain torch: equal, not close, in every case of `cases`."""

from __future__ import annotations

import itertools

import pytest
import torch
from cases import CASES, DTYPES, OPERATORS, Case, expected, same_bits

DEVICES = ("cpu", "cuda")


def placed(
    x: torch.Tensor,  # [M*N, C, H, W]
    device: str,
    offset: int = 0,
) -> torch.Tensor:  # [M*N, C, H, W]
    """x on a device with the strides and the gaps that it has, which `to` would close, `offset` elements further on."""
    whole = torch.empty(0, dtype=x.dtype).set_(x.untyped_storage())
    memory = torch.cat([whole.new_zeros(offset), whole]).to(device)
    return memory.as_strided(x.shape, x.stride(), x.storage_offset() + offset)


def answers(operator: str, case: Case, device: str, offset: int = 0) -> tuple[torch.Tensor, ...]:
    """The operator's results on a device, brought back."""
    inputs = [placed(x, device, offset) for x in case.inputs(operator)]
    answer = getattr(torch.ops.rgbx, operator)(*inputs, *case.ring)
    return tuple(x.cpu() for x in (answer if isinstance(answer, tuple) else (answer,)))


def need_memory(gibibytes: int) -> None:
    if torch.cuda.get_device_properties(0).total_memory < gibibytes * 2**30:
        pytest.skip(f"needs {gibibytes} GiB of GPU memory")


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("device", DEVICES)
def test_equals_plain_torch(device, operator, need_kernel):
    need_kernel(device)
    for case in CASES:
        wanted = expected(operator, case, case.inputs(operator))
        for x, y in zip(answers(operator, case, device), wanted, strict=True):
            assert same_bits(x, y), case
            assert x.dtype == y.dtype and x.stride() == y.stride(), case


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("device", DEVICES)
def test_dense_maps_may_begin_at_any_element(device, operator, need_kernel):
    """Such addresses divide by less than a vector: 16 bytes, or 8."""
    need_kernel(device)
    for dtype, layout, offset in itertools.product(DTYPES, ("nchw", "nhwc"), (1, 2, 4)):
        case = Case((2, 40, 4, 8), 2, dtype, layout, 1)
        wanted = expected(operator, case, case.inputs(operator))
        for x, y in zip(answers(operator, case, device, offset), wanted, strict=True):
            assert same_bits(x, y), (case, offset)


@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
@pytest.mark.parametrize("device", DEVICES)
def test_gradients_of_gradients_on_the_device(device, layout, need_kernel):
    need_kernel(device)
    case = Case((1, 6, 3, 4), 3, torch.float64, layout, 1)
    for operator in OPERATORS:
        leaves = [placed(x, device).requires_grad_() for x in case.inputs(operator)]
        call = lambda *inputs, name=operator: getattr(torch.ops.rgbx, name)(*inputs, *case.ring)  # noqa: E731
        assert torch.autograd.gradcheck(call, leaves)
        assert torch.autograd.gradgradcheck(call, leaves)


@pytest.mark.parametrize("device", DEVICES)
def test_formats_of_b_and_a_may_differ(device, need_kernel):
    need_kernel(device)
    case = Case((2, 20, 6, 8), 2, torch.float32, "nchw", 1)
    b, a = case.tensor(0).to(device), case.tensor(1).to(device)
    wanted = torch.ops.rgbx.shift_add_shuffle(b, a, *case.ring)
    last = torch.channels_last
    for one, other in ((b, a.contiguous(memory_format=last)), (b.contiguous(memory_format=last), a)):
        answer = torch.ops.rgbx.shift_add_shuffle(one, other, *case.ring)
        assert same_bits(answer, wanted)
        assert answer.stride() == one.stride()


@pytest.mark.parametrize("device", DEVICES)
def test_a_signed_zero_and_a_nan_pass_unchanged(device, need_kernel):
    need_kernel(device)
    b = torch.zeros(2, 5, 2, 2, device=device).neg_()  # -0.0 where nothing is received must stay -0.0
    b[0, 4, 0, 0] = float("nan")
    out = torch.ops.rgbx.shift_add_shuffle(b, torch.zeros_like(b), 2, 1, 1)
    assert torch.signbit(out[:, 0, 0, :]).all()  # group 0 moves down: the first row receives nothing
    assert not torch.signbit(out[:, 0, 1, :]).any()
    assert out[1, 4, 0, 0].isnan() and out.isnan().sum() == 1


@pytest.mark.parametrize("device", DEVICES)
def test_refuses_what_it_cannot_read(device, need_kernel):
    need_kernel(device)
    x = torch.zeros(4, 5, 2, 2, device=device)
    call = torch.ops.rgbx.shift_add_shuffle
    with pytest.raises(RuntimeError, match="shape, dtype and device of b"):
        call(x, x[:2], 2, 1, 1)
    with pytest.raises(RuntimeError, match="shape, dtype and device of b"):
        call(x, x.double(), 2, 1, 1)
    with pytest.raises(RuntimeError, match="num_modalities=3"):
        call(x, x, 3, 1, 1)
    with pytest.raises(RuntimeError, match="group=2"):
        call(x, x, 2, 2, 1)
    with pytest.raises(RuntimeError, match="direction 1 or -1, found 0"):
        call(x, x, 2, 1, 0)
    with pytest.raises(RuntimeError, match="float32, float64"):
        torch.ops.rgbx.channel_shuffle(x.long(), 2, 1, 1)
    with pytest.raises(RuntimeError, match="found 3 dimensions"):
        torch.ops.rgbx.channel_shuffle(x[0], 1, 1, 1)


def test_threads_share_the_work_without_a_seam(need_kernel):
    need_kernel("cpu")
    before = torch.get_num_threads()
    case = Case((2, 64, 60, 80), 2, torch.float32, "nchw", 1)
    try:
        for layout in ("nchw", "nhwc"):
            large = Case(case.shape, 2, case.dtype, layout, 1)
            inputs = large.inputs("shift_add_shuffle")
            torch.set_num_threads(4)
            assert torch.equal(
                torch.ops.rgbx.shift_add_shuffle(*inputs, *large.ring), *expected("shift_add_shuffle", large, inputs)
            )
    finally:
        torch.set_num_threads(before)


def test_streams_do_not_disturb_each_other(need_kernel):
    need_kernel("cuda")
    case = Case((4, 64, 120, 160), 2, torch.float32, "nchw", 1)
    pairs = [[case.tensor(2 * k + i).cuda() for i in (0, 1)] for k in range(4)]
    wanted = [expected("shift_add_shuffle", case, [x.cpu() for x in pair])[0] for pair in pairs]
    streams = [torch.cuda.Stream() for _ in pairs]
    torch.cuda.synchronize()
    results = [[] for _ in pairs]
    for _ in range(20):
        for k, stream in enumerate(streams):
            with torch.cuda.stream(stream):
                results[k].append(torch.ops.rgbx.shift_add_shuffle(*pairs[k], *case.ring))
    torch.cuda.synchronize()
    assert all(torch.equal(x.cpu(), y) for found, y in zip(results, wanted, strict=True) for x in found)


def test_runs_on_the_current_stream(need_kernel):
    need_kernel("cuda")
    x = torch.ones(2, 5, 64, 64, device="cuda")
    stream = torch.cuda.Stream()
    torch.cuda.synchronize()
    with torch.cuda.stream(stream):
        torch.cuda._sleep(50_000_000)  # the kernel must queue behind this and the fill
        x.fill_(3.0)
        out = torch.ops.rgbx.channel_shuffle(x, 2, 1, 1)
    stream.synchronize()
    assert torch.equal(out.cpu(), torch.full_like(out, 3.0).cpu())


def test_a_graph_replays_the_kernel(need_kernel):
    need_kernel("cuda")
    case = Case((2, 20, 6, 8), 2, torch.float32, "nhwc", 1)
    pairs = [[case.tensor(2 * k + i) for i in (0, 1)] for k in range(2)]
    inputs = [placed(x, "cuda") for x in pairs[0]]
    torch.ops.rgbx.shift_add_shuffle(*inputs, *case.ring)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out = torch.ops.rgbx.shift_add_shuffle(*inputs, *case.ring)
    for pair in reversed(pairs):
        for x, new in zip(inputs, pair, strict=True):
            x.copy_(new)
        graph.replay()
        torch.cuda.synchronize()
        assert same_bits(out, *expected("shift_add_shuffle", case, pair))


def test_a_second_device_computes_its_own(need_kernel):
    need_kernel("cuda")
    if torch.cuda.device_count() < 2:
        pytest.skip("needs two GPUs")
    case = Case((2, 20, 6, 8), 2, torch.float32, "nchw", 1)
    for operator in OPERATORS:
        wanted = expected(operator, case, case.inputs(operator))
        assert all(map(same_bits, answers(operator, case, "cuda:1"), wanted))
    assert torch.cuda.current_device() == 0
    x = case.tensor(0)
    with pytest.raises(RuntimeError, match="device"):
        torch.ops.rgbx.shift_add_shuffle(x.to("cuda:0"), x.to("cuda:1"), *case.ring)


@pytest.mark.parametrize("form", [torch.contiguous_format, torch.channels_last], ids=["nchw", "nhwc"])
def test_beyond_32_bit_offsets(form, need_kernel):
    need_kernel("cuda")
    need_memory(40)
    x = torch.zeros(2, 5, 1 << 14, 1 << 15, dtype=torch.float16, device="cuda").contiguous(memory_format=form)
    x[0, 0, -2, -1], x[0, 4, -1, -1] = 1, 2  # of 5.4e9 elements
    out = torch.ops.rgbx.shift_add_shuffle(x, x, 2, 1, 1)
    assert out[1, 0, -1, -1] == 1 and out[1, 4, -1, -1] == 2 and out[0, 0, -2, -1] == 1
    assert out.count_nonzero() == 3


def test_planes_of_2_to_the_31_elements_are_refused(need_kernel):
    need_kernel("cuda")
    need_memory(12)
    with pytest.raises(RuntimeError, match=r"H \* W, W \* C and N \* C below 2\^31, found 2147483648"):
        torch.ops.rgbx.channel_shuffle(torch.empty(1, 1, 1 << 16, 1 << 15, dtype=torch.float16, device="cuda"), 1, 0, 1)
