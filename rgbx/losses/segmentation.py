"""Segmentation losses on logits [N, K, H, W] and int64 labels [N, H, W] with 255 ignored.

Some losses also take logits at a decoder's size: `of_coarse` is the loss, and has the gradient, of what bilinear
resizing makes of them, to the last bits of float32, but the resized logits are never held.

Every loss is an exact zero, with zero gradient, on a batch without any labelled pixel. Dice and Lovász, which need
segmentation-models-pytorch, are in `rgbx.losses.region` and imported when one is built.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Mapping, Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rgbx._processes import shared_mean
from rgbx._text import one_of
from rgbx.ops import resized_cross_entropy

IGNORE_INDEX = 255
Value = str | float | Sequence[float] | None  # of a loss's option, or a summand's weight


def _pixel_losses(
    logits: Tensor,  # [N, K, H, W]
    label: Tensor,  # int64 [N, H, W]
    weight: Tensor | None = None,  # [K]
) -> Tensor:  # [N, H, W]
    return F.cross_entropy(logits, label, weight=weight, ignore_index=IGNORE_INDEX, reduction="none")


class CrossEntropy(nn.Module):
    """Mean cross-entropy over labelled pixels; with class weights the weighted mean, as torch defines it.

    Of several processes that train together it is that over the labelled pixels of all of them.

    Args:
        class_weights: K positive weights, e.g. by median frequency.
    """

    weight: Tensor | None

    def __init__(self, class_weights: Sequence[float] | None = None) -> None:
        super().__init__()
        weight = None if class_weights is None else torch.tensor(class_weights, dtype=torch.float32)
        self.register_buffer("weight", weight)

    def forward(
        self,
        logits: Tensor,  # [N, K, H, W]
        label: Tensor,  # int64 [N, H, W]
    ) -> Tensor:
        self._check(logits)
        losses = _pixel_losses(logits, label, self.weight)
        total = (label != IGNORE_INDEX).sum() if self.weight is None else self._weights(label).sum()
        return losses.sum() / shared_mean(total).clamp(min=torch.finfo(losses.dtype).tiny)

    def of_coarse(
        self,
        logits: Tensor,  # float32 [N, K, h, w]
        label: Tensor,  # int64 [N, H, W]
        size: tuple[int, int],
    ) -> Tensor:
        """The loss of the first H rows and W columns of the logits that are resized to `size`."""
        self._check(logits)
        weights = self._weights(label)
        losses, _ = resized_cross_entropy(logits, _known(label), weights, size)
        total = (label != IGNORE_INDEX).sum() if self.weight is None else weights.sum()
        return losses / shared_mean(total).clamp(min=torch.finfo(losses.dtype).tiny)

    def _check(
        self,
        logits: Tensor,  # [N, K, ...]
    ) -> None:
        if self.weight is not None and len(self.weight) != logits.shape[1]:
            raise ValueError(f"{len(self.weight)} class weights given; the logits have {logits.shape[1]} classes")

    def _weights(
        self,
        label: Tensor,  # int64 [N, H, W]
    ) -> Tensor:  # float32 [N, H, W]
        valid = label != IGNORE_INDEX
        return valid.float() if self.weight is None else torch.where(valid, self.weight[_known(label)], 0.0)


class OhemCrossEntropy(nn.Module):
    """Online hard example mining: cross-entropy over pixels whose true class has a probability below a threshold.

    At least ``min_kept`` of the labelled pixels with the largest losses are always kept.

    Args:
        threshold: probability of the true class below which a pixel counts as hard, in (0, 1).
        min_kept: fraction of the labelled pixels kept at least, in (0, 1].

    Source: Shrivastava et al. (arXiv 1604.03540), in the per-pixel form common in segmentation.
    """

    def __init__(self, threshold: float = 0.7, min_kept: float = 0.0625) -> None:
        super().__init__()
        if not 0 < threshold < 1 or not 0 < min_kept <= 1:
            raise ValueError(f"OHEM has threshold {threshold}, min_kept {min_kept}; expected (0, 1) and (0, 1]")
        self.limit, self.min_kept = -float(torch.tensor(threshold, device="cpu").log()), min_kept

    def forward(
        self,
        logits: Tensor,  # [N, K, H, W]
        label: Tensor,  # int64 [N, H, W]
    ) -> Tensor:
        losses = _pixel_losses(logits, label)[label != IGNORE_INDEX]
        if losses.numel() == 0:
            return logits[:0].sum()
        return losses[losses >= self._limit(losses.detach())].mean()

    def of_coarse(
        self,
        logits: Tensor,  # float32 [N, K, h, w]
        label: Tensor,  # int64 [N, H, W]
        size: tuple[int, int],
    ) -> Tensor:
        """The loss of the first H rows and W columns of the logits that are resized to `size`."""
        known, valid = _known(label), label != IGNORE_INDEX
        _, losses = resized_cross_entropy(logits.detach(), known, valid.float(), size)
        if not valid.any():
            return logits[:0].sum()
        kept = valid & (losses >= self._limit(losses[valid]))
        return resized_cross_entropy(logits, known, kept / kept.sum(), size)[0]

    def _limit(
        self,
        losses: Tensor,  # [pixels]
    ) -> Tensor:  # []
        """From which on they count."""
        count = max(1, round(self.min_kept * losses.numel()))
        return losses.topk(count).values[-1].clamp(max=self.limit)


class WeightedSum(nn.Module):
    """Σ w_i · loss_i."""

    def __init__(self, terms: Sequence[tuple[float, nn.Module]]) -> None:
        super().__init__()
        self.weights = [weight for weight, _ in terms]
        self.losses = nn.ModuleList([loss for _, loss in terms])

    def forward(
        self,
        logits: Tensor,  # [N, K, H, W]
        label: Tensor,  # int64 [N, H, W]
    ) -> Tensor:
        terms = [w * loss(logits, label) for w, loss in zip(self.weights, self.losses, strict=True)]
        return torch.stack(terms).sum()

    def of_coarse(
        self,
        logits: Tensor,  # float32 [N, K, h, w]
        label: Tensor,  # int64 [N, H, W]
        size: tuple[int, int],
    ) -> Tensor:
        """The loss of the first H rows and W columns of the logits that are resized to `size`."""
        losses = [cast(CrossEntropy, loss) for loss in self.losses]
        return torch.stack(
            [w * x.of_coarse(logits, label, size) for w, x in zip(self.weights, losses, strict=True)]
        ).sum()


def takes_coarse(loss: nn.Module) -> bool:
    """Whether a loss has `of_coarse` for what it is; a class of one's own that inherits it may be another loss."""
    if type(loss) is WeightedSum:
        return all(map(takes_coarse, loss.losses))
    return type(loss) in (CrossEntropy, OhemCrossEntropy)


