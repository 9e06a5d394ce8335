"""RefineNet's decoder: the one that AsymFusion's published results use, shared by all modalities.

Source: Lin et al., "RefineNet: Multi-Path Refinement Networks for High-Resolution Semantic Segmentation" (CVPR 2017,
arXiv 1611.06612). Written anew after a description of the network that the authors of AsymFusion (arXiv 2108.05009)
released, and equal to it: a 3×3 convolution joins two paths, and the pooled path has no ReLU between its stages.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from rgbx.layers import StackLayout

ADAPT_UNITS, REFINE_UNITS, POOLINGS = 2, 3, 4


def conv3x3(channels_in: int, channels_out: int, *, bias: bool = False) -> nn.Conv2d:
    """A 3×3 convolution that keeps the map's size."""
    return nn.Conv2d(channels_in, channels_out, 3, padding=1, bias=bias)


class ResidualUnit(nn.Module):
    """r + conv(ReLU(conv(r))) with r = ReLU(x): the shortcut carries the rectified input, as in the released network.

    The paper draws the shortcut before the ReLU; the released one works in place and so rectifies the shortcut too.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = conv3x3(channels, channels, bias=True)
        self.conv2 = conv3x3(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """[M*N, C, h, w] of the same shape."""
        r = F.relu(x)
        return self.conv2(F.relu(self.conv1(r), inplace=True)) + r


class ChainedPooling(nn.Module):
    """x plus the output of every stage of a chain of 5×5 max-pooling and convolution."""

    def __init__(self, channels: int, stages: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList([conv3x3(channels, channels) for _ in range(stages)])

    def forward(self, x: Tensor) -> Tensor:
        """[M*N, C, h, w] of the same shape."""
        top = x
        for conv in self.convs:
            top = conv(F.max_pool2d(top, 5, stride=1, padding=2))
            x = x + top
        return x


class RefineLevel(nn.Module):
    """One level: its stage's features, joined by the level above where there is one, pooled and refined.

    Args:
        channels: of the stage's features.
        width: of the level.
        width_out: channels handed to the level below; None at the finest level, which has no convolution for that.
        deepest: whether there is no level above.
    """

    def __init__(self, channels: int, width: int, width_out: int | None, *, deepest: bool) -> None:
        super().__init__()
        self.lateral = conv3x3(channels, width)
        self.adapt = nn.Sequential(*[ResidualUnit(width) for _ in range(ADAPT_UNITS)])
        self.merge = nn.Identity() if deepest else conv3x3(width, width)
        self.pooling = ChainedPooling(width, POOLINGS)
        self.refine = nn.Sequential(*[ResidualUnit(width) for _ in range(REFINE_UNITS)])
        self.output = nn.Identity() if width_out is None else conv3x3(width, width_out)

    def forward(
        self,
        feature: Tensor,  # [M*N, channels, h, w]
        above: Tensor | None,  # [M*N, width, h2, w2]
    ) -> Tensor:
        x = self.merge(self.adapt(self.lateral(feature)))  # [M*N, width, h, w]
        if above is not None:
            x = x + F.interpolate(above, size=x.shape[-2:], mode="bilinear", align_corners=True)
        return self.output(self.refine(self.pooling(F.relu(x))))


class RefineNetDecoder(nn.Module):
    """RefineNet on the stack of all modalities, which share every weight; it has no norms.

    From deep to shallow, each level joins its stage with the upsampled level above, whatever their sizes. The deepest
    level is twice as wide as the others.
    """

    def __init__(
        self,
        channels: Sequence[int],
        num_classes: int,
        layout: StackLayout,
        *,
        width: int = 256,
        dropout: float = 0.5,
        norm: str = "private",
    ) -> None:
        """Builds the decoder.

        Args:
            channels: channels of each backbone stage, shallow to deep.
            num_classes: K.
            layout: taken as every decoder takes it; nothing here depends on which modalities are in the stack.
            width: channels of every level but the deepest, which has twice as many.
            dropout: probability of dropping a value of the two deepest stages' features and before the classifier.
            norm: taken as every decoder takes it; there is no norm here.
        """
        super().__init__()
        last = len(channels) - 1
        self.levels = nn.ModuleList(
            RefineLevel(c, 2 * width if i == last else width, width if i else None, deepest=i == last)
            for i, c in enumerate(channels)
        )
        self.dropout = nn.Dropout(dropout)
        self.classifier = conv3x3(width if last else 2 * width, num_classes, bias=True)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Stage stacks [M*N, C_i, h_i, w_i], shallow to deep, to logits [M*N, K, h_0, w_0]."""
        x: Tensor | None = None
        for i, (level, feature) in enumerate(reversed(list(zip(self.levels, features, strict=True)))):
            x = level(self.dropout(feature) if i < 2 else feature, x)
        return self.classifier(self.dropout(x))
