"""Public, differentiable channel shuffle and pixel shift: checks the arguments, then picks an implementation.

In eager mode that is an operator of `rgbx.ops.operators`: a compiled kernel where there is one for the device, else
plain torch. `torch.compile` and `torch.export` get `rgbx.ops.traceable`, which a compiler can fuse with what comes
before and after (an operator of ours would be a wall to it), unless RGBX_OPS=kernel asks for the kernels. So do
forward-mode differentiation and the transforms of `torch.func`, which registered operators do not support.
"""

from __future__ import annotations

from fractions import Fraction
from types import ModuleType
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from rgbx.ops import traceable
from rgbx.ops._extension import MODE, may_use_kernel

DEFAULT_FRACTION = Fraction(1, 5)
DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)


def channel_group(channels: int, fraction: Fraction | float = DEFAULT_FRACTION) -> int:
    """Channels per shift direction, g = ⌊C(1 - f) / 4⌋; 4g channels are kept and C - 4g are exchanged.

    Args:
        channels: C, the number of feature channels.
        fraction: f in [0, 1], the share of channels to exchange; floats are read as the nearest fraction with a
            denominator of at most 1000, so that 0.2 means exactly 1/5.

    Raises:
        ValueError: if the fraction lies outside [0, 1].
    """
    exact = Fraction(fraction).limit_denominator(1000)
    if not 0 <= exact <= 1:
        raise ValueError(f"fraction is {fraction}; expected a share of channels between 0 and 1")
    kept = 1 - exact
    return channels * kept.numerator // (4 * kept.denominator)


def _check_stack(
    name: str,
    x: Tensor,  # [M*N, C, H, W]
    num_modalities: int,
) -> None:
    if x.dim() != 4:
        raise ValueError(f"{name} has shape {list(x.shape)}; expected 4 dimensions [M*N, C, H, W]")
    if x.dtype not in DTYPES:
        raise TypeError(f"{name} is {x.dtype}; expected float32, float64, float16 or bfloat16 features")
    if num_modalities < 1 or x.shape[0] % num_modalities:
        raise ValueError(
            f"{name} has {x.shape[0]} maps on its batch axis; expected a multiple of num_modalities={num_modalities}"
        )


def _implementation(
    x: Tensor,  # [M*N, C, H, W]
) -> ModuleType | Any:
    """What offers the operations by name: the registered operators, or what a compiler is given."""
    if torch.compiler.is_compiling():
        return torch.ops.rgbx if MODE == "kernel" else traceable
    if torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0:
        return traceable
    return torch.ops.rgbx if may_use_kernel(x.device) else traceable


def _check_direction(direction: int) -> None:
    if direction not in (1, -1):
        raise ValueError(f"direction is {direction}; expected 1 or -1")


def channel_shuffle(
    x: Tensor,  # [M*N, C, H, W]
    num_modalities: int,
    *,
    fraction: Fraction | float = DEFAULT_FRACTION,
    direction: int = 1,
) -> Tensor:  # [M*N, C, H, W]
    """Channel shuffle S: exchanges the last channels between same-indexed channels of the modalities.

    Modality m keeps channels ``0 .. 4g-1`` and takes channels ``4g .. C-1`` of modality ``m + direction`` (mod M).
    Unlike `torch.channel_shuffle`, nothing is permuted inside one modality. With M = 1 it is the identity. Opposite
    directions are inverse and adjoint to each other.

    Args:
        num_modalities: M, how many modalities the batch axis holds, modality-major.
        fraction: share of channels exchanged, see `channel_group`.
        direction: 1 as in the network, -1 for the adjoint.

    Raises:
        ValueError: on a shape that is not [M*N, C, H, W], or an argument outside its range.

    Source: arXiv 2108.05009, equation 4; for M > 2 the exchange goes round a ring (ours).
    """
    _check_stack("x", x, num_modalities)
    _check_direction(direction)
    if num_modalities == 1:
        return x
    return _implementation(x).channel_shuffle(x, num_modalities, channel_group(x.shape[1], fraction), direction)


def pixel_shift(
    x: Tensor,  # [M*N, C, H, W]
    num_modalities: int = 1,
    *,
    fraction: Fraction | float = DEFAULT_FRACTION,
    direction: int = 1,
) -> Tensor:  # [M*N, C, H, W]
    """Pixel shift P: moves four channel groups by one pixel down, right, left and up, zero-padded.

    Modality m receives the shifted features of modality ``m - direction`` (mod M); with M = 1 that is plain P.
    Channels ``4g .. C-1`` become zero. Direction -1 is the adjoint: it shifts up, left, right, down and goes round the
    ring the other way. (Not `torch.nn.PixelShuffle`.)

    Args:
        num_modalities: M, how many modalities the batch axis holds, modality-major.
        fraction: share of channels that do not move, see `channel_group`.
        direction: 1 as in the network, -1 for the adjoint.

    Raises:
        ValueError: on a shape that is not [M*N, C, H, W], or an argument outside its range.

    Source: arXiv 2108.05009, equation 5.
    """
    _check_stack("x", x, num_modalities)
    _check_direction(direction)
    return _implementation(x).pixel_shift(x, num_modalities, channel_group(x.shape[1], fraction), direction)


def shift_add_shuffle(
    b: Tensor,  # [M*N, C, H, W]
    a: Tensor,  # [M*N, C, H, W]
    num_modalities: int,
    *,
    fraction: Fraction | float = DEFAULT_FRACTION,
) -> Tensor:  # [M*N, C, H, W]
    """S(b + P(a) of modality m - 1) in one pass: the second fused step of an asymmetric block.

    Where the dtypes differ, both are promoted as in ``b + a``. With M = 1 there is neither exchange nor shift, so the
    result is ``b``.

    Raises:
        ValueError: if the shapes differ or are not [M*N, C, H, W].

    Source: arXiv 2108.05009, section 3.3 (bidirectional fusion).
    """
    _check_stack("b", b, num_modalities)
    if a.shape != b.shape:
        raise ValueError(f"a has shape {list(a.shape)}; expected that of b, {list(b.shape)}")
    if num_modalities == 1:
        return b
    if a.dtype != b.dtype:  # as `b + a` would; happens under autocast
        wider = torch.promote_types(a.dtype, b.dtype)
        a, b = a.to(wider), b.to(wider)
    group = channel_group(b.shape[1], fraction)
    return _implementation(b).shift_add_shuffle(b, a, num_modalities, group, 1)
