"""Angles between predicted and true surface normals (Fouhey et al., "Data-Driven 3D Primitives", ICCV 2013)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from rgbx.metrics.image_quality import checked, error_scores, error_sums

THRESHOLDS = (11.25, 22.5, 30.0)  # degrees
BINS = 3600  # of 0.05 degrees, for the median


def angles(
    prediction: Tensor,  # [..., 3, H, W]
    target: Tensor,  # [..., 3, H, W]
) -> Tensor:
    """Degrees between vectors of any length, float64 [..., H, W]; 90 where the prediction is 0.

    From the arc tangent of |p × t| and p · t, which is exact also for small angles.
    """
    p, t = prediction.double(), target.to(prediction.device).double()
    sine, cosine = torch.linalg.cross(p, t, dim=-3).norm(dim=-3), (p * t).sum(-3)
    degrees = torch.rad2deg(torch.atan2(sine, cosine))
    return degrees.where((p != 0).any(-3), 90.0)


def normal_sums(
    prediction: Tensor,  # [3, H, W] or [N, 3, H, W]
    target: Tensor,  # [3, H, W] or [N, 3, H, W], unit vectors, 0 = no normal
    valid: Tensor | None = None,  # bool [1, H, W] or [N, 1, H, W]
) -> dict[str, Any]:
    """What the scores of normals need, additive over images, of pixels where the target is not 0.

    Returns:
        ``values``, ``absolute``, ``squared`` over the three components as in `error_sums`; ``pixels``; ``degrees``, the
        sum of their angles; ``within``, float64 [3], pixels below each threshold; ``histogram`` of the angles, int32
        [3600].

    Raises:
        ValueError: shapes differ, or other than three channels.
    """
    a, b, mask = checked(prediction, target, valid)
    if a.shape[-3] != 3:
        raise ValueError(f"normals have three channels, found {tuple(a.shape)}")
    counted = (b != 0).any(-3, keepdim=True)
    counted = counted if mask is None else mask & counted
    degrees = angles(a, b)[counted.squeeze(-3)]
    bins = (degrees * (BINS / 180)).long().clamp(max=BINS - 1)
    return error_sums(a, b, counted) | {
        "pixels": float(degrees.numel()),
        "degrees": float(degrees.sum()),
        "within": torch.tensor([float((degrees < limit).sum()) for limit in THRESHOLDS], dtype=torch.float64),
        "histogram": torch.bincount(bins, minlength=BINS).int().cpu(),
    }


def normal_scores(sums: Mapping[str, Any]) -> dict[str, float]:
    """``angle_mean`` and ``angle_median`` in degrees, ``within_11.25`` and so on as fractions of 1, MAE and RMSE.

    The median is right to 0.05 degrees; ``MAE`` and ``RMSE`` are over the components, in -1..1. NaN without pixels.
    """
    count = sums["pixels"]
    share = (lambda x: float(x) / count) if count else (lambda x: math.nan)
    found = {"angle_mean": share(sums["degrees"]), "angle_median": _median(sums["histogram"])}
    limits = zip(THRESHOLDS, sums["within"], strict=True)
    return found | {f"within_{limit:g}": share(pixels) for limit, pixels in limits} | error_scores(sums)


def _median(
    histogram: Tensor,  # [bins]
) -> float:
    """The angle below which half of the pixels lie, pixels of a bin being spread evenly over it."""
    cumulative = histogram.long().cumsum(0).double()
    half = float(cumulative[-1]) / 2
    if not half:
        return math.nan
    place = int(torch.searchsorted(cumulative, half))
    before = float(cumulative[place - 1]) if place else 0.0
    return (place + (half - before) / float(histogram[place])) * 180 / BINS
