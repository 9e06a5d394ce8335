"""Boundary F-score: are the edges of the predicted regions where the true ones are?

Sources: Csurka et al., "What is a good evaluation measure for semantic segmentation?", BMVC 2013, for the score per
class and the tolerance of 0.75 % of the image diagonal; Perazzi et al., CVPR 2016 (DAVIS), for matching within a disc
of whole pixels. Unlike there, counts are summed over all images before the score is taken.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from rgbx.metrics.confusion import check_class_maps, check_ids
from rgbx.metrics.histogram import add_by_id

TOLERANCE = 0.0075
NOTHING = -1
MOST_LOOKUPS = 2**18  # at once, so that they stay in the cache


def boundary_counts(
    prediction: Tensor,  # [H, W] or [N, H, W] class ids
    label: Tensor,  # [H, W] or [N, H, W] class ids or ignore_index
    num_classes: int,
    *,
    tolerance: float = TOLERANCE,
    ignore_index: int = 255,
) -> Tensor:
    """Counts the boundary pixels of each class, and those with a counterpart of the same class nearby.

    A boundary pixel of class k has class k and one of its four neighbours in the image another class; a neighbour
    whose label is `ignore_index` is no other class, and ignored pixels are no boundary, whatever was predicted there.
    Nearby is a Euclidean distance of at most ⌈tolerance · image diagonal⌉ pixels.

    Args:
        prediction: on any device.
        label: moved to that of the prediction.
        num_classes: K.
        tolerance: share of the image's diagonal.
        ignore_index: label of pixels that do not count.

    Returns:
        int64 [K, 4], additive over images: predicted boundary pixels that are matched, all predicted ones, true ones
        that are matched, all true ones.

    Raises:
        ValueError: shapes differ or are no images, a floating dtype, a negative tolerance, or a boundary between ids
            outside 0..K-1.
    """
    check_class_maps(prediction, label)
    if prediction.ndim not in (2, 3):
        raise ValueError(f"boundaries need maps [H, W] or [N, H, W], found {tuple(prediction.shape)}")
    if not tolerance >= 0:
        raise ValueError(f"tolerance is {tolerance}; expected a share of the diagonal of at least 0")
    size = prediction.shape[-2:]
    reach = math.ceil(round(tolerance * math.hypot(*size), 6))
    label = label.to(prediction.device).reshape(-1, *size).long()
    ignored = label == ignore_index
    predicted = _boundary_map(prediction.reshape(-1, *size).int().masked_fill(ignored, NOTHING), reach)
    true = _boundary_map(label.int().masked_fill_(ignored, NOTHING), reach)
    disc = _disc(reach, row=size[1] + 2 * reach).to(prediction.device)
    return torch.stack(
        [
            *_match("prediction", predicted, true, disc, num_classes),
            *_match("label", true, predicted, disc, num_classes),
        ],
        1,
    )


def _boundary_map(
    classes: Tensor,  # [N, H, W]
    reach: int,
) -> Tensor:
    """[N, H, W] with NOTHING for ignored → the class of boundary pixels, NOTHING elsewhere, framed by `reach`, flat."""
    boundary = torch.zeros_like(classes, dtype=torch.bool)
    for axis in (1, 2):
        length = classes.shape[axis] - 1
        before, after = classes.narrow(axis, 0, length), classes.narrow(axis, 1, length)
        change = (before != after) & (before != NOTHING) & (after != NOTHING)
        boundary.narrow(axis, 0, length).logical_or_(change)
        boundary.narrow(axis, 1, length).logical_or_(change)
    return F.pad(classes.masked_fill(~boundary, NOTHING), [reach] * 4, value=NOTHING).flatten()


def _disc(reach: int, row: int) -> Tensor:
    """Offsets into a flat image with rows of `row` pixels of all points at most `reach` away, nearest first."""
    span = torch.arange(-reach, reach + 1)
    squared = span[:, None] ** 2 + span**2
    offsets = (span[:, None] * row + span)[squared <= reach**2]
    return offsets[squared[squared <= reach**2].argsort(stable=True)]


def _match(
    name: str,
    own: Tensor,  # [N * framed pixels]
    other: Tensor,  # [N * framed pixels]
    disc: Tensor,  # [D] offsets
    num_classes: int,
) -> tuple[Tensor, Tensor]:
    """How many boundary pixels of each class have one of the same class in the other map nearby, and how many exist.

    Looks at the nearest points first: most pixels find their counterpart there and are done.
    """
    places = (own != NOTHING).nonzero().flatten()
    classes = own[places]
    check_ids(name, classes, num_classes)
    total = add_by_id(classes, num_classes)
    start = 0
    while start < len(disc) and len(places):
        count = max(1, min(4 * start + 1, MOST_LOOKUPS // len(places)))
        near = other.index_select(0, (disc[start : start + count, None] + places).flatten())
        unmatched = (near.view(-1, len(places)) != classes).view(torch.uint8).amin(0).bool()  # faster than all(0)
        places, classes = places[unmatched], classes[unmatched]
        start += count
    return total - add_by_id(classes, num_classes), total


def boundary_f_score(
    counts: Tensor,  # [K, 4] of `boundary_counts`, summed over images
) -> float:
    """Mean over classes of the harmonic mean F = 2PR / (P + R) of boundary precision and recall, as a fraction of 1.

    A class with boundaries in only one of truth and prediction scores 0, one with none in either is skipped.

    Returns:
        NaN where no class has a boundary.

    Raises:
        ValueError: the counts are not [K, 4].
    """
    if counts.ndim != 2 or counts.shape[1] != 4:
        raise ValueError(f"boundary counts are [K, 4], found {tuple(counts.shape)}")
    matched_predicted, predicted, matched_true, true = counts.cpu().double().unbind(1)
    precision = (matched_predicted / predicted).nan_to_num()
    recall = (matched_true / true).nan_to_num()
    score = (2 * precision * recall / (precision + recall)).nan_to_num()
    return float(score[(predicted + true) > 0].mean())
