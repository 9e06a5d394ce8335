"""The U-Net of pix2pix for several modalities: shared convolutions, private instance norms, fused encoder blocks."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rgbx.fusion import FusionMethod
from rgbx.generators.image_generator import ImageGenerator, fuse_stages, initialise, instance_norm
from rgbx.layers import StackLayout

DROPOUT_BLOCKS = 3
WIDEST = 8  # times the width of the first block


class EncoderBlock(nn.Sequential):
    """Leaky ReLU (not in the first block), convolution of stride 2, private instance norm (not at either end)."""

    def __init__(self, channels_in: int, channels_out: int, norm: nn.Module | None, *, first: bool) -> None:
        super().__init__()
        if not first:
            self.act = nn.LeakyReLU(0.2)  # not in place: the skip connection reads the same tensor
        self.conv = nn.Conv2d(channels_in, channels_out, 4, stride=2, padding=1)
        if norm is not None:
            self.norm = norm


class DecoderBlock(nn.Sequential):
    """ReLU, transposed convolution of stride 2, private instance norm (not in the last block), dropout."""

    def __init__(self, channels_in: int, channels_out: int, norm: nn.Module | None, *, dropout: float) -> None:
        super().__init__()
        self.act = nn.ReLU()
        self.conv = nn.ConvTranspose2d(channels_in, channels_out, 4, stride=2, padding=1)
        if norm is not None:
            self.norm = norm
        if dropout:
            self.dropout = nn.Dropout(dropout)


class UNetGenerator(ImageGenerator):
    """U-Net of `depth` blocks down and up whose convolutions serve all modalities.

    Every convolution has kernel 4 and stride 2, so that 2^depth must divide the sides: other images are padded. The
    channels double from `width` up to 8 * `width`. The first and the innermost encoder block have no norm, neither has
    the last decoder block; the norms between them use the statistics of each image, in training and in evaluation, and
    have a private scale and bias per modality. The first three decoder blocks drop values in training.

    Fusion acts after the private norm of encoder blocks 2 to depth - 1, which are stages 1 to depth - 2 of the fusion
    method (stage 1 has stride 4, as in a backbone). Both the next block and the skip connection read the fused
    features, before any activation. In the original code an activation in place lets the skip read the leaky ReLU of
    them; that is the same network, as the decoder applies a ReLU to what it reads and ReLU(leaky ReLU(x)) = ReLU(x).

    A method that merges the modalities merges the outputs of all encoder blocks, and the decoder runs once.

    Source: Isola et al., "Image-to-Image Translation with Conditional Adversarial Networks" (arXiv 1611.07004,
    section 6.1.1); shared convolutions and private instance norms as in Wang et al., "Deep Multimodal Fusion by Channel
    Exchanging" (arXiv 2011.05005, section 4.2), whose exchange is replaced by the fusion method: arXiv 2108.05009.
    """

    def __init__(
        self,
        layout: StackLayout,
        out_channels: int,
        *,
        in_channels: int = 3,
        width: int = 64,
        depth: int = 8,
        dropout: float = 0.5,
        fusion: FusionMethod | None = None,
        norm: str = "private",
    ) -> None:
        """Builds the generator.

        Args:
            layout: which modalities there are.
            out_channels: channels of the image.
            in_channels: channels that every map is brought to.
            width: channels of the first block.
            depth: blocks down, and up; 8 suits images of 256 pixels, 7 of 128.
            dropout: probability of dropping a value in the first three decoder blocks.
            fusion: how modalities exchange features; None for no exchange.
            norm: ``"private"`` or ``"shared"``, see `rgbx.layers.modality_norm`.

        Raises:
            ValueError: for a depth below 2, or a fusion stage that does not exist.
        """
        super().__init__(layout, in_channels, out_channels, fusion)
        if depth < 2:
            raise ValueError(f"depth is {depth}; a U-Net has at least 2 blocks down")
        self.multiple = self.smallest = 2**depth
        channels = [width * min(2**i, WIDEST) for i in range(depth)]
        if fusion is not None:
            self.merge = fusion.merge_features(channels, layout)
        encoder_norm = "shared" if self.concatenates_inputs else norm
        decoder_norm = "shared" if self.single_branch else norm
        encoder: list[EncoderBlock] = []
        for i, (inner, outer) in enumerate(zip(channels, [self.in_channels, *channels[:-1]], strict=True)):
            private = instance_norm(inner, layout, encoder_norm) if 0 < i < depth - 1 else None
            encoder.append(EncoderBlock(outer, inner, private, first=i == 0))
        fuse_stages(encoder[1:-1], channels[1:-1], layout, fusion)
        decoder = []
        for i, inner in reversed(list(enumerate(channels))):
            outer = channels[i - 1] if i else out_channels
            private = instance_norm(outer, layout, decoder_norm) if i else None
            rate = dropout if i and depth - i <= DROPOUT_BLOCKS else 0.0
            decoder.append(DecoderBlock(inner if i == depth - 1 else 2 * inner, outer, private, dropout=rate))
        self.encoder, self.decoder = nn.ModuleList(encoder), nn.ModuleList(decoder)
        initialise(self.encoder)
        initialise(self.decoder)

    def translate(self, x: Tensor) -> Tensor:
        """Input stack [M*N, in_channels, H, W] to images before tanh, [M*N, out_channels, H, W]."""
        skips = []
        for block in self.encoder:
            x = block(x)
            skips.append(x)
        if self.merge is not None:
            skips = self.merge(skips)
        x = self.decoder[0](skips[-1])
        for block, skip in zip(self.decoder[1:], reversed(skips[:-1]), strict=True):
            x = block(torch.cat([x, skip], dim=1))
        return x
