"""Public, differentiable channel shuffle and pixel shift, and what is asked of resized scores without holding them.

Each function checks its arguments, then picks an implementation.

In eager mode that is an operator of `rgbx.ops.operators`: a compiled kernel where there is one for the device, else
plain torch. `torch.compile` and `torch.export` get `rgbx.ops.traceable`, which a compiler can fuse with what comes
before and after (an operator of ours would be a wall to it), unless RGBX_OPS=kernel asks for the kernels. So do
forward-mode differentiation and the transforms of `torch.func`, which registered operators do not support.
"""

from __future__ import annotations

from fractions import Fraction
from functools import lru_cache
from types import ModuleType
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import forward_ad
from torch.autograd.function import FunctionCtx

from rgbx.ops import reference, traceable
from rgbx.ops._extension import KERNELS, MODE, may_use_kernel

DEFAULT_FRACTION = Fraction(1, 5)
DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
MOST_CLASSES = 256  # that ids of 8 bits tell apart


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


def resized_argmax(
    x: Tensor,  # [B, K, h, w] floating
    size: tuple[int, int],
    *,
    crop: tuple[int, int] | None = None,
    confidence: bool = False,
) -> tuple[Tensor, Tensor | None, Tensor]:  # [B, H, W], [B, H, W], [B, H]
    """The class of the largest score of every pixel after bilinear resizing, without holding the resized scores.

    As ``F.interpolate(x, size, mode="bilinear", align_corners=False)[..., :H, :W].argmax(1)``, but for scores that are
    equal to the last bits of float32, in which all is computed. Without gradient.

    Args:
        size: to which the scores are resized.
        crop: (H, W), the rows and columns of the resized scores that count, from the first; None for all.
        confidence: whether the softmax of the class that is chosen is wanted, to 1e-6.

    Returns:
        Ids uint8, of equals the first; the confidence float32, or None; and by row whether no score is NaN, nor any
        that is the largest of its pixel infinite, bool.

    Raises:
        ValueError: on a shape that is not [B, K, h, w] with 1 to 256 classes and at least one pixel, or a crop beyond
            the size.
        TypeError: on scores that are not floating.
    """
    _check_scores(x, size, crop)
    if x.dtype not in DTYPES:
        raise TypeError(f"x is {x.dtype}; expected float32, float64, float16 or bfloat16 scores")
    ids, shares, finite = _of_resized(x).resized_argmax(
        x.detach().float(), *_taps_of(x, size, size if crop is None else crop), confidence
    )
    return ids, shares if confidence else None, finite


def resized_cross_entropy(
    x: Tensor,  # [B, K, h, w] float32
    label: Tensor,  # [B, H, W] int64, 0 to K - 1
    weights: Tensor,  # [B, H, W] float32
    size: tuple[int, int],
) -> tuple[Tensor, Tensor]:  # [], [B, H, W]
    """Cross-entropy of scores after bilinear resizing, and its gradient, without holding the resized scores.

    As ``F.cross_entropy(F.interpolate(x, size, mode="bilinear")[..., :H, :W], label, reduction="none")``, to the last
    bits of float32, and its sum over the pixels with their weights. The gradient is computed along with the sum; where
    it is to be differentiated itself, and under `torch.func`, by PyTorch's operations, which hold the resized scores.

    Args:
        label: of every pixel, also of those whose weight is 0.
        weights: of the pixels, without gradient.
        size: to which the scores are resized, of which the first H rows and W columns count.

    Returns:
        Σ weight · cross-entropy, and the cross-entropy of every pixel, float32, which has no gradient.

    Raises:
        ValueError: on shapes that do not fit, see `resized_argmax`.
        TypeError: on other dtypes.
    """
    _check_scores(x, size, (label.shape[-2], label.shape[-1]))
    if label.shape != weights.shape or label.dim() != 3 or len(label) != len(x):
        raise ValueError(
            f"label and weights have shapes {list(label.shape)} and {list(weights.shape)}; expected [{len(x)}, H, W]"
        )
    if (x.dtype, label.dtype, weights.dtype) != (torch.float32, torch.int64, torch.float32):
        raise TypeError(
            f"x, label, weights are {x.dtype}, {label.dtype}, {weights.dtype}; expected float32, int64, float32"
        )
    if torch._C._are_functorch_transforms_active():
        return _held_cross_entropy(x, label, weights, size)
    total, losses = _CrossEntropy.apply(x, label.contiguous(), weights.contiguous(), tuple(size))
    return total, losses


def resized_is_compiled(device: torch.device) -> bool:
    """Whether compiled kernels compute all that is asked of resized scores on this device; else it may take longer.

    On GPUs a kernel finds the class alone, so that the answer is no.
    """
    plain = torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active()
    return device.type == "cpu" and KERNELS["cpu"].loaded and not plain and forward_ad._current_level < 0


class _Context(FunctionCtx):
    needs_input_grad: tuple[bool, ...]
    saved_tensors: tuple[Tensor, ...]
    size: tuple[int, int]


