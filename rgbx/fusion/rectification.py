"""Gated bidirectional rectification at every stage, and a merge by cross-attention for the decoder.

Source: Zhang et al., "CMX: Cross-Modal Fusion for RGB-X Semantic Segmentation with Transformers", T-ITS 2023 (arXiv
2203.04838): the cross-modal feature rectification module (FRM) here, the feature fusion module (FFM) in
`rgbx.fusion.cross_merge`. Original code: huaaaliu/RGBX_Semantic_Segmentation, no licence found; written anew. Ours
differs: one backbone with private norms (or separate encoders) instead of two MiT; the rgbx decoder.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from rgbx.fusion.base import FusionMethod, fusion_method
from rgbx.fusion.cross_merge import CrossMerge
from rgbx.layers import StackLayout, split_modalities


class Rectification(nn.Module):
    """x̂_1 = x_1 + λ_C u_2 ⊙ x_2 + λ_S v_2 ⊙ x_2, and the same with 1 and 2 exchanged.

    (u_1, u_2), weights per channel, come from the global averages and maxima of both modalities by an MLP; (v_1, v_2),
    weights per pixel, from both modalities' features by 1×1 convolutions; all through a sigmoid. λ_C = λ_S = 1/2.
    """

    LAMBDA_CHANNEL = 0.5
    LAMBDA_SPATIAL = 0.5

    def __init__(self, channels: int, layout: StackLayout, reduction: int) -> None:
        super().__init__()
        self.layout = layout
        hidden = max(1, 4 * channels // reduction)
        self.channel = nn.Sequential(
            nn.Conv2d(4 * channels, hidden, 1), nn.ReLU(), nn.Conv2d(hidden, 2 * channels, 1), nn.Sigmoid()
        )
        hidden = max(1, channels // reduction)
        self.spatial = nn.Sequential(
            nn.Conv2d(2 * channels, hidden, 1), nn.ReLU(), nn.Conv2d(hidden, 2, 1), nn.Sigmoid()
        )

    def forward(self, x: Tensor) -> Tensor:
        """Stage outputs [2*N, C, H, W]; one modality alone passes."""
        if self.layout.count == 1:
            return x
        parts = list(split_modalities(x, self.layout).values())
        joined = torch.cat(parts, dim=1)  # [N, 2C, H, W]
        pooled = torch.cat([joined.mean((2, 3), keepdim=True), joined.amax((2, 3), keepdim=True)], dim=1)
        channel = (self.LAMBDA_CHANNEL * self.channel(pooled)).chunk(2, dim=1)  # [N, C, 1, 1] each
        spatial = (self.LAMBDA_SPATIAL * self.spatial(joined)).chunk(2, dim=1)  # [N, 1, H, W] each
        offered = [(c + s) * part for c, s, part in zip(channel, spatial, parts, strict=True)]
        return torch.cat([parts[0] + offered[1], parts[1] + offered[0]])


@fusion_method("rectification")
@dataclass(frozen=True, kw_only=True)
class RectificationFusion(FusionMethod):
    """Rectification at the stages' outputs for two modalities, and by default a merge for one prediction.

    At first all gates are about one half, so that a modality receives about half of the other. With one modality
    present nothing is rectified, and the merge pairs the modality with itself. With the authors' r = 1 a stage of C
    channels adds about 26 C² weights by FRM and 17 C² by FFM: 15 million to ResNet-18's 11, and 240 million to
    ResNet-50's 24, so choose a larger r there.

    Attributes:
        merge: whether FFM merges the modalities at every stage for one prediction; without it each modality predicts.
        reduction: r, by which hidden layers are narrower.
    """

    merge: bool = True
    reduction: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.reduction < 1:
            raise ValueError(f"fusion field reduction is {self.reduction}; expected a whole number of at least 1")

    def fuse_stage(self, stage: nn.Module, channels: int, layout: StackLayout) -> nn.Module | None:
        """Rectifies the stage's output."""
        return Rectification(channels, layout, self.reduction) if _is_pair(layout) else None

    def merge_features(self, channels: Sequence[int], layout: StackLayout) -> nn.Module | None:
        """Merges all stages, also those that are not rectified."""
        if not self.merge or not _is_pair(layout):
            return None
        return CrossMerge(channels, layout, self.reduction)


def _is_pair(layout: StackLayout) -> bool:
    if len(layout.modalities) > 2:
        raise ValueError(
            f"rectification weighs pairs and is defined for two modalities, found {list(layout.modalities)}; "
            "choose another fusion method"
        )
    return len(layout.modalities) == 2
