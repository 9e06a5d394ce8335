"""Semantic segmentation scores from one confusion matrix.

A confusion matrix is additive over images and processes, so scores of a whole dataset are exact
however the images were split.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from rgbx._text import one_of

ABSENT = ("skip", "zero")


def class_iou(
    confusion: Tensor,  # [..., K, K] counts
) -> Tensor:
    """IoU_k = n_kk / (t_k + p_k - n_kk) of one or many confusion matrices (Long et al., CVPR 2015).

    Returns:
        float64 [..., K]; NaN for a class absent from truth and prediction.
    """
    counts = confusion.double()
    right = counts.diagonal(dim1=-2, dim2=-1)
    return right / (counts.sum(-1) + counts.sum(-2) - right)


def scores(
    confusion: Tensor,  # [K, K] counts
    *,
    absent: str = "skip",
) -> dict[str, Any]:
    """Scores of a confusion matrix, as fractions of 1.

    Definitions (Long et al., CVPR 2015): IoU_k = n_kk / (t_k + p_k - n_kk) and Acc_k = n_kk / t_k,
    with t_k the pixels of class k and p_k the pixels predicted as k; fwIoU = Σ t_k IoU_k / Σ t_k. A class absent
    from truth and prediction has IoU NaN, one absent from the truth has Acc NaN; means skip NaN.

    Args:
        confusion: rows are true classes, columns predicted ones.
        absent: ``"skip"``, or ``"zero"``: what would be NaN of a class is 0 and counts in the means, as some
            published codes have it.

    Returns:
        `IoU` and `Acc`, float64 [K] on the CPU; `pixels`, the t_k, int64 [K]; `mIoU`, `mAcc`, `fwIoU` and `aAcc` (the
        fraction of pixels that are right) as floats. With nothing counted `fwIoU` and `aAcc` are NaN, and the means
        too where absent classes are skipped.

    Raises:
        ValueError: the matrix is not square, or `absent` is neither of the two.
    """
    if confusion.ndim != 2 or confusion.shape[0] != confusion.shape[1]:
        raise ValueError(f"a confusion matrix is [K, K], found {tuple(confusion.shape)}")
    if absent not in ABSENT:
        raise ValueError(f"absent is {absent!r}; expected one of {one_of(ABSENT, absent)}")
    counts = confusion.cpu().double()
    right, true = counts.diagonal(), counts.sum(1)
    iou, accuracy = class_iou(counts), right / true
    if absent == "zero":
        iou, accuracy = iou.nan_to_num(), accuracy.nan_to_num()
    return {
        "IoU": iou,
        "Acc": accuracy,
        "pixels": true.long(),
        "mIoU": float(iou.nanmean()),
        "mAcc": float(accuracy.nanmean()),
        "fwIoU": float((true * iou.nan_to_num()).sum() / true.sum()),
        "aAcc": float(right.sum() / true.sum()),
    }
