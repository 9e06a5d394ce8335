"""Channel shuffle and pixel shift against the authors' answers, a per-pixel loop and their own algebra."""

import itertools
import sys
from fractions import Fraction

import numpy as np
import pytest
import torch

from rgbx.ops import channel_group, channel_shuffle, pixel_shift, shift_add_shuffle

SHAPES = [(1, 5, 1, 1), (2, 10, 5, 7), (3, 13, 4, 1), (1, 3, 6, 5), (2, 64, 3, 8)]  # N, C, H, W
FORMATS = [torch.contiguous_format, torch.channels_last]


def stacked(num_modalities, shape, dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    n, *rest = shape
    return torch.randn(num_modalities * n, *rest, generator=generator, dtype=torch.float64).to(dtype)


def loop_shuffle(x, num_modalities):
    """S by the definition, one number at a time."""
    batch, channels, height, width = x.shape
    n = batch // num_modalities
    kept = 4 * (channels // 5)
    out = torch.full_like(x, float("nan"))
    for m, i, c, h, w in itertools.product(*map(range, (num_modalities, n, channels, height, width))):
        source = m if c < kept else (m + 1) % num_modalities
        out[m * n + i, c, h, w] = x[source * n + i, c, h, w]
    return out


def loop_shift(x):
    """P by the definition, one number at a time."""
    deltas = [(-1, 0), (0, -1), (0, 1), (1, 0)]
    batch, channels, height, width = x.shape
    group = channels // 5
    out = torch.zeros_like(x)
    for i, c, h, w in itertools.product(*map(range, (batch, 4 * group, height, width))):
        dy, dx = deltas[c // group]
        if 0 <= h + dy < height and 0 <= w + dx < width:
            out[i, c, h, w] = x[i, c, h + dy, w + dx]
    return out


def ring(x, num_modalities, step):
    """Modality m of the result is modality m - step of x."""
    parts = x.chunk(num_modalities)
    return torch.cat([parts[(m - step) % num_modalities] for m in range(num_modalities)])


@pytest.mark.parametrize("memory_format", FORMATS, ids=["nchw", "nhwc"])
@pytest.mark.parametrize("num_modalities", [1, 2, 3, 4])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_equals_per_pixel_loop(shape, num_modalities, memory_format):
    a = stacked(num_modalities, shape, seed=1).contiguous(memory_format=memory_format)
    b = stacked(num_modalities, shape, seed=2).contiguous(memory_format=memory_format)
    assert torch.equal(channel_shuffle(b, num_modalities), loop_shuffle(b, num_modalities))
    assert torch.equal(pixel_shift(a, num_modalities), ring(loop_shift(a), num_modalities, 1))
    fused = shift_add_shuffle(b, a, num_modalities)
    if num_modalities == 1:
        assert torch.equal(fused, b)
    else:
        assert torch.equal(fused, loop_shuffle(b + ring(loop_shift(a), num_modalities, 1), num_modalities))
        assert fused.is_contiguous(memory_format=memory_format)


def test_equals_the_authors_answers(shared_dir):
    sys.path.insert(0, str(shared_dir / "reference"))
    from seeded import tensor

    answers = np.load(shared_dir / "reference" / "asymfusion_ops.npz")
    cases = sorted({key.split("/")[0] for key in answers.files})
    assert cases
    for case in cases:
        shape = tuple(int(v) for v in case.split(","))
        a, b, c, d = (torch.from_numpy(tensor(f"{letter}{case}", shape)) for letter in "abcd")
        both, sums = torch.cat([a, b]), torch.cat([c, d])
        results = {
            "shuffled": channel_shuffle(both, 2),
            "shifted": pixel_shift(both),
            "fused": shift_add_shuffle(sums, both, 2),
        }
        for name, result in results.items():
            for m, part in enumerate(result.chunk(2), start=1):
                assert np.array_equal(part.numpy(), answers[f"{case}/{name}_{m}"]), (case, name, m)


@pytest.mark.parametrize("num_modalities", [2, 3, 4])
def test_opposite_shuffles_are_inverse(num_modalities):
    x = stacked(num_modalities, (2, 13, 4, 5))
    back = channel_shuffle(channel_shuffle(x, num_modalities), num_modalities, direction=-1)
    assert torch.equal(back, x)


@pytest.mark.parametrize("num_modalities", [1, 2, 3])
@pytest.mark.parametrize("operation", [channel_shuffle, pixel_shift])
def test_direction_minus_one_is_the_adjoint(operation, num_modalities):
    x, y = (stacked(num_modalities, (2, 15, 5, 4), seed=seed) for seed in (3, 4))
    forward = (operation(x, num_modalities) * y).sum()
    adjoint = (x * operation(y, num_modalities, direction=-1)).sum()
    torch.testing.assert_close(forward, adjoint, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("channel", "target"), [(0, (3, 2)), (1, (2, 3)), (2, (2, 1)), (3, (1, 2)), (4, None)])
def test_impulse_moves_down_right_left_up(channel, target):
    x = torch.zeros(1, 5, 5, 5)
    x[0, channel, 2, 2] = 1
    moved = pixel_shift(x).nonzero().tolist()
    assert moved == ([] if target is None else [[0, channel, *target]])


@pytest.mark.parametrize("num_modalities", [1, 2, 3])
def test_gradients(num_modalities):
    a, b = (stacked(num_modalities, (2, 6, 3, 2), seed=seed).requires_grad_() for seed in (5, 6))
    for function, inputs in [
        (lambda x: channel_shuffle(x, num_modalities), (a,)),
        (lambda x: pixel_shift(x, num_modalities), (a,)),
        (lambda x, y: shift_add_shuffle(x, y, num_modalities), (b, a)),
    ]:
        assert torch.autograd.gradcheck(function, inputs)
        assert torch.autograd.gradgradcheck(function, inputs)


@pytest.mark.parametrize("channels", [64, 128, 256, 512])
def test_exchanged_channels_of_the_paper(channels):
    exchanged = {64: 16, 128: 28, 256: 52, 512: 104}[channels]
    assert channels - 4 * channel_group(channels) == exchanged
    x = torch.stack([torch.zeros(channels), torch.ones(channels)])[..., None, None]
    assert channel_shuffle(x, 2)[0].sum() == exchanged


@pytest.mark.parametrize(("fraction", "kept"), [(0, 20), (Fraction(1, 2), 8), (0.2, 16), (1, 0)])
def test_other_fractions(fraction, kept):
    x = torch.stack([torch.zeros(20), torch.ones(20)])[..., None, None]
    assert (channel_shuffle(x, 2, fraction=fraction)[0] == 0).sum() == kept


def test_half_precision_equals_the_rounded_inputs():
    a, b = (stacked(2, (1, 10, 4, 4), torch.bfloat16, seed=seed) for seed in (7, 8))
    expected = loop_shuffle(b + ring(loop_shift(a), 2, 1), 2)
    assert torch.equal(shift_add_shuffle(b, a, 2), expected)


def test_empty_batch_and_non_contiguous_input():
    assert channel_shuffle(torch.zeros(0, 10, 4, 4), 2).shape == (0, 10, 4, 4)
    x = stacked(2, (1, 10, 8, 8))[:, :, ::2, 1::2]
    assert torch.equal(channel_shuffle(x, 2), loop_shuffle(x.contiguous(), 2))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: channel_shuffle(torch.zeros(3, 5, 2, 2), 2), r"3 maps on its batch axis; expected a multiple of"),
        (lambda: channel_shuffle(torch.zeros(5, 2, 2), 1), r"\[5, 2, 2\]; expected 4 dimensions"),
        (lambda: pixel_shift(torch.zeros(2, 5, 2, 2), direction=0), r"direction is 0"),
        (lambda: channel_group(10, 1.5), r"fraction is 1.5"),
        (lambda: shift_add_shuffle(torch.zeros(2, 5, 2, 2), torch.zeros(2, 5, 2, 3), 2), r"a has shape"),
    ],
)
def test_errors_name_what_was_found(call, message):
    with pytest.raises(ValueError, match=message):
        call()
