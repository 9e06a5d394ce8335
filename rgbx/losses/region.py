"""Losses over regions, from segmentation-models-pytorch; the rest of `rgbx.losses` does without that library."""

from __future__ import annotations

from torch import Tensor, nn

from rgbx._torchvision import ensure_torchvision
from rgbx.losses.segmentation import IGNORE_INDEX

ensure_torchvision()

from segmentation_models_pytorch.losses import DiceLoss, LovaszLoss  # noqa: E402


class RegionLoss(nn.Module):
    """A loss of that library, made zero where there are no labelled pixels: it is undefined there."""

    def __init__(self, loss: nn.Module) -> None:
        super().__init__()
        self.loss = loss

    def forward(
        self,
        logits: Tensor,  # [N, K, H, W]
        label: Tensor,  # int64 [N, H, W]
    ) -> Tensor:
        return self.loss(logits.float(), label) if (label != IGNORE_INDEX).any() else logits[:0].sum()


def dice() -> nn.Module:
    """Soft Dice loss: 1 - 2|X∩Y| / (|X| + |Y|), mean over all classes (Milletari et al., arXiv 1606.04797)."""
    return RegionLoss(DiceLoss("multiclass", ignore_index=IGNORE_INDEX))


def lovasz() -> nn.Module:
    """Lovász-softmax, mean over the classes present in the batch (Berman et al., arXiv 1705.08790)."""
    return RegionLoss(LovaszLoss("multiclass", ignore_index=IGNORE_INDEX))
