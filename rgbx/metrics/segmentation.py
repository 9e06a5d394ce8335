"""Semantic segmentation scores from one confusion matrix.

A confusion matrix is additive over images and processes, so scores of a whole dataset are exact
however the images were split.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def confusion_matrix(
    prediction: Tensor,  # [...] any integer dtype, ids 0..K-1
    label: Tensor,  # the same shape, ids 0..K-1 or ignore_index
    num_classes: int,
    *,
    ignore_index: int = 255,
) -> Tensor:
    """Counts pixels by true class (row) and predicted class (column).

    Pixels whose label is `ignore_index` are not counted, whatever was predicted there.

    Returns:
        int64 [K, K] on the device of `prediction`; exact for any number of pixels.

    Raises:
        ValueError: shapes differ, a floating dtype, or an id outside its range.
    """
    if prediction.shape != label.shape:
        raise ValueError(
            f"prediction and label must have one shape, found {tuple(prediction.shape)} and {tuple(label.shape)}"
        )
    for name, tensor in (("prediction", prediction), ("label", label)):
        if tensor.is_floating_point() or tensor.is_complex():
            raise ValueError(f"{name} must hold integer class ids, found dtype {tensor.dtype}")
    label = label.to(prediction.device)
    counted = label != ignore_index
    true, predicted = label[counted].long(), prediction[counted].long()
    _check_ids("label", true, num_classes, f" (ignore_index is {ignore_index})")
    _check_ids("prediction", predicted, num_classes)
    pairs = true * num_classes + predicted
    return torch.bincount(pairs, minlength=num_classes**2).reshape(num_classes, num_classes)


def _check_ids(name: str, ids: Tensor, num_classes: int, remark: str = "") -> None:
    if ids.numel() == 0:
        return
    low, high = (int(value) for value in torch.aminmax(ids))
    if low < 0 or high >= num_classes:
        wrong = low if low < 0 else high
        raise ValueError(
            f"{name} holds class id {wrong}, expected 0..{num_classes - 1}{remark}; "
            "check num_classes and the dataset's label offset"
        )


def scores(confusion: Tensor, *, absent: str = "skip") -> dict[str, Any]:  # [K, K] counts
    """Scores of a confusion matrix, as fractions of 1.

    Definitions (Long et al., CVPR 2015): IoU_k = n_kk / (t_k + p_k - n_kk) and Acc_k = n_kk / t_k,
    with t_k the pixels of class k and p_k the pixels predicted as k. A class absent from truth and
    prediction has IoU NaN, one absent from the truth has Acc NaN; means skip NaN.

    Returns:
        `IoU` and `Acc`, float64 [K] on the CPU; `mIoU`, `mAcc` and `aAcc` (the fraction of pixels
        that are right) as floats, NaN where nothing was counted.

    Raises:
        ValueError: the matrix is not square.
    """
    if confusion.ndim != 2 or confusion.shape[0] != confusion.shape[1]:
        raise ValueError(f"a confusion matrix is [K, K], found {tuple(confusion.shape)}")
    counts = confusion.cpu().double()
    right, true, predicted = counts.diagonal(), counts.sum(1), counts.sum(0)
    iou = right / (true + predicted - right)  # 0 / 0 is NaN: absent from both
    accuracy = right / true
    weighted = (true / counts.sum() * iou)[true > 0].sum() if counts.sum() else torch.tensor(torch.nan)
    if absent == "zero":
        iou, accuracy = iou.nan_to_num(0.0), accuracy.nan_to_num(0.0)
    return {
        "IoU": iou,
        "Acc": accuracy,
        "mIoU": float(iou.nanmean()),
        "mAcc": float(accuracy.nanmean()),
        "aAcc": float(right.sum() / counts.sum()),
        "fwIoU": float(weighted),
        "pixels": true.long(),
    }
