"""Boundary and calibration counts in their plainest form, until the full ones are here."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def boundary_counts(
    prediction: Tensor,  # [H, W]
    label: Tensor,  # [H, W]
    num_classes: int,
    *,
    tolerance: int = 2,
    ignore_index: int = 255,
) -> Tensor:
    """Matched predicted, predicted, matched true and true boundary pixels of each class: int64 [K, 4]."""
    counted = (label != ignore_index).float()

    def edges(ids: Tensor) -> Tensor:
        masks = torch.stack([ids == k for k in range(num_classes)]).float()
        return masks * (1 - (-F.max_pool2d(-masks, 3, 1, 1))) * counted

    found, true = edges(prediction.long()), edges(label.long())
    near = [F.max_pool2d(x, 2 * tolerance + 1, 1, tolerance) for x in (true, found)]
    columns = [found * near[0], found, true * near[1], true]
    return torch.stack([x.sum((1, 2)).long() for x in columns], 1)


def boundary_f_score(counts: Tensor) -> float:  # [K, 4]
    """Mean over classes of 2 P R / (P + R)."""
    matched, found, reached, true = counts.double().unbind(1)
    precision, recall = (matched / found).nan_to_num(0.0), (reached / true).nan_to_num(0.0)
    f = (2 * precision * recall / (precision + recall)).nan_to_num(0.0)
    f[(found == 0) & (true == 0)] = torch.nan
    return float(f.nanmean())


def reliability_counts(
    probability: Tensor,  # [N, K, H, W]
    label: Tensor,  # [N, H, W]
    *,
    bins: int = 15,
    ignore_index: int = 255,
) -> Tensor:
    """Pixels, summed confidence and correct pixels of each bin of confidence: float64 [3, B]."""
    confidence, predicted = probability.max(1)
    counted = label != ignore_index
    confidence, right = confidence[counted].double(), (predicted == label)[counted].double()
    index = (confidence * bins).long().clamp(0, bins - 1)
    rows = [torch.ones_like(confidence), confidence, right]
    return torch.stack([torch.zeros(bins, dtype=torch.float64).index_add_(0, index.cpu(), row.cpu()) for row in rows])


def calibration_error(counts: Tensor) -> float:  # [3, B]
    """Expected calibration error: the mean of |accuracy - confidence|, weighted by pixels."""
    pixels, confidence, right = counts
    return float((right - confidence).abs().sum() / pixels.sum())
