"""The operations in plain torch: the definition that every faster implementation must equal.

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

STRIP = {"cpu": 1 << 19, "cuda": 1 << 25}  # elements of a strip of resized scores, by kind of device; as on a GPU else
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


def resized_argmax(
    x: Tensor,  # floating [B, K, h, w]
    rows: Tensor,  # int64 [2, H]
    row_weights: Tensor,  # float32 [2, H]
    columns: Tensor,  # int64 [2, W]
    column_weights: Tensor,  # float32 [2, W]
    confidence: bool,
) -> tuple[Tensor, Tensor, Tensor]:  # [B, H, W], [B, H, W] or [0], [B, H]
    """The class of the largest of the resized scores, and its probability, in strips of rows.

    A score of the result is Σ_i v_i (Σ_j u_j x(r_i, c_j)) over the two rows r and columns c that `rows` and `columns`
    name, with their weights v and u.

    Returns:
        Ids uint8, of equals the first; where `confidence` asks for it the softmax of that class, float32; and whether
        all scores of a row that are its pixels' largest are finite and none is NaN, bool.
    """
    images, (height, width) = len(x), (rows.shape[1], columns.shape[1])
    ids = x.new_empty((images, height, width), dtype=torch.uint8)
    shares = x.new_empty((images, height, width) if confidence else (0,), dtype=torch.float32)
    finite = x.new_empty((images, height), dtype=torch.bool)
    for strip, scores in _strips(x, rows, row_weights, columns, column_weights):
        largest, index = first_largest(scores)
        ids[:, strip], finite[:, strip] = index, largest.isfinite().all(2)
        if confidence:
            total = torch.zeros_like(largest)
            for each in exponential(scores - largest.unsqueeze(1)).unbind(1):  # as a sum may take them in any order
                total += each
            shares[:, strip] = 1 / total
    return ids, shares, finite


def resized_cross_entropy(
    x: Tensor,  # float32 [B, K, h, w]
    rows: Tensor,  # int64 [2, H], ascending
    row_weights: Tensor,  # float32 [2, H]
    columns: Tensor,  # int64 [2, W]
    column_weights: Tensor,  # float32 [2, W]
    label: Tensor,  # int64 [B, H, W], 0 to K - 1
    weights: Tensor,  # float32 [B, H, W]
    gradient: bool,
) -> tuple[Tensor, Tensor, Tensor]:  # 2 x [B, H, W], [B, K, h, w] or [0]
    """What the cross-entropy of resized scores v is made of, see `resized_argmax`, in strips of rows.

    Returns:
        Of each pixel max v - v_label and Σ_k exp(v_k - max v), whose logarithm added to the former is the
        cross-entropy; and where it is wanted the gradient of Σ weight · cross-entropy with respect to x.
    """
    margins, totals = torch.empty_like(weights), torch.empty_like(weights)
    along = x.new_zeros((*x.shape[:3], columns.shape[1])) if gradient else x  # gradient before columns are joined
    places = rows.tolist()
    for strip, scores in _strips(x, rows, row_weights, columns, column_weights):
        own = label[:, strip].unsqueeze(1)
        largest = scores.amax(1)
        margins[:, strip] = largest - scores.gather(1, own)[:, 0]
        shares = exponential(scores - largest.unsqueeze(1))
        total = torch.zeros_like(largest)
        for each in shares.unbind(1):
            total += each
        totals[:, strip] = total
        if gradient:
            shares.scatter_add_(1, own, -total.unsqueeze(1))
            slopes = (shares * (1 / total).unsqueeze(1)) * weights[:, strip].unsqueeze(1)
            for i, y in enumerate(range(rows.shape[1])[strip]):
                for side in (0, 1):  # row by row, so that sums are in one order
                    along[:, :, places[side][y]] += slopes[:, :, i] * row_weights[side, y]
    if not gradient:
        return margins, totals, x.new_empty(0)
    grad = torch.zeros(x.shape, dtype=x.dtype, device=x.device)
    for at, weight in zip(columns, column_weights, strict=True):
        grad.index_add_(3, at, along * weight)
    return margins, totals, grad


def _strips(
    x: Tensor,  # floating [B, K, h, w]
    rows: Tensor,  # int64 [2, H]
    row_weights: Tensor,  # float32 [2, H]
    columns: Tensor,  # int64 [2, W]
    column_weights: Tensor,  # float32 [2, W]
) -> Iterator[tuple[slice, Tensor]]:  # [B, K, rows, W]
    """Resized scores, float32, some rows after the other."""
    width, height = columns.shape[1], rows.shape[1]
    step = max(1, STRIP.get(x.device.type, STRIP["cuda"]) // max(1, x.shape[0] * x.shape[1] * width))
    for start in range(0, height, step):
        strip = slice(start, min(start + step, height))
        first, last = (int(end) for end in rows[:, strip].aminmax())
        known = x[:, :, first : last + 1].float()
        parts = [known.index_select(3, at) * weight for at, weight in zip(columns, column_weights, strict=True)]
        along = parts[0] + parts[1]
        parts = [
            along.index_select(2, at - first) * weight[:, None]
            for at, weight in zip(rows[:, strip], row_weights[:, strip], strict=True)
        ]
        yield strip, parts[0] + parts[1]


def first_largest(
    scores: Tensor,  # [N, K, ...] floating
) -> tuple[Tensor, Tensor]:
    """The largest score of each pixel, NaN where there is one, and its class, the first one of equals.

    `torch.max` and `argmax` with an index are slow on a CPU where the class axis is not the last: there the class is
    read off by a second maximum over one byte per score.

    Returns:
        The score [N, ...], and the class [N, ...], uint8 or int64.
    """
    classes = scores.shape[1]
    innermost = scores.ndim == 4 and scores.stride(1) == 1 and classes > 1
    if scores.device.type != "cpu" or classes > 255 or innermost:
        largest, index = scores.max(1)
        return largest, index
    largest = scores.amax(1)
    rank = torch.arange(classes, 0, -1, dtype=torch.uint8).view(1, -1, *[1] * (scores.ndim - 2))
    first = ((scores == largest.unsqueeze(1)) * rank).amax(1)
    return largest, classes - first


def exponential(
    x: Tensor,  # [...] float32, 0 or less
) -> Tensor:  # [...]
    """exp(x) with a relative error below 2e-7, from products and sums alone, so that kernels can be equal in all bits.

    e^(n ln 2 + r) = 2^n (1 + r + r² q(r)) with |r| <= ln(2) / 2 and a polynomial q that was fitted to it.
    """
    x = torch.where(x < -87.0, -87.0, x)
    n = (x * 1.44269504 + 12582912.0) - 12582912.0  # to the nearest whole number
    r = (x - n * 0.693359375) - n * -2.12194440e-4
    q = r * 0.00139505963 + 0.00836895406
    q = q * r + 0.041666206
    q = q * r + 0.166665182
    q = q * r + 0.5
    power = ((n.to(torch.int32) + 127) << 23).view(torch.float32)
    return (((q * (r * r)) + r) + 1.0) * power