def _known(
    label: Tensor,  # int64 [N, H, W]
) -> Tensor:  # int64 [N, H, W]
    """With class 0 in place of what is ignored."""
    return label.masked_fill(label == IGNORE_INDEX, 0)


LOSSES: dict[str, Callable[..., nn.Module] | str] = {
    "cross_entropy": CrossEntropy,
    "ohem": OhemCrossEntropy,
    "dice": "rgbx.losses.region:dice",
    "lovasz": "rgbx.losses.region:lovasz",
}


def build_loss(loss: str | Mapping[str, Value]) -> nn.Module:
    """Builds a loss from plain values.

    Args:
        loss: a name (``"cross_entropy"``, ``"ohem"``, ``"dice"``, ``"lovasz"``); a dict of ``name`` and the loss's own
            options; or a weighted sum by a dict of names to weights, e.g. ``{"cross_entropy": 1.0, "lovasz": 0.5}``.

    Raises:
        ValueError: for an unknown name.
    """
    if isinstance(loss, str):
        loss = {"name": loss}
    if "name" not in loss:
        return WeightedSum([(float(cast(float, weight)), build_loss(name)) for name, weight in loss.items()])
    options = dict(loss)
    name = options.pop("name")
    if not isinstance(name, str) or name not in LOSSES:
        raise ValueError(f"loss is {name!r}; expected one of {one_of(sorted(LOSSES), name)}")
    entry = LOSSES[name]
    make = pkgutil.resolve_name(entry) if isinstance(entry, str) else entry
    return make(**options)
