"""The exchange operations without writing in place: for `torch.compile`, `torch.export` and `torch.func`.

Equal to `reference`. A compiler fuses slices, padding and concatenation with what surrounds them, while it has a hard
time with writes to parts of a tensor. Where nothing compiles it, each step really makes a tensor, so there are few of
them: parts come from splits, whose gradients are put together once (the gradient of a slice is a whole stack of zeros
for each slice), and each group is padded on the one side that it moves away from. Differentiable by autograd, in both
modes and again. Shapes and arguments as in `reference`.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

from rgbx.ops.reference import SHIFTS


def channel_shuffle(
    x: Tensor,  # [M*N, C, H, W]
    num_modalities: int,
    group: int,
    direction: int,
) -> Tensor:  # [M*N, C, H, W]
    """S: channels from 4·group on come from modality m + direction, the others stay."""
    kept, exchanged = _parted(x, [4 * group])
    return torch.cat([kept, _turn(exchanged, num_modalities, direction)], 1)


def pixel_shift(
    x: Tensor,  # [M*N, C, H, W]
    num_modalities: int,
    group: int,
    direction: int,
) -> Tensor:  # [M*N, C, H, W]
    """Each modality m receives P(x) of modality m - direction; channels from 4·group on are zero."""
    shifted = _shifted(x, num_modalities, group, direction)
    return torch.cat([shifted, torch.zeros_like(x[:, 4 * group :])], 1)


def shift_add_shuffle(
    b: Tensor,  # [M*N, C, H, W]
    a: Tensor,  # [M*N, C, H, W]
    num_modalities: int,
    group: int,
    direction: int,
) -> Tensor:  # [M*N, C, H, W]
    """S(b) + P(a)."""
    kept, exchanged = _parted(b, [4 * group])
    shifted = _shifted(a, num_modalities, group, direction)
    return torch.cat([kept + shifted, _turn(exchanged, num_modalities, direction)], 1)


def _parted(
    x: Tensor,  # [M*N, C, H, W]
    sizes: list[int],
) -> tuple[Tensor, ...]:  # each [M*N, size, H, W], the last with the channels that remain
    return x.split_with_sizes([*sizes, x.shape[1] - sum(sizes)], 1)


def _turn(
    x: Tensor,  # [M*N, C, H, W]
    num_modalities: int,
    steps: int,
) -> Tensor:  # [M*N, C, H, W]
    """Modality m of the result is modality m + steps of x."""
    if num_modalities == 1:  # parts of it would be put together again, which tells a graph nothing
        return x
    first, samples = steps % num_modalities, x.shape[0] // num_modalities
    before, after = x.split_with_sizes([first * samples, (num_modalities - first) * samples])
    return torch.cat([after, before])


def _shifted(
    x: Tensor,  # [M*N, C, H, W]
    num_modalities: int,
    group: int,
    direction: int,
) -> Tensor:  # [M*N, 4·group, H, W]
    """The 4·group channels that move, moved."""
    *groups, _ = _parted(x, [group] * 4)
    moved = [_moved(part, direction * dy, direction * dx) for part, (dy, dx) in zip(groups, SHIFTS, strict=True)]
    return _turn(torch.cat(moved, 1), num_modalities, -direction)


def _moved(
    x: Tensor,  # [M*N, C, H, W]
    dy: int,
    dx: int,
) -> Tensor:  # [M*N, C, H, W]
    """y(i, j) = x(i + dy, j + dx), zero where that lies outside."""
    height, width = x.shape[-2:]
    framed = pad(x, (max(0, -dx), max(0, dx), max(0, -dy), max(0, dy)))
    top, left = max(0, dy), max(0, dx)
    return framed[..., top : top + height, left : left + width]
