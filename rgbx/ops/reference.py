"""The exchange operations in plain torch: the definition that every faster implementation must equal.

Features of M modalities travel stacked on the batch axis, modality-major: ``x: [M*N, C, H, W]``. With ``group`` g
channels per shift direction, channels ``0 .. 4g-1`` are *kept* (and are the ones pixel shift moves) and channels
``4g .. C-1`` are *exchanged*. Results are channels_last where the first argument is (and is not also contiguous in the
default format), else contiguous.

Source: Wang et al., "Learning Deep Multimodal Feature Representation with Asymmetric Multi-layer Fusion",
ACM MM 2020 (arXiv 2108.05009), sections 3.2 and 3.3.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

SHIFTS = ((-1, 0), (0, -1), (0, 1), (1, 0))
"""(δy, δx) of the four channel groups: y(i, j) = x(i + δy, j + δx), so content moves down, right, left, up."""


def empty_stack(
    x: Tensor,  # [M*N, C, H, W]
) -> Tensor:  # [M*N, C, H, W]
    """An uninitialised tensor like x, dense in the memory format of results (see above)."""
    channels_last = not x.is_contiguous() and x.is_contiguous(memory_format=torch.channels_last)
    return torch.empty_like(x, memory_format=torch.channels_last if channels_last else torch.contiguous_format)


def channel_shuffle(
    x: Tensor,  # [M*N, C, H, W]
    num_modalities: int,
    group: int,
    direction: int,
) -> Tensor:  # [M*N, C, H, W]
    """S: channels from 4·group on come from modality m + direction, the others stay."""
    kept = 4 * group
    out = empty_stack(x)
    source, target = (t.unflatten(0, (num_modalities, -1)) for t in (x, out))
    target[:, :, :kept] = source[:, :, :kept]
    for m in range(num_modalities):
        target[m, :, kept:] = source[(m + direction) % num_modalities, :, kept:]
    return out


def pixel_shift(
    x: Tensor,  # [M*N, C, H, W]
    num_modalities: int,
    group: int,
    direction: int,
) -> Tensor:  # [M*N, C, H, W]
    """Each modality m receives P(x) of modality m - direction; channels from 4·group on are zero."""
    out = empty_stack(x).zero_()
    for target, sender in _shifted_parts(out, x, num_modalities, group, direction):
        target.copy_(sender)
    return out


def shift_add_shuffle(
    b: Tensor,  # [M*N, C, H, W]
    a: Tensor,  # [M*N, C, H, W]
    num_modalities: int,
    group: int,
    direction: int,
) -> Tensor:  # [M*N, C, H, W]
    """S(b) + P(a): as P touches kept channels only, that is S(b + P(a)) without building P(a)."""
    out = channel_shuffle(b, num_modalities, group, direction)
    for target, sender in _shifted_parts(out, a, num_modalities, group, direction):
        target += sender
    return out


def shift_add_shuffle_adjoint(
    grad: Tensor,  # [M*N, C, H, W]
    num_modalities: int,
    group: int,
    direction: int,
) -> tuple[Tensor, Tensor]:  # 2 x [M*N, C, H, W]
    """The gradients of `shift_add_shuffle` with respect to b and a: Sᵀ(grad) and Pᵀ(grad)."""
    ring = num_modalities, group, -direction
    return channel_shuffle(grad, *ring), pixel_shift(grad, *ring)


def _shifted_parts(
    out: Tensor,  # [M*N, C, H, W]
    x: Tensor,  # [M*N, C, H, W]
    num_modalities: int,
    group: int,
    direction: int,
) -> Iterator[tuple[Tensor, Tensor]]:  # of equal shape, [N, group, h, w]
    """Views of out, and of x what P brings there; direction -1 shifts the opposite way (Pᵀ)."""
    height, width = x.shape[-2:]
    source, target = (t.unflatten(0, (num_modalities, -1)) for t in (x, out))
    for k, (dy, dx) in enumerate(SHIFTS):
        channels = slice(k * group, (k + 1) * group)
        to_rows, from_rows = _window(direction * dy, height)
        to_columns, from_columns = _window(direction * dx, width)
        for m in range(num_modalities):
            sender = source[(m - direction) % num_modalities]
            yield target[m, :, channels, to_rows, to_columns], sender[:, channels, from_rows, from_columns]


def _window(delta: int, size: int) -> tuple[slice, slice]:
    """Target and source range along one axis for y(i) = x(i + delta), what falls outside left alone."""
    target = slice(max(0, -delta), size - max(0, delta))
    source = slice(max(0, delta), size - max(0, -delta))
    return target, source
