"""Gated bidirectional rectification at every stage, and a merge by cross-attention for the decoder.

Source: Zhang et al., "CMX: Cross-Modal Fusion for RGB-X Semantic Segmentation with Transformers", T-ITS 2023 (arXiv
2203.04838): the cross-modal feature rectification module (FRM) and the feature fusion module (FFM). Original code:
huaaaliu/RGBX_Semantic_Segmentation, no licence found; written anew. Ours differs: one backbone with private norms (or
separate encoders) instead of two MiT; the rgbx decoder.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from rgbx.fusion.base import ChannelNorm, FusionMethod, fusion_method
from rgbx.layers import ModalityLayer, StackLayout, split_modalities

HEAD_CHANNELS = 64


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

    def forward(
        self,
        x: Tensor,  # [2*N, C, H, W]
    ) -> Tensor:
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


class CrossPath(nn.Module):
    """Exchange of global contexts; for each modality m, with the other's context G_k:

    (y_m, q_m) = ReLU(P_m x_m); (K_m, V_m) = W_m q_m; G_m = softmax(K_mᵀ V_m / √d); a_m = q_m G_k;
    out_m = norm_m(x_m + L_m [y_m, a_m]).

    K and V hold a row for each pixel, so that G is d×d per head whatever the size of the map and the cost grows
    linearly with it. Heads have about 64 channels, as in the authors' networks. All layers are private to a modality.
    A modality alone reads its own context.
    """

    def __init__(self, channels: int, layout: StackLayout, reduction: int) -> None:
        super().__init__()
        self.layout = layout
        inner = max(1, channels // reduction)
        self.heads = next(h for h in range(max(1, inner // HEAD_CHANNELS), 0, -1) if inner % h == 0)
        self.project = ModalityLayer(nn.Conv2d(channels, 2 * inner, 1), layout)
        self.key_value = ModalityLayer(nn.Conv2d(inner, 2 * inner, 1, bias=False), layout)
        self.combine = ModalityLayer(nn.Conv2d(2 * inner, channels, 1), layout)
        self.norm = ModalityLayer(ChannelNorm(channels), layout)

    def forward(
        self,
        x: Tensor,  # [M*N, C, H, W]
    ) -> Tensor:
        """[M*N, C, H, W] to the same."""
        y, q = self.project(x).relu().chunk(2, dim=1)
        k, v = (t.flatten(2).unflatten(1, (self.heads, -1)) for t in self.key_value(q).chunk(2, dim=1))  # [.., h, d, L]
        context = (k @ v.transpose(-1, -2) * k.shape[2] ** -0.5).softmax(-2)  # [M*N, h, d, d]
        context = context.unflatten(0, (self.layout.count, -1)).roll(1, 0).flatten(0, 1)
        attended = context.transpose(-1, -2) @ q.flatten(2).unflatten(1, (self.heads, -1))
        return self.norm(x + self.combine(torch.cat([y, attended.reshape(q.shape)], dim=1)))


class StageMerge(nn.Module):
    """Two modalities' maps of one stage to one: cross path, then channel embedding of both joined as channels.

    out = BN(R z + BN(W3 ReLU(depthwise 3×3 (W1 z)))) with z = [out_1, out_2]. A modality alone takes both places in z.
    """

    def __init__(self, channels: int, layout: StackLayout, reduction: int) -> None:
        super().__init__()
        self.layout = layout
        inner = max(1, channels // reduction)
        self.cross = CrossPath(channels, layout, reduction)
        self.residual = nn.Conv2d(2 * channels, channels, 1, bias=False)
        self.embed = nn.Sequential(
            nn.Conv2d(2 * channels, inner, 1),
            nn.Conv2d(inner, inner, 3, padding=1, groups=inner),
            nn.ReLU(),
            nn.Conv2d(inner, channels, 1),
            nn.BatchNorm2d(channels),
        )
        self.norm = nn.BatchNorm2d(channels)

    def forward(
        self,
        x: Tensor,  # [M*N, C, H, W]
    ) -> Tensor:
        """[M*N, C, H, W] to [N, C, H, W], M being 1 or 2."""
        crossed = self.cross(x)
        parts = list(split_modalities(crossed, self.layout).values())
        joined = torch.cat(parts if len(parts) == 2 else 2 * parts, dim=1)
        return self.norm(self.residual(joined) + self.embed(joined))


class CrossMerge(nn.Module):
    """`StageMerge` at every stage."""

    def __init__(self, channels: Sequence[int], layout: StackLayout, reduction: int = 1) -> None:
        super().__init__()
        self.stages = nn.ModuleList([StageMerge(c, layout, reduction) for c in channels])

    def forward(
        self,
        features: Sequence[Tensor],  # [M*N, C_i, h_i, w_i]
    ) -> list[Tensor]:
        """Stage stacks [M*N, C_i, h_i, w_i] to maps [N, C_i, h_i, w_i]."""
        return [merge(x) for merge, x in zip(self.stages, features, strict=True)]


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
