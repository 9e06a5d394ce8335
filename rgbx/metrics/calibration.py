"""Expected calibration error: does a confidence of 80 % mean right in 80 % of the pixels?

Source: Guo et al., "On Calibration of Modern Neural Networks", ICML 2017.
"""

from __future__ import annotations

import torch
from torch import Tensor

from rgbx.metrics.histogram import add_by_id

BINS = 15
ABOVE_ONE = 1e-2  # what rounding of a sum of half-precision probabilities may add


def reliability_counts(
    probability: Tensor,  # [N, K, H, W] floating, sums to 1 over K
    label: Tensor,  # [N, H, W] class ids or ignore_index
    *,
    bins: int = BINS,
    ignore_index: int = 255,
    largest: tuple[Tensor, Tensor] | None = None,  # [N, H, W] each
) -> Tensor:
    """Sorts pixels by confidence, the largest probability, into B bins ((b-1)/B, b/B] of equal width.

    Args:
        probability: of each class.
        label: moved to the device of `probability`.
        bins: B.
        ignore_index: label of pixels that do not count.
        largest: the largest of `probability` and its class, where they are known already.

    Returns:
        float64 [3, B] on the device of `probability`, additive over images: pixels, the sum of their confidences, and
        how many of them are right.

    Raises:
        ValueError: shapes that do not fit, a dtype that cannot hold probabilities or class ids, fewer than one bin, or
            confidences outside 0..1.
    """
    if probability.ndim != 4 or probability.shape[:1] + probability.shape[2:] != label.shape:
        raise ValueError(
            "probability must be [N, K, H, W] and label [N, H, W], found "
            f"{tuple(probability.shape)} and {tuple(label.shape)}"
        )
    if not probability.is_floating_point() or label.is_floating_point():
        raise ValueError(f"probability must be floating and label integer, found {probability.dtype} and {label.dtype}")
    if bins < 1:
        raise ValueError(f"bins is {bins}; expected at least 1")
    label = label.to(probability.device).long()
    confidence, predicted = probability.max(1) if largest is None else largest
    _check_confidence(confidence)
    confidence = confidence.double().clamp_(max=1)
    place = (confidence * bins).ceil_().long().sub_(1).clamp_(0, bins - 1)
    place = place.masked_fill_(label == ignore_index, bins).flatten()  # one more bin for the ignored
    right = place.masked_fill(predicted.flatten() != label.flatten(), bins)
    sums = (add_by_id(place, bins + 1), add_by_id(place, bins + 1, confidence.flatten()), add_by_id(right, bins + 1))
    return torch.stack([part.double() for part in sums])[:, :bins]


def _check_confidence(
    confidence: Tensor,  # [N, H, W]
) -> None:
    if confidence.numel() == 0:
        return
    low, high = (float(value) for value in torch.aminmax(confidence))
    if not (low >= 0 and high <= 1 + ABOVE_ONE):  # also true of NaN
        raise ValueError(
            f"the largest probabilities lie in {low:.3g}..{high:.3g}, expected 0..1; pass probabilities, not logits"
        )


def calibration_error(
    counts: Tensor,  # [3, B] of `reliability_counts`, summed over images
) -> float:
    """Expected calibration error Σ_b n_b / N · |accuracy_b - mean confidence_b|, as a fraction of 1.

    Returns:
        NaN where nothing was counted.

    Raises:
        ValueError: the counts are not [3, B].
    """
    if counts.ndim != 2 or counts.shape[0] != 3:
        raise ValueError(f"reliability counts are [3, B], found {tuple(counts.shape)}")
    pixels, confidence, right = counts.cpu().double()
    return float((right - confidence).abs().sum() / pixels.sum())
