"""How much a score depends on which images were tested: bootstrap confidence intervals over images.

Source: Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13 (percentile intervals).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

MOST_VALUES = 2**24  # of summed counts at once


def bootstrap_interval(
    counts: Tensor,  # [I, ...] per image, additive; such as confusion matrices [I, K, K]
    statistic: Callable[[Tensor], Tensor],
    *,
    resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> tuple[Tensor, Tensor]:
    """Percentile interval of a statistic of the summed counts when images are drawn anew, with replacement.

    To compare two results on the same images, stack their counts to [I, 2, K, K] and give the difference as the
    statistic: both are then summed over the same draws.

    Args:
        counts: dense, or sparse COO; summed exactly below 2**53.
        statistic: maps summed counts float64 [S, ...] of S draws to [S, ...], such as `rgbx.metrics.class_iou`.
        resamples: how many times I images are drawn, each by ``torch.randint(I, (resamples, I))``.
        level: share of the draws that the interval holds.
        seed: of the draws; the same for the same number of images gives the same draws.

    Returns:
        Lower and upper end, in the shape of one statistic. Draws where it is NaN (a class that no drawn image has)
        are left out; NaN where all are.

    Raises:
        ValueError: no images or resamples, a level outside 0..1, or a statistic that does not give one result per draw.
    """
    if counts.ndim < 1 or len(counts) == 0:
        raise ValueError(f"counts must hold at least one image, found shape {tuple(counts.shape)}")
    if resamples < 1 or not 0 < level < 1:
        raise ValueError(f"expected resamples >= 1 and 0 < level < 1, found {resamples} and {level}")
    dense = (counts.to_dense() if counts.is_sparse else counts).cpu().double()
    images, shape = len(dense), dense.shape[1:]
    dense = dense.reshape(images, -1)
    results = []
    chunk = max(1, MOST_VALUES // max(images, dense.shape[1]))
    for draws in _times_drawn(images, resamples, seed).split(chunk):
        value = statistic((draws.double() @ dense).view(-1, *shape))
        if value.shape[:1] != draws.shape[:1]:
            raise ValueError(
                f"the statistic of {len(draws)} draws has shape {tuple(value.shape)}, expected one per draw"
            )
        results.append(value.double())
    tail = (1 - level) / 2
    low, high = torch.nanquantile(torch.cat(results), torch.tensor([tail, 1 - tail], dtype=torch.float64), 0)
    return low, high


def _times_drawn(images: int, resamples: int, seed: int) -> Tensor:
    """How often each image is in each draw, int64 [S, I]."""
    drawn = torch.randint(images, (resamples, images), generator=torch.Generator().manual_seed(seed))
    cells = drawn + torch.arange(resamples)[:, None] * images
    return torch.bincount(cells.flatten(), minlength=resamples * images).view(resamples, images)


def stack_confusions(cells: Sequence[Sequence[Sequence[int]]], num_classes: int) -> Tensor:
    """Confusion matrices from their non-zero cells.

    Args:
        cells: per image a list of ``[true, predicted, count]``, as result files hold them.
        num_classes: K.

    Returns:
        int64 [I, K, K].

    Raises:
        ValueError: a cell that is no triple, or ids outside 0..K-1, naming the image by its position.
    """
    stacked = torch.zeros(len(cells), num_classes, num_classes, dtype=torch.int64)
    for i, image in enumerate(cells):
        for cell in image:
            if len(cell) != 3 or not all(0 <= k < num_classes for k in cell[:2]):
                raise ValueError(
                    f"image {i} has the cell {list(cell)}, expected [true, predicted, count] with 0..{num_classes - 1}"
                )
            stacked[i, cell[0], cell[1]] += cell[2]
    return stacked
