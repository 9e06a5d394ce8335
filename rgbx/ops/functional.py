"""Public, differentiable channel shuffle and pixel shift: checks the arguments, then runs an implementation.

The backward pass of each operation is the same operation turned round the ring of modalities, so nothing is saved
for it and it can itself be differentiated.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import torch
from torch import Tensor

from rgbx.ops import reference

DEFAULT_FRACTION = Fraction(1, 5)


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
    return int(channels * (1 - exact) / 4)


class _ChannelShuffle(torch.autograd.Function):
    @staticmethod
    def forward(x: Tensor, num_modalities: int, group: int, direction: int) -> Tensor:
        return reference.channel_shuffle(x, num_modalities, group, direction)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.arguments = inputs[1:]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        num_modalities, group, direction = ctx.arguments
        return _ChannelShuffle.apply(grad, num_modalities, group, -direction), None, None, None


class _PixelShift(torch.autograd.Function):
    @staticmethod
    def forward(x: Tensor, num_modalities: int, group: int, direction: int) -> Tensor:
        return reference.pixel_shift(x, num_modalities, group, direction)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.arguments = inputs[1:]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        num_modalities, group, direction = ctx.arguments
        return _PixelShift.apply(grad, num_modalities, group, -direction), None, None, None


class _ShiftAddShuffle(torch.autograd.Function):
    @staticmethod
    def forward(b: Tensor, a: Tensor, num_modalities: int, group: int) -> Tensor:
        return reference.shift_add_shuffle(b, a, num_modalities, group)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.arguments = inputs[2:]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        needs_b, needs_a = ctx.needs_input_grad[:2]
        grad_b = _ChannelShuffle.apply(grad, *ctx.arguments, -1) if needs_b else None
        grad_a = _PixelShift.apply(grad, *ctx.arguments, -1) if needs_a else None
        return grad_b, grad_a, None, None


def _check_stack(name: str, x: Tensor, num_modalities: int) -> None:
    if x.dim() != 4:
        raise ValueError(f"{name} has shape {list(x.shape)}; expected 4 dimensions [M*N, C, H, W]")
    if num_modalities < 1 or x.shape[0] % num_modalities:
        raise ValueError(
            f"{name} has {x.shape[0]} maps on its batch axis; expected a multiple of num_modalities={num_modalities}"
        )


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
    return _ChannelShuffle.apply(x, num_modalities, channel_group(x.shape[1], fraction), direction)


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
    return _PixelShift.apply(x, num_modalities, channel_group(x.shape[1], fraction), direction)


def shift_add_shuffle(
    b: Tensor,  # [M*N, C, H, W]
    a: Tensor,  # [M*N, C, H, W]
    num_modalities: int,
    *,
    fraction: Fraction | float = DEFAULT_FRACTION,
) -> Tensor:  # [M*N, C, H, W]
    """S(b + P(a) of modality m - 1) in one pass: the second fused step of an asymmetric block.

    With M = 1 there is neither exchange nor shift, so the result is ``b``.

    Raises:
        ValueError: if the shapes differ or are not [M*N, C, H, W].

    Source: arXiv 2108.05009, section 3.3 (bidirectional fusion).
    """
    _check_stack("b", b, num_modalities)
    if a.shape != b.shape:
        raise ValueError(f"a has shape {list(a.shape)}; expected that of b, {list(b.shape)}")
    if num_modalities == 1:
        return b
    return _ShiftAddShuffle.apply(b, a, num_modalities, channel_group(b.shape[1], fraction))
