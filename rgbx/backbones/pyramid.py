"""Maps at four strides from the one map of a plain transformer.

Source: the simple feature pyramid of Li et al., "Exploring Plain Vision Transformer Backbones for Object Detection"
(ViTDet), ECCV 2022 (arXiv 2203.16527), section 3: all levels are made of the last map alone. Ours differs: a norm
before the levels, which stands for the network's last one, and levels as wide as the network where that is less.
"""

from __future__ import annotations

from torch import Tensor, nn

from rgbx.fusion.base import ChannelNorm

WIDTH = 256  # of a level at most


class FeaturePyramid(nn.Module):
    """Levels at strides from the last map of a network of one stride.

    Transposed convolutions of 2x2 make a map larger, each with half the channels, a norm and GELU between two of them;
    maxima of 2x2 make it smaller. A 1x1 and a 3x3 convolution follow, each with a norm.

    Args:
        channels: C of the map.
        stride: of it, a power of 2.
        strides: of the levels, powers of 2.
    """

    def __init__(self, channels: int, stride: int, strides: tuple[int, ...]) -> None:
        super().__init__()
        self.width = min(WIDTH, channels)
        self.norm = ChannelNorm(channels)
        self.levels = nn.ModuleList([_level(channels, stride, wanted, self.width) for wanted in strides])

    def forward(
        self,
        x: Tensor,  # [M*N, C, h, w]
    ) -> list[Tensor]:
        """Maps [M*N, width, h_i, w_i], one for each stride."""
        x = self.norm(x)
        return [level(x) for level in self.levels]


def _level(channels: int, stride: int, wanted: int, width: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    while stride > wanted:
        if layers:
            layers += [ChannelNorm(channels), nn.GELU()]
        layers.append(nn.ConvTranspose2d(channels, channels // 2, 2, 2))
        channels, stride = channels // 2, stride // 2
    while stride < wanted:
        layers.append(nn.MaxPool2d(2))
        stride *= 2
    layers += [nn.Conv2d(channels, width, 1, bias=False), ChannelNorm(width)]
    return nn.Sequential(*layers, nn.Conv2d(width, width, 3, padding=1, bias=False), ChannelNorm(width))
