"""A generator on the features of a segmentation backbone, which can serve both tasks at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from torch import Tensor, nn

from rgbx.generators.image_generator import pad_to_multiple
from rgbx.heads.image_decoder import ImageDecoder
from rgbx.layers import StackLayout


class FeatureBackbone(Protocol):
    """What a generator asks of a backbone; `rgbx.backbones.SharedBackbone` gives it."""

    layout: StackLayout
    channels: tuple[int, ...]
    strides: tuple[int, ...]
    single_branch: bool

    def __call__(self, inputs: Mapping[str, Tensor]) -> list[Tensor]: ...


class BackboneGenerator(nn.Module):
    """Features of a shared backbone and an `ImageDecoder`.

    The backbone may be the one that a segmentor uses: `decode` makes images of features that were computed once for
    several heads. How the maps are normalised is up to the caller; pretrained backbones expect theirs.

    Attributes:
        layout: the backbone's.
        single_branch: whether the backbone's fusion method joins the modalities, so that there is one image.
    """

    def __init__(
        self, backbone: FeatureBackbone, out_channels: int, *, width: int = 128, norm: str = "private"
    ) -> None:
        """Builds the generator.

        Args:
            backbone: a built network.
            out_channels: channels of the image.
            width: channels of the decoder's pyramid.
            norm: norm variant of the decoder, ``"private"`` or ``"shared"``.
        """
        super().__init__()
        self.backbone: Any = backbone
        self.layout, self.single_branch = backbone.layout, backbone.single_branch
        self.decoder = ImageDecoder(
            backbone.channels,
            out_channels,
            backbone.layout,
            width=width,
            stride=backbone.strides[0],
            norm="shared" if backbone.single_branch else norm,
        )

    def forward(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Images made from the modalities given.

        Args:
            inputs: normalised maps [N, 1 or 3, H, W] of any non-empty subset of the modalities, equal in size.

        Returns:
            Stack [M*N, out_channels, H, W] in [-1, 1], see `ImageGenerator.forward`.
        """
        height, width = next(iter(inputs.values())).shape[-2:] if inputs else (0, 0)  # the backbone refuses no input
        stride = self.backbone.strides[-1]
        padded = {name: pad_to_multiple(x, stride) for name, x in inputs.items()}
        with self.layout.holding(inputs):
            return self.decode(self.backbone(padded), (height, width))

    def decode(self, features: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
        """Images [M*N, out_channels, *size] of features of an image that was padded at the right and bottom.

        Args:
            features: the backbone's output for the modalities that `layout` says are present.
            size: (H, W) of the image before padding.
        """
        height, width = size
        return self.decoder(features)[..., :height, :width]
