"""The confusion matrix of class maps, counted exactly on the device that holds them."""

from __future__ import annotations

import torch
from torch import Tensor

from rgbx.metrics.histogram import add_by_id

BYTE = 256


def confusion_matrix(
    prediction: Tensor,  # [...] any integer dtype, ids 0..K-1
    label: Tensor,  # [...] ids 0..K-1 or ignore_index
    num_classes: int,
    *,
    ignore_index: int = 255,
) -> Tensor:
    """Counts pixels by true class (row) and predicted class (column).

    Pixels whose label is `ignore_index` are not counted, whatever was predicted there. On a GPU the host waits once, to
    learn whether all ids were in range.

    Returns:
        int64 [K, K] on the device of `prediction`; exact for any number of pixels.

    Raises:
        ValueError: shapes differ, a floating dtype, or an id outside its range.
    """
    check_class_maps(prediction, label)
    if prediction.numel() == 0:
        return torch.zeros(num_classes, num_classes, dtype=torch.int64, device=prediction.device)
    label = label.to(prediction.device)
    as_bytes = None
    if prediction.device.type == "cpu" and num_classes <= BYTE:
        as_bytes = _to_bytes(prediction), _to_bytes(label)
    if as_bytes is None or as_bytes[0] is None or as_bytes[1] is None:
        counts, expected = _count_any(prediction, label, num_classes, ignore_index)
    else:
        counts, expected = _count_bytes(as_bytes[0], as_bytes[1], num_classes, ignore_index)
    if bool(counts.sum() != expected):
        _refuse(prediction, label, num_classes, ignore_index)
    return counts


def check_class_maps(
    prediction: Tensor,  # [...]
    label: Tensor,  # [...]
) -> None:
    """Refuses maps that differ in shape or do not hold integers.

    Raises:
        ValueError: for either.
    """
    if prediction.shape != label.shape:
        raise ValueError(
            f"prediction and label must have one shape, found {tuple(prediction.shape)} and {tuple(label.shape)}"
        )
    for name, tensor in (("prediction", prediction), ("label", label)):
        if tensor.is_floating_point() or tensor.is_complex():
            raise ValueError(f"{name} must hold integer class ids, found dtype {tensor.dtype}")


def check_ids(
    name: str,
    ids: Tensor,  # [...]
    num_classes: int,
    remark: str = "",
) -> None:
    """Refuses class ids outside 0..K-1.

    Raises:
        ValueError: with one of the wrong ids.
    """
    if ids.numel() == 0:
        return
    low, high = (int(value) for value in torch.aminmax(ids))
    if low < 0 or high >= num_classes:
        wrong = low if low < 0 else high
        raise ValueError(
            f"{name} holds class id {wrong}, expected 0..{num_classes - 1}{remark}; "
            "check num_classes and the dataset's label offset"
        )


def _to_bytes(
    ids: Tensor,  # [...]
) -> Tensor | None:
    """The ids as uint8; None where one does not fit."""
    if ids.dtype == torch.uint8:
        return ids
    ids = ids if ids.dtype.is_signed else ids.long()
    low, high = torch.aminmax(ids)
    return ids.to(torch.uint8) if low >= 0 and high < BYTE else None


def _count_bytes(
    prediction: Tensor,  # uint8 [...]
    label: Tensor,  # uint8 [...]
    num_classes: int,
    ignore_index: int,
) -> tuple[Tensor, Tensor]:
    """Counts [K, K], and how many pixels they should hold, from one table of all pairs of uint8 ids."""
    pairs = label.to(torch.int32).mul_(BYTE).add_(prediction)
    table = add_by_id(pairs.flatten(), BYTE**2).view(BYTE, BYTE)
    if 0 <= ignore_index < BYTE:
        table[ignore_index] = 0
    return table[:num_classes, :num_classes].clone(), table.sum()


def _count_any(
    prediction: Tensor,  # [...]
    label: Tensor,  # [...]
    num_classes: int,
    ignore_index: int,
) -> tuple[Tensor, Tensor]:
    """The same for any ids and device: a frame around the matrix takes what is out of range, a last row the ignored."""
    rows, columns = num_classes + 3, num_classes + 2
    label = label.long()
    row = label.clamp(-1, num_classes).masked_fill_(label == ignore_index, num_classes + 1)
    pairs = torch.add(prediction.long().clamp(-1, num_classes), row, alpha=columns).add_(columns + 1)
    table = add_by_id(pairs.flatten(), rows * columns).view(rows, columns)
    inner = slice(1, num_classes + 1)
    return table[inner, inner].contiguous(), table[:-1].sum()


def _refuse(
    prediction: Tensor,  # [...]
    label: Tensor,  # [...]
    num_classes: int,
    ignore_index: int,
) -> None:
    label = label.long()
    counted = label != ignore_index
    check_ids("label", label[counted], num_classes, f" (ignore_index is {ignore_index})")
    check_ids("prediction", prediction.long()[counted], num_classes)
