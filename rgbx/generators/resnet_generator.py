"""A residual generator for several modalities: shared convolutions, private instance norms, fused stages."""

from __future__ import annotations

from torch import Tensor, nn

from rgbx.fusion import FusionMethod
from rgbx.generators.image_generator import ImageGenerator, fuse_stages, initialise, instance_norm
from rgbx.layers import StackLayout

DOWN = 2  # convolutions of stride 2


class ResidualBlock(nn.Module):
    """x + norm(conv(dropout(ReLU(norm(conv(x)))))), 3×3 convolutions padded by reflection."""

    def __init__(self, channels: int, layout: StackLayout, norm: str, dropout: float) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, padding_mode="reflect", bias=False)
        self.norm1 = instance_norm(channels, layout, norm)
        self.act = nn.ReLU(inplace=True)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, padding_mode="reflect", bias=False)
        self.norm2 = instance_norm(channels, layout, norm)

    def forward(self, x: Tensor) -> Tensor:
        """[M*N, C, H, W] of the same shape."""
        return x + self.norm2(self.conv2(self.dropout(self.act(self.norm1(self.conv1(x))))))


class ConvBlock(nn.Sequential):
    """A convolution, private instance norm, ReLU."""

    def __init__(self, conv: nn.Conv2d | nn.ConvTranspose2d, layout: StackLayout, norm: str) -> None:
        super().__init__()
        self.conv = conv
        self.norm = instance_norm(conv.out_channels, layout, norm)
        self.act = nn.ReLU(inplace=True)


class ResNetGenerator(ImageGenerator):
    """A 7×7 convolution, two down-sampling ones, residual blocks at stride 4, two up-sampling ones, a 7×7 convolution.

    The fusion method has four stages: the two down-sampling convolutions (strides 2 and 4), the first ⌊blocks/2⌋ and
    the remaining residual blocks. It acts on their outputs, the last of which is what the decoder reads. A method that
    merges the modalities merges that output alone.

    Source: Johnson et al. (arXiv 1603.08155) as used by CycleGAN (arXiv 1703.10593, appendix); pix2pixHD's global
    generator (arXiv 1711.11585) has the same form. Here the instance norms have a scale and bias of each modality.
    """

    def __init__(
        self,
        layout: StackLayout,
        out_channels: int,
        *,
        in_channels: int = 3,
        width: int = 64,
        blocks: int = 9,
        dropout: float = 0.0,
        fusion: FusionMethod | None = None,
        norm: str = "private",
    ) -> None:
        """Builds the generator.

        Args:
            layout: which modalities there are.
            out_channels: channels of the image.
            in_channels: channels that every map is brought to.
            width: channels at full resolution; the residual blocks have four times as many.
            blocks: residual blocks, at least 2.
            dropout: probability of dropping a value inside a residual block.
            fusion: how modalities exchange features; None for no exchange.
            norm: ``"private"`` or ``"shared"``, see `rgbx.layers.modality_norm`.

        Raises:
            ValueError: for fewer than 2 blocks, or a fusion stage that does not exist.
        """
        super().__init__(layout, in_channels, out_channels, fusion)
        if blocks < 2:
            raise ValueError(f"blocks is {blocks}; expected at least 2, one before the middle and one after")
        self.multiple, self.smallest = 2**DOWN, 2 ** (DOWN + 1)  # two pixels at stride 4 for reflection and statistics
        widths = [width * 2**i for i in range(DOWN + 1)]
        if fusion is not None:
            self.merge = fusion.merge_features(widths[-1:], layout)
        variant = "shared" if self.concatenates_inputs else norm
        self.stem = ConvBlock(_seven(self.in_channels, width, bias=False), layout, variant)
        stages: list[nn.Sequential] = [
            ConvBlock(nn.Conv2d(c, 2 * c, 3, stride=2, padding=1, bias=False), layout, variant) for c in widths[:-1]
        ]
        for count in (blocks // 2, blocks - blocks // 2):
            stages.append(nn.Sequential(*(ResidualBlock(widths[-1], layout, variant, dropout) for _ in range(count))))
        fuse_stages(stages, [*widths[1:], widths[-1], widths[-1]], layout, fusion)
        self.stages = nn.ModuleList(stages)
        variant = "shared" if self.single_branch else norm
        self.up = nn.Sequential(*(ConvBlock(_double(c, c // 2), layout, variant) for c in reversed(widths[1:])))
        self.last = _seven(width, out_channels, bias=True)
        for part in (self.stem, self.stages, self.up, self.last):
            initialise(part)

    def translate(self, x: Tensor) -> Tensor:
        """Input stack [M*N, in_channels, H, W] to images before tanh, [M*N, out_channels, H, W]."""
        x = self.stem(x)
        for stage in self.stages:
            x = stage(x)
        if self.merge is not None:
            (x,) = self.merge([x])
        return self.last(self.up(x))


def _seven(channels_in: int, channels_out: int, *, bias: bool) -> nn.Conv2d:
    return nn.Conv2d(channels_in, channels_out, 7, padding=3, padding_mode="reflect", bias=bias)


def _double(channels_in: int, channels_out: int) -> nn.ConvTranspose2d:
    return nn.ConvTranspose2d(channels_in, channels_out, 3, stride=2, padding=1, output_padding=1, bias=False)
