"""Bootstrap intervals of IoU over images (Efron & Tibshirani, An Introduction to the Bootstrap, 1993).

IoU needs three numbers per class and image: pixels that are right, true pixels and predicted
pixels. They are additive, so a resample of the images is a weighted sum, and all resamples
together are one matrix product; confusion matrices are never resampled themselves.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor


def image_counts(cells: Sequence[Iterable[Sequence[int]]], num_classes: int) -> Tensor:
    """What IoU needs of every image, from sparse confusion matrices.

    Args:
        cells: per image the non-zero cells (true class, predicted class, pixels).
        num_classes: K.

    Returns:
        int64 [I, 3, K]: right, true and predicted pixels.

    Raises:
        ValueError: a class id out of range or a negative count, naming the image's position.
    """
    counts = np.zeros((len(cells), 3, num_classes), np.int64)
    for position, image in enumerate(cells):
        table = np.asarray(list(image), np.int64).reshape(-1, 3)
        true, predicted, pixels = table.T
        if table.size and (table.min() < 0 or max(true.max(), predicted.max()) >= num_classes):
            raise ValueError(
                f"image {position}: cells must be (true, predicted, pixels) with classes 0..{num_classes - 1} "
                "and counts >= 0"
            )
        right = true == predicted
        np.add.at(counts[position, 0], true[right], pixels[right])
        np.add.at(counts[position, 1], true, pixels)
        np.add.at(counts[position, 2], predicted, pixels)
    return torch.from_numpy(counts)


def draw_weights(images: int, draws: int, *, seed: int = 0) -> Tensor:
    """How often each image is in each resample: int64 [draws, images], every row sums to `images`."""
    if images < 1 or draws < 1:
        raise ValueError(f"a bootstrap needs images and draws, found {images} images and {draws} draws")
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.multinomial(images, np.full(images, 1 / images), size=draws))


def resampled_iou(
    counts: Tensor,  # [I, 3, K] as `image_counts` gives them
    weights: Tensor,  # [R, I]
) -> Tensor:
    """IoU per class of each weighted sum of images.

    Returns:
        float64 [R, K]; NaN where a class is in neither truth nor prediction of the resample. The
        sums are exact below 2**53 pixels.
    """
    sums = weights.double() @ counts.double().flatten(1)
    right, true, predicted = sums.unflatten(1, (3, -1)).unbind(1)
    return right / (true + predicted - right)


def mean_iou(
    iou: Tensor,  # [..., K]
    *,
    absent: str = "skip",
) -> Tensor:
    """Mean over the last axis: absent classes (NaN) are skipped, or counted as 0.

    Raises:
        ValueError: another rule.
    """
    if absent not in ("skip", "zero"):
        raise ValueError(f"absent must be 'skip' or 'zero', found {absent!r}")
    return iou.nanmean(-1) if absent == "skip" else iou.nan_to_num(nan=0.0).mean(-1)


def percentile_interval(
    samples: Tensor,  # [R, ...]
    *,
    level: float = 0.95,
) -> tuple[Tensor, Tensor]:
    """Low and high end, each [...], between which `level` of the samples lie; NaN samples are left out.

    Raises:
        ValueError: the level is not between 0 and 1.
    """
    if not 0 < level < 1:
        raise ValueError(f"the level of an interval must lie between 0 and 1, found {level}")
    tail = (1 - level) / 2
    low, high = samples.double().nanquantile(torch.tensor([tail, 1 - tail], dtype=torch.float64), dim=0)
    return low, high
