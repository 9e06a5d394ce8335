"""A light decoder from backbone features to images."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from rgbx.layers import StackLayout, modality_norm

GROUPS = 8


def group_norm(channels: int, layout: StackLayout, norm: str, groups: int = GROUPS) -> nn.Module:
    """A group norm for several modalities, of as many groups as divide its channels.

    Groups keep no running statistics that ``"affine"`` could share, so that it means ``"private"`` here.
    """
    plain = nn.GroupNorm(math.gcd(groups, channels), channels)
    return modality_norm(plain, layout, "private" if norm == "affine" else norm)


class ConvGroupNormReLU(nn.Sequential):
    """Convolution without bias, group norm for several modalities, see `group_norm`, ReLU."""

    def __init__(
        self, channels_in: int, channels_out: int, kernel: int, layout: StackLayout, norm: str, groups: int = GROUPS
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels_in, channels_out, kernel, padding=kernel // 2, bias=False)
        self.norm = group_norm(channels_out, layout, norm, groups)
        self.act = nn.ReLU(inplace=True)


class ImageDecoder(nn.Module):
    """A feature pyramid down to the first stage's stride, then doublings up to full resolution.

    The pyramid is that of `LightDecoder`; each doubling is a bilinear one and a 3×3 convolution that halves the
    channels. Group norms, private to a modality, serve a batch of one image as well as a larger one and act alike in
    training and evaluation, as adversarial training asks.

    Source: Lin et al., "Feature Pyramid Networks for Object Detection" (arXiv 1612.03144); resizing before a
    convolution instead of a transposed one: Odena et al., "Deconvolution and Checkerboard Artifacts" (Distill 2016).
    """

    def __init__(
        self,
        channels: Sequence[int],
        out_channels: int,
        layout: StackLayout,
        *,
        width: int = 128,
        dropout: float = 0.0,
        stride: int = 4,
        norm: str = "private",
    ) -> None:
        """Builds the decoder.

        Args:
            channels: channels of each backbone stage, shallow to deep.
            out_channels: channels of the image.
            layout: the backbone's stack layout.
            width: channels of every pyramid level.
            dropout: probability of dropping a channel before the last convolution.
            stride: stride of the first stage, a power of two.
            norm: ``"private"``, or ``"shared"`` as for features of merged modalities.

        Raises:
            ValueError: for a stride that is no power of two, or too large for the width to be halved so often.
        """
        super().__init__()
        doublings = stride.bit_length() - 1
        if stride < 1 or stride != 2**doublings or width % stride:
            raise ValueError(f"stride is {stride}, width {width}; expected a power of two that divides the width")
        self.laterals = nn.ModuleList([ConvGroupNormReLU(c, width, 1, layout, norm) for c in channels])
        self.smooth = nn.ModuleList([ConvGroupNormReLU(width, width, 3, layout, norm) for _ in channels[1:]])
        widths = [width // 2**i for i in range(doublings + 1)]
        self.up = nn.ModuleList(
            [ConvGroupNormReLU(c, c // 2, 3, layout, norm) for c in widths[:-1]],
        )
        self.dropout = nn.Dropout2d(dropout)
        self.last = nn.Conv2d(widths[-1], out_channels, 3, padding=1)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Stage stacks [M*N, C_i, h_i, w_i], shallow to deep, to images [M*N, c, s*h_0, s*w_0], before any tanh."""
        laterals = [lateral(f) for lateral, f in zip(self.laterals, features, strict=True)]
        x = laterals[-1]
        for lateral, smooth in zip(reversed(laterals[:-1]), reversed(self.smooth), strict=True):
            x = smooth(lateral + F.interpolate(x, size=lateral.shape[-2:], mode="bilinear", align_corners=False))
        for block in self.up:
            x = block(F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False))
        return self.last(self.dropout(x))
