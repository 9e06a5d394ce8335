"""Errors of metric depth at measured pixels.

Eigen et al., "Depth Map Prediction from a Single Image using a Multi-Scale Deep Network", NeurIPS 2014.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from rgbx.metrics.image_quality import checked, error_scores, error_sums

DELTA = 1.25
LEAST_METRES = 1e-3


def depth_sums(
    prediction: Tensor,  # [1, H, W] or [N, 1, H, W], metres
    target: Tensor,  # [1, H, W] or [N, 1, H, W], metres, 0 = no measurement
    valid: Tensor | None = None,  # bool [1, H, W] or [N, 1, H, W]
) -> dict[str, float]:
    """What the depth scores need, additive over images, of pixels where the target is above 0.

    Args:
        prediction: values below 1 mm count as that in the ratios of δ.
        target: moved to the device of the prediction.
        valid: further limits the pixels that count.

    Returns:
        ``values``, ``absolute``, ``squared`` as in `error_sums`, ``relative``, the sum of |error| / target, and
        ``delta1`` to ``delta3``, pixels whose ratio to the target (or its inverse) is below 1.25, 1.25² and 1.25³.

    Raises:
        ValueError: shapes differ.
    """
    a, b, mask = checked(prediction, target, valid)
    counted = b > 0 if mask is None else mask & (b > 0)
    sums = error_sums(a, b, counted)
    a, b = a[counted], b[counted]
    sums["relative"] = float(((a - b).abs() / b).sum())
    a = a.clamp(min=LEAST_METRES)
    ratio = torch.maximum(a / b, b / a)
    return sums | {f"delta{k}": float((ratio < DELTA**k).sum()) for k in (1, 2, 3)}


def depth_scores(sums: Mapping[str, float]) -> dict[str, float]:
    """``MAE`` and ``RMSE`` in metres, ``AbsRel`` and ``delta1`` to ``delta3`` as fractions of 1, over all pixels.

    Pixels of all images weigh the same; NaN where there are none.
    """
    count = sums["values"]
    found = {"AbsRel": sums["relative"]} | {f"delta{k}": sums[f"delta{k}"] for k in (1, 2, 3)}
    return error_scores(sums) | {name: value / count if count else math.nan for name, value in found.items()}
