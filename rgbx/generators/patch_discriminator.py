"""The PatchGAN discriminator."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm as normalise_spectrum

from rgbx._text import one_of
from rgbx.generators.image_generator import initialise

NORMS = ("instance", "batch", "none")
WIDEST = 8  # times the width of the first block


class PatchDiscriminator(nn.Module):
    """Judges overlapping patches of an image, 70×70 pixels with three blocks of stride 2.

    Convolutions of kernel 4: `layers` of stride 2, one of stride 1, each followed by a norm (but the first) and leaky
    ReLU, and one of stride 1 to a single logit. It knows no modalities: all predictions of a stack are judged by the
    same weights, usually as the channels of [input, target].

    Source: Isola et al., "Image-to-Image Translation with Conditional Adversarial Networks" (arXiv 1611.07004, section
    6.1.2), with affine instance norms as in Wang et al. (arXiv 2011.05005); spectral norm: Miyato et al. (arXiv
    1802.05957, algorithm 1).
    """

    def __init__(
        self,
        in_channels: int,
        *,
        width: int = 64,
        layers: int = 3,
        spectral_norm: bool = False,
        norm: str = "instance",
    ) -> None:
        """Builds the discriminator.

        Args:
            in_channels: channels of the image and what it is conditioned on.
            width: channels of the first block; they double up to eight times that.
            layers: blocks of stride 2.
            spectral_norm: divide every weight by its largest singular value, estimated by one power iteration in
                each pass of training (three per step: the generator's, real and generated images).
            norm: ``"instance"`` (statistics of each image, also in evaluation), ``"batch"`` or ``"none"``.

        Raises:
            ValueError: for an unknown norm or fewer than one layer.
        """
        super().__init__()
        if norm not in NORMS or layers < 1:
            raise ValueError(
                f"norm is {norm!r}, layers {layers}; expected at least 1 layer and one of {one_of(NORMS, norm)}"
            )
        self.layers = layers
        channels = [in_channels, *(width * min(2**i, WIDEST) for i in range(layers + 1))]
        blocks = []
        for i in range(layers + 1):
            conv = nn.Conv2d(channels[i], channels[i + 1], 4, stride=2 if i < layers else 1, padding=1)
            inner = _norm(norm if i else "none", channels[i + 1])
            blocks.append(nn.Sequential(conv, *inner, nn.LeakyReLU(0.2, inplace=True)))
        blocks.append(nn.Sequential(nn.Conv2d(channels[-1], 1, 4, padding=1)))
        self.blocks = nn.ModuleList(blocks)
        initialise(self.blocks)
        if spectral_norm:
            for block in blocks:
                normalise_spectrum(block[0])

    def forward(self, x: Tensor) -> list[Tensor]:
        """Features of every block for images [N, C, H, W]; the last are the logits of the patches [N, 1, h, w].

        Raises:
            ValueError: for an image that is too small for one patch.
        """
        smallest = 3 * 2**self.layers
        if min(x.shape[-2:]) < smallest:
            raise ValueError(
                f"the image is {x.shape[-2]}×{x.shape[-1]}; a discriminator of {self.layers} layers needs at least "
                f"{smallest}×{smallest}"
            )
        features = []
        for block in self.blocks:
            x = block(x)
            features.append(x)
        return features


def _norm(norm: str, channels: int) -> list[nn.Module]:
    if norm == "none":
        return []
    return [nn.BatchNorm2d(channels) if norm == "batch" else nn.InstanceNorm2d(channels, affine=True)]
