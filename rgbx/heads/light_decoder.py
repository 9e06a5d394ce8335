"""The default segmentation decoder: a light top-down pyramid, shared by all modalities."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from rgbx.layers import StackLayout, modality_norm


class ConvNormReLU(nn.Sequential):
    """Convolution without bias, norm for several modalities, ReLU."""

    def __init__(self, channels_in: int, channels_out: int, kernel: int, layout: StackLayout, norm: str) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels_in, channels_out, kernel, padding=kernel // 2, bias=False)
        self.norm = modality_norm(nn.BatchNorm2d(channels_out), layout, norm)
        self.act = nn.ReLU(inplace=True)


class LightDecoder(nn.Module):
    """Multi-scale decoder in the manner of a feature pyramid: laterals, top-down sums, one smoothing per level.

    A 1×1 convolution brings every stage to ``width`` channels; the deepest also receives its own global average as
    context. From deep to shallow, levels are upsampled bilinearly, added and smoothed by a 3×3 convolution; the
    classifier reads the finest level. Norms are private to a modality as in the backbone, all else is shared. Channel
    numbers come from the backbone.

    Source: Lin et al., "Feature Pyramid Networks for Object Detection" (arXiv 1612.03144), with image-level context
    as in ParseNet (arXiv 1506.04579).
    """

    def __init__(
        self,
        channels: Sequence[int],
        num_classes: int,
        layout: StackLayout,
        *,
        width: int = 128,
        dropout: float = 0.1,
        norm: str = "private",
    ) -> None:
        """Builds the decoder.

        Args:
            channels: channels of each backbone stage, shallow to deep.
            num_classes: K.
            layout: the backbone's stack layout.
            width: channels of every pyramid level.
            dropout: probability of dropping a channel before the classifier.
            norm: norm variant, see `rgbx.layers.modality_norm`.
        """
        super().__init__()
        self.laterals = nn.ModuleList([ConvNormReLU(c, width, 1, layout, norm) for c in channels])
        self.smooth = nn.ModuleList([ConvNormReLU(width, width, 3, layout, norm) for _ in channels[1:]])
        self.context = nn.Conv2d(channels[-1], width, 1)
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = nn.Conv2d(width, num_classes, 1)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Stage stacks [M*N, C_i, h_i, w_i], shallow to deep, to logits [M*N, K, h_0, w_0]."""
        laterals = [lateral(f) for lateral, f in zip(self.laterals, features, strict=True)]
        context = self.context(F.adaptive_avg_pool2d(features[-1], 1))
        x = laterals[-1] + context
        for lateral, smooth in zip(reversed(laterals[:-1]), reversed(self.smooth), strict=True):
            x = smooth(lateral + F.interpolate(x, size=lateral.shape[-2:], mode="bilinear", align_corners=False))
        return self.classifier(self.dropout(x))
