"""Symmetric addition: at every stage a modality's features receive the sum of the others'.

Source: one way, Hazirbas et al., "FuseNet: Incorporating Depth into Semantic Segmentation via Fusion-based CNN
Architecture", ACCV 2016, section 3.1: the features of the depth branch are added, element by element, to those of the
RGB branch at the end of each encoder block. Original code: tum-vision/fusenet (Caffe, changes under GPLv3); written
anew. Ours differs: one backbone with private norms for all modalities (or two encoders with ``weights="separate"``)
instead of two VGG-16; the residual stages of that backbone instead of VGG's blocks; the rgbx decoder instead of
unpooling. Two ways is the usual symmetric counterpart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from rgbx.fusion.base import FusionMethod, SelectModality, check_known, fusion_method
from rgbx.layers import StackLayout, split_modalities, sum_of_others


class Addition(nn.Module):
    """x̂_m = x_m + scale · Σ_{k≠m} x_k for each receiver m; the others pass. One modality alone passes."""

    def __init__(self, layout: StackLayout, receivers: Sequence[str], scale: float) -> None:
        super().__init__()
        self.layout, self.receivers, self.scale = layout, tuple(receivers), scale

    def forward(
        self,
        x: Tensor,  # [M*N, C, H, W]
    ) -> Tensor:
        """Stage outputs [M*N, C, H, W]."""
        present = self.layout.present
        if len(present) == 1 or not set(present) & set(self.receivers):
            return x
        parts = list(split_modalities(x, self.layout).values())
        triples = zip(present, parts, sum_of_others(parts), strict=True)
        return torch.cat([torch.add(x, y, alpha=self.scale) if m in self.receivers else x for m, x, y in triples])

    def extra_repr(self) -> str:
        return f"receivers={self.receivers}, scale={self.scale}"


@fusion_method("addition")
@dataclass(frozen=True, kw_only=True)
class AdditionFusion(FusionMethod):
    """Addition at the stages' outputs, with no parameters. Any number of modalities; active from the first step.

    FuseNet is ``{"name": "addition", "receivers": ("rgb",), "predict_from": "rgb"}``. Two ways with scale 1, all
    modalities carry the same sum after a fused stage, and only private norms (or separate weights) tell them apart;
    another scale keeps them distinct.

    Attributes:
        receivers: names of the modalities that receive; None for all (two ways).
        scale: factor of what is received.
        predict_from: name of the modality whose features alone the decoder reads, for one prediction; where it is
            absent, the first present one serves. None for one prediction per modality and their ensemble.
    """

    receivers: tuple[str, ...] | None = None
    scale: float = 1.0
    predict_from: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.receivers, str) or (self.receivers is not None and not self.receivers):
            raise ValueError(f"fusion field receivers is {self.receivers!r}; expected a list of names, or None")
        if self.receivers is not None:
            object.__setattr__(self, "receivers", tuple(self.receivers))

    def fuse_stage(self, stage: nn.Module, channels: int, layout: StackLayout) -> nn.Module | None:
        """Adds at the stage's output."""
        receivers = layout.modalities if self.receivers is None else self.receivers
        check_known("receivers", receivers, layout)
        return Addition(layout, receivers, self.scale)

    def merge_features(self, channels: Sequence[int], layout: StackLayout) -> nn.Module | None:
        """Selects the predicting modality, if one is named."""
        if self.predict_from is None:
            return None
        check_known("predict_from", [self.predict_from], layout)
        return SelectModality(self.predict_from, layout)
