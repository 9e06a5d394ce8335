"""A merge of two modalities by cross-attention over global contexts, for the decoder.

Source: the feature fusion module (FFM) of CMX (arXiv 2203.04838), see `rgbx.fusion.rectification`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from rgbx.fusion.channel_norm import ChannelNorm
from rgbx.layers import ModalityLayer, StackLayout, split_modalities

HEAD_CHANNELS = 64


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

    def forward(self, x: Tensor) -> Tensor:
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

    def forward(self, x: Tensor) -> Tensor:
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

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Stage stacks [M*N, C_i, h_i, w_i] to maps [N, C_i, h_i, w_i]."""
        return [merge(x) for merge, x in zip(self.stages, features, strict=True)]
