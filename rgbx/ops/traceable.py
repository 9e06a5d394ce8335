"""The exchange operations without writing in place: what `torch.compile` and `torch.export` are given.

Equal to `reference`, and slower where each step really makes a tensor; but a compiler fuses slices, padding and
concatenation with what surrounds them, while it has a hard time with writes to parts of a tensor. Differentiable by
autograd. Shapes and arguments as in `reference`.
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
    kept, exchanged = x.tensor_split((4 * group,), 1)
    return torch.cat([kept, _turn(exchanged, num_modalities, direction)], 1)


def pixel_shift(
    x: Tensor,  # [M*N, C, H, W]
    num_modalities: int,
    group: int,
    direction: int,
) -> Tensor:  # [M*N, C, H, W]
    """Each modality m receives P(x) of modality m - direction; channels from 4·group on are zero."""
    _, exchanged = x.tensor_split((4 * group,), 1)
    return torch.cat([_shifted(x, num_modalities, group, direction), torch.zeros_like(exchanged)], 1)


def shift_add_shuffle(
    b: Tensor,  # [M*N, C, H, W]
    a: Tensor,  # [M*N, C, H, W]
    num_modalities: int,
    group: int,
    direction: int,
) -> Tensor:  # [M*N, C, H, W]
    """S(b) + P(a)."""
    kept, exchanged = b.tensor_split((4 * group,), 1)
    shifted = _shifted(a, num_modalities, group, direction)
    return torch.cat([kept + shifted, _turn(exchanged, num_modalities, direction)], 1)


def _turn(
    x: Tensor,  # [M*N, C, H, W]
    num_modalities: int,
    steps: int,
) -> Tensor:  # [M*N, C, H, W]
    """Modality m of the result is modality m + steps of x."""
    if num_modalities == 1:  # parts of it would be put together again, which tells a graph nothing
        return x
    parts = x.unflatten(0, (num_modalities, -1)).unbind(0)
    return torch.cat([parts[(m + steps) % num_modalities] for m in range(num_modalities)])


def _shifted(
    x: Tensor,  # [M*N, C, H, W]
    num_modalities: int,
    group: int,
    direction: int,
) -> Tensor:  # [M*N, 4·group, H, W]
    """The 4·group channels that move, moved."""
    height, width = x.shape[-2:]
    framed = pad(x, (1, 1, 1, 1))
    groups = []
    for k, (dy, dx) in enumerate(SHIFTS):
        top, left = 1 + direction * dy, 1 + direction * dx
        groups.append(framed[:, k * group : (k + 1) * group, top : top + height, left : left + width])
    return _turn(torch.cat(groups, 1), num_modalities, -direction)
