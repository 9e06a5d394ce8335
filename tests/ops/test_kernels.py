"""Every compiled kernel against plain torch: equal, not close, in every case of `cases`."""

from __future__ import annotations

import pytest
import torch
from cases import CASES, OPERATORS, Case, expected, same_bits

DEVICES = ("cpu", "cuda")


def answers(operator: str, case: Case, device: str) -> tuple[torch.Tensor, ...]:
    """The operator's results on a device, brought back."""
    inputs = [x.to(device) for x in case.inputs(operator)]
    for x, original in zip(inputs, case.inputs(operator), strict=True):
        assert x.stride() == original.stride() or x.numel() == 0 or case.layout == "sliced"
    answer = getattr(torch.ops.rgbx, operator)(*inputs, *case.ring)
    return tuple(x.cpu() for x in (answer if isinstance(answer, tuple) else (answer,)))


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("device", DEVICES)
def test_equals_plain_torch(device, operator, need_kernel):
    need_kernel(device)
    for case in CASES:
        wanted = expected(operator, case, case.inputs(operator))
        for x, y in zip(answers(operator, case, device), wanted, strict=True):
            assert same_bits(x, y), case
            assert x.dtype == y.dtype and x.stride() == y.stride(), case


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


def test_beyond_32_bit_offsets(need_kernel):
    need_kernel("cuda")
    if torch.cuda.get_device_properties(0).total_memory < 40 * 2**30:
        pytest.skip("needs 40 GiB of GPU memory")
    x = torch.zeros(2, 5, 1 << 14, 1 << 15, dtype=torch.float16, device="cuda")  # 5.4e9 elements
    x[0, 0, -2, -1], x[0, 4, -1, -1] = 1, 2
    out = torch.ops.rgbx.shift_add_shuffle(x, x, 2, 1, 1)
    assert out[1, 0, -1, -1] == 1 and out[1, 4, -1, -1] == 2 and out[0, 0, -2, -1] == 1
    assert out.float().sum(dtype=torch.float64) == 4