class _CrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: _Context,
        x: Tensor,  # [B, K, h, w]
        label: Tensor,  # [B, H, W]
        weights: Tensor,  # [B, H, W]
        size: tuple[int, int],
    ) -> tuple[Tensor, Tensor]:  # [], [B, H, W]
        taps = _taps_of(x, size, (label.shape[1], label.shape[2]))
        margins, totals, slope = _of_resized(x).resized_cross_entropy(x, *taps, label, weights, ctx.needs_input_grad[0])
        losses = totals.log_().add_(margins)
        ctx.save_for_backward(slope, x, label, weights)
        ctx.size = size
        ctx.mark_non_differentiable(losses)
        return torch.where(weights == 0, 0, losses * weights).sum(), losses

    @staticmethod
    def backward(
        ctx: _Context,
        grad: Tensor,  # []
        _: Tensor,  # [B, H, W]
    ) -> tuple[Tensor, None, None, None]:  # [B, K, h, w]
        slope, x, label, weights = ctx.saved_tensors
        if torch.is_grad_enabled():  # the gradient is to be differentiated
            total, _ = _held_cross_entropy(x, label, weights, ctx.size)
            (slope,) = torch.autograd.grad(total, x, create_graph=True)
        return slope * grad, None, None, None


def _held_cross_entropy(
    x: Tensor,  # [B, K, h, w]
    label: Tensor,  # [B, H, W]
    weights: Tensor,  # [B, H, W]
    size: tuple[int, int],
) -> tuple[Tensor, Tensor]:  # [], [B, H, W]
    """The same by the resized scores."""
    resized = F.interpolate(x, size, mode="bilinear", align_corners=False)
    losses = F.cross_entropy(resized[..., : label.shape[1], : label.shape[2]], label, reduction="none")
    return torch.where(weights == 0, 0, losses * weights).sum(), losses.detach()


def _of_resized(
    x: Tensor,  # [B, K, h, w]
) -> ModuleType | Any:
    """What offers the operations on resized scores by name."""
    if torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active():
        return reference
    return torch.ops.rgbx if may_use_kernel(x.device) else reference


def _check_scores(
    x: Tensor,  # [B, K, h, w]
    size: tuple[int, int],
    crop: tuple[int, int] | None,
) -> None:
    if x.dim() != 4 or not 1 <= x.shape[1] <= MOST_CLASSES or 0 in x.shape[2:]:
        raise ValueError(f"x has shape {list(x.shape)}; expected [B, K, h, w] with 1 to {MOST_CLASSES} classes")
    height, width = size if crop is None else crop
    if not (1 <= height <= size[0] and 1 <= width <= size[1]):
        raise ValueError(f"{height}×{width} pixels count; expected rows and columns of the size {tuple(size)}")


def _taps_of(
    x: Tensor,  # [B, K, h, w]
    size: tuple[int, int],
    kept: tuple[int, int],
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # 2 x [2, H], 2 x [2, W]
    axes = list(zip(x.shape[2:], size, kept, strict=True))
    if x.is_cuda and torch.cuda.is_initialized() and torch.cuda.is_current_stream_capturing():
        # A graph takes no copies of ordinary memory.
        rows, columns = (_taps_on(x.device, *axis) for axis in axes)
        return *rows, *columns
    arrays = (each for axis in axes for each in _taps(*axis))
    a, b, c, d = (torch.from_numpy(each).to(x.device, non_blocking=True) for each in arrays)
    return a, b, c, d


def _taps_on(
    device: torch.device, side: int, resized: int, kept: int
) -> tuple[Tensor, Tensor]:  # int64 and float32 [2, kept]
    """`_taps`, in the same bits, by operations of a device."""
    at = torch.arange(kept, dtype=torch.float32, device=device)
    at = ((at + 0.5) * float(np.float32(side) / np.float32(resized)) - 0.5).clamp(min=0)
    lower = at.long().clamp(max=side - 1)
    upper = (lower + 1).clamp(max=side - 1)
    weight = (at - lower).clamp(0, 1)
    if side == resized:
        upper, weight = lower, torch.full_like(weight, 0.5)
    return torch.stack([lower, upper]), torch.stack([1 - weight, weight])


@lru_cache(maxsize=64)  # of arrays: a tensor would be one of the mode that it was made in, such as a trace's
def _taps(side: int, resized: int, kept: int) -> tuple[np.ndarray, np.ndarray]:  # 2 x [2, kept]
    """Places and weights of bilinear resizing along one axis, as PyTorch computes them in float32."""
    half = np.float32(0.5)
    scale = np.float32(side) / np.float32(resized)
    at = np.maximum(scale * (np.arange(kept, dtype=np.float32) + half) - half, np.float32(0))
    lower = np.minimum(at.astype(np.int64), side - 1)
    upper = np.minimum(lower + 1, side - 1)
    weight = np.clip(at - lower.astype(np.float32), np.float32(0), np.float32(1))
    if side == resized:  # each place is its own, so that an infinite neighbour has no say
        upper, weight = lower, np.full_like(weight, half)
    return np.stack([lower, upper]), np.stack([1 - weight, weight])
