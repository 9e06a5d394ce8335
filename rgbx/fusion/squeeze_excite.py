"""Squeeze-excite fusion: gates per channel, from global averages, weigh the modalities that are added into one stream.

Source: the attention feature complementary module of Sun et al., "Real-time Fusion Network for RGB-D Semantic
Segmentation Incorporating Unexpected Obstacle Detection for Road-driving Images" (RFNet), RA-L 2020 (arXiv
2002.10570). Original code: AHupuJR/RFNet, no licence found; written anew. Ours differs: one backbone with private
norms (or separate encoders) instead of two ResNet-18; the decoder reads the fused features at every stage, where the
released code hands it the RGB branch's own ahead of the fusion at the first three; the light decoder instead of
pyramid pooling.

SSMA (Valada et al., IJCV 2019, arXiv 1808.03833) instead gates concatenated features by 3×3 convolutions with a
bottleneck, a weight per pixel and channel, and fuses them only for the decoder; its last convolution alone would hold
18 C² weights at a stage of C channels, 75 million at ResNet-50's last.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from rgbx.fusion.base import FusionMethod, SelectModality, check_known, fusion_method
from rgbx.layers import ModalityLayer, StackLayout, split_modalities


class SqueezeExcite(nn.Module):
    """z_m = σ(W_m mean(x_m) + b_m) ⊙ x_m; the receiver goes on with Σ_k z_k, every other modality with its z_m.

    The mean is over the pixels. A modality alone, or a stack without the receiver, passes unchanged.
    """

    def __init__(self, channels: int, layout: StackLayout, receiver: str) -> None:
        super().__init__()
        self.layout, self.receiver = layout, receiver
        self.gate = ModalityLayer(nn.Conv2d(channels, channels, 1), layout)

    def forward(
        self,
        x: Tensor,  # [M*N, C, H, W]
    ) -> Tensor:
        """Stage outputs [M*N, C, H, W]."""
        present = self.layout.present
        if len(present) == 1 or self.receiver not in present:
            return x
        gated = list(split_modalities(x * self.gate(x.mean((2, 3), keepdim=True)).sigmoid(), self.layout).values())
        fused = torch.stack(gated).sum(0) if len(gated) > 2 else gated[0] + gated[1]
        return torch.cat([fused if name == self.receiver else z for name, z in zip(present, gated, strict=True)])

    def extra_repr(self) -> str:
        return f"receiver={self.receiver}"


@fusion_method("squeeze_excite")
@dataclass(frozen=True, kw_only=True)
class SqueezeExciteFusion(FusionMethod):
    """Squeeze-excite fusion of all modalities into one, which alone predicts.

    The gates are private to a modality, C² + C parameters each. At first they are about one half, so that the stream
    starts as about half the sum of all. Any number of modalities.

    Attributes:
        receiver: name of the modality that the others are added to and whose features the decoder reads; None for the
            first declared (RGB, as a rule). Where it is absent nothing is added, and the first present one predicts.
    """

    receiver: str | None = None

    def fuse_stage(self, stage: nn.Module, channels: int, layout: StackLayout) -> nn.Module | None:
        """Gates and adds at the stage's output."""
        if len(layout.modalities) == 1:
            return None
        return SqueezeExcite(channels, layout, self._receiver(layout))

    def merge_features(self, channels: Sequence[int], layout: StackLayout) -> nn.Module | None:
        """Selects the receiver."""
        return SelectModality(self._receiver(layout), layout)

    def _receiver(self, layout: StackLayout) -> str:
        name = layout.modalities[0] if self.receiver is None else self.receiver
        check_known("receiver", [name], layout)
        return name
