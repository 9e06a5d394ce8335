"""Decoders of segmentation-models-pytorch on a backbone's stages, with norms private to a modality.

The layers and what they compute are the library's; what is rgbx's own is which stages they read, that maps of any size
pass, and the classifier. They are imported when one is built.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from rgbx._torchvision import ensure_torchvision
from rgbx.heads.ham import full_precision
from rgbx.layers import StackLayout, modality_norm

ensure_torchvision()

from segmentation_models_pytorch.base.initialization import initialize_decoder  # noqa: E402
from segmentation_models_pytorch.decoders.deeplabv3 import decoder as deeplabv3  # noqa: E402
from segmentation_models_pytorch.decoders.fpn import decoder as fpn  # noqa: E402
from segmentation_models_pytorch.decoders.segformer import decoder as segformer  # noqa: E402
from segmentation_models_pytorch.decoders.upernet import decoder as upernet  # noqa: E402

PYRAMID, GROUPS = 4, 32  # levels of the library's FPN, and groups of its norms


class LibraryDecoder(nn.Module):
    """One of the library's decoders, dropout and a classifier, on the stack of all modalities.

    Norms are private to a modality, all else is shared. Layer and group norms keep no running statistics that
    ``"affine"`` could share, so that it means ``"private"`` for them.

    Attributes:
        pooled: whether a batch norm reads averages over whole images, so that a batch of one is too few to train on.
    """

    pooled = False

    def __init__(
        self,
        decoder: nn.Module,
        num_classes: int,
        layout: StackLayout,
        norm: str,
        *,
        width: int,
        dropout: float,
    ) -> None:
        super().__init__()
        initialize_decoder(decoder)
        _make_private(decoder, layout, norm)
        self.decoder = decoder
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = nn.Conv2d(width, num_classes, 1)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Stage stacks [M*N, C_i, h_i, w_i], shallow to deep, to logits [M*N, K, h_0, w_0]."""
        return self.classifier(self.dropout(self.decode(list(features))))

    def layer(self, name: str) -> nn.Module:
        """A layer of the library's module."""
        return self.decoder.get_submodule(name)

    def decode(
        self,
        features: list[Tensor],  # [M*N, C_i, h_i, w_i] each
    ) -> Tensor:
        """Stage stacks [M*N, C_i, h_i, w_i] to what is classified, [M*N, width, h_0, w_0]."""
        raise NotImplementedError


class SegFormerDecoder(LibraryDecoder):
    """SegFormer's: a linear layer on every stage, all on the finest grid, joined by one more.

    Source: Xie et al., "SegFormer: Simple and Efficient Design for Semantic Segmentation with Transformers" (NeurIPS
    2021, arXiv 2105.15203); layers of segmentation-models-pytorch.
    """

    def __init__(
        self,
        channels: Sequence[int],
        num_classes: int,
        layout: StackLayout,
        *,
        width: int = 256,
        dropout: float = 0.1,
        norm: str = "private",
    ) -> None:
        """Builds the decoder.

        Args:
            channels: channels of each backbone stage, shallow to deep.
            num_classes: K.
            layout: the backbone's stack layout.
            width: channels of every linear layer.
            dropout: probability of dropping a channel before the classifier.
            norm: norm variant, see `rgbx.layers.modality_norm`.
        """
        decoder = segformer.SegformerDecoder([0, 0, *channels], max(len(channels) + 1, 3), segmentation_channels=width)
        super().__init__(decoder, num_classes, layout, norm, width=width, dropout=dropout)

    def decode(
        self,
        features: list[Tensor],  # [M*N, C_i, h_i, w_i] each
    ) -> Tensor:
        """The library reads the grid off an image of four times its size; here it is the finest stage's."""
        size = features[0].shape[-2:]
        layers = zip(self.layer("mlp_stage").children(), reversed(features), strict=True)
        same = [F.interpolate(layer(x), size=size, mode="bilinear", align_corners=False) for layer, x in layers]
        return self.layer("fuse_stage")(torch.cat(same, dim=1))


class UPerNetDecoder(LibraryDecoder):
    """UPerNet's: a pyramid whose deepest level also knows averages over 1, 2, 3 and 6 parts of the image to a side.

    Source: Xiao et al., "Unified Perceptual Parsing for Scene Understanding" (ECCV 2018, arXiv 1807.10221); layers of
    segmentation-models-pytorch.
    """

    pooled = True

    def __init__(
        self,
        channels: Sequence[int],
        num_classes: int,
        layout: StackLayout,
        *,
        width: int = 256,
        dropout: float = 0.1,
        norm: str = "private",
    ) -> None:
        """Builds the decoder.

        Args:
            channels: channels of each backbone stage, shallow to deep.
            num_classes: K.
            layout: the backbone's stack layout.
            width: channels of every level.
            dropout: probability of dropping a channel before the classifier.
            norm: norm variant, see `rgbx.layers.modality_norm`.
        """
        decoder = upernet.UPerNetDecoder([0, 0, *channels], max(len(channels) + 1, 3), decoder_channels=width)
        for block in decoder.psp.blocks:
            block[0] = AverageOfParts(block[0].output_size)
        super().__init__(decoder, num_classes, layout, norm, width=width, dropout=dropout)

    def decode(
        self,
        features: list[Tensor],  # [M*N, C_i, h_i, w_i] each
    ) -> Tensor:
        """The library skips two stages of an encoder that starts at the image's own size."""
        return self.decoder([features[0], features[0], *features])


class DeepLabV3PlusDecoder(LibraryDecoder):
    """DeepLabV3+'s: dilated convolutions and an average on the deepest stage, refined by the finest.

    The dilations are in locations of the deepest stage: at a stride of 32 they reach twice as far as at the paper's 16.

    Source: Chen et al., "Encoder-Decoder with Atrous Separable Convolution for Semantic Image Segmentation" (ECCV 2018,
    arXiv 1802.02611); layers of segmentation-models-pytorch.
    """

    pooled = True

    def __init__(
        self,
        channels: Sequence[int],
        num_classes: int,
        layout: StackLayout,
        *,
        width: int = 256,
        dilations: Sequence[int] = (6, 12, 18),
        dropout: float = 0.5,
        norm: str = "private",
    ) -> None:
        """Builds the decoder.

        Args:
            channels: channels of each backbone stage, shallow to deep.
            num_classes: K.
            layout: the backbone's stack layout.
            width: channels of the decoder.
            dilations: of the three dilated convolutions.
            dropout: probability of dropping a value of what they give, and a channel before the classifier a fifth of
                that.
            norm: norm variant, see `rgbx.layers.modality_norm`.

        Raises:
            ValueError: for other than three dilations.
        """
        three = isinstance(dilations, Sequence) and len(dilations) == 3
        if not three or any(not isinstance(rate, int) or rate < 1 for rate in dilations):
            raise ValueError(f"decoder 'deeplabv3plus': dilations are {dilations!r}; expected three numbers from 1 on")
        decoder = deeplabv3.DeepLabV3PlusDecoder(
            [0, 0, channels[0], channels[-1]], 3, width, tuple(dilations), 16, aspp_separable=True, aspp_dropout=dropout
        )
        super().__init__(decoder, num_classes, layout, norm, width=width, dropout=dropout / 5)

    def decode(
        self,
        features: list[Tensor],  # [M*N, C_i, h_i, w_i] each
    ) -> Tensor:
        """The library enlarges by a number; here to the finest stage's size, which is the same where that divides."""
        fine = self.layer("block1")(features[0])
        context = _enlarged(self.layer("aspp")(features[-1]), fine.shape[-2:])
        return self.layer("block2")(torch.cat([context, fine], dim=1))


class FPNDecoder(LibraryDecoder):
    """The semantic branch of panoptic feature pyramids: every level is brought to the finest by doublings and summed.

    Source: Kirillov et al., "Panoptic Feature Pyramid Networks" (CVPR 2019, arXiv 1901.02446); layers of
    segmentation-models-pytorch.
    """

    def __init__(
        self,
        channels: Sequence[int],
        num_classes: int,
        layout: StackLayout,
        *,
        width: int = 128,
        dropout: float = 0.2,
        norm: str = "private",
    ) -> None:
        """Builds the decoder.

        Args:
            channels: channels of each of four backbone stages, each of half the size of the one before.
            num_classes: K.
            layout: the backbone's stack layout.
            width: channels of what is summed, half of those of the pyramid; a multiple of 32.
            dropout: probability of dropping a channel before the classifier.
            norm: norm variant, see `rgbx.layers.modality_norm`.

        Raises:
            ValueError: for another number of stages, or a width that is no multiple of 32.
        """
        if len(channels) != PYRAMID:
            raise ValueError(
                f"decoder 'fpn' reads {PYRAMID} stages, and this backbone has {len(channels)}: take 'light', which "
                "reads any number, or another backbone"
            )
        if width < GROUPS or width % GROUPS:
            raise ValueError(f"decoder 'fpn': width is {width}; expected a multiple of {GROUPS}")
        decoder = fpn.FPNDecoder([0, *channels], 5, 2 * width, width, dropout=0.0)
        super().__init__(decoder, num_classes, layout, norm, width=width, dropout=dropout)

    def decode(
        self,
        features: list[Tensor],  # [M*N, C_i, h_i, w_i] each
    ) -> Tensor:
        """The library doubles sizes: what is no half of the level below is continued by its last row or column."""
        height, width = features[0].shape[-2:]
        last = features[-1].shape[-2:]
        sizes = [[side * 2 ** (PYRAMID - 1 - i) for side in last] for i in range(PYRAMID)]
        whole = [_continued(x, size) for x, size in zip(features, sizes, strict=True)]
        return self.decoder(whole)[..., :height, :width]


class AverageOfParts(nn.Module):
    """`nn.AdaptiveAvgPool2d` as two products of matrices, which programs for any size of image can hold."""

    def __init__(self, parts: int) -> None:
        super().__init__()
        self.parts = parts

    def forward(
        self,
        x: Tensor,  # [N, C, H, W]
    ) -> Tensor:
        """Averages [N, C, parts, parts]."""
        rows, columns = (_shares(x, self.parts, axis) for axis in (-2, -1))
        return _product(rows, x, columns)


def _shares(
    x: Tensor,  # [N, C, H, W]
    parts: int,
    axis: int,
) -> Tensor:
    """How much each row, or column, counts in each part, [parts, size]: parts may share one."""
    size = x.shape[axis]
    part = torch.arange(parts, device=x.device)[:, None]
    place = torch.arange(size, device=x.device)
    first = torch.div(part * size, parts, rounding_mode="floor")
    end = torch.div((part + 1) * size + parts - 1, parts, rounding_mode="floor")
    inside = ((place >= first) & (place < end)).float()
    return inside / inside.sum(1, keepdim=True)


def _enlarged(
    x: Tensor,  # [N, C, h, w]
    size: Sequence[int],
) -> Tensor:
    """Bilinear with corners on corners, [N, C, *size], as two products, which also hold for maps of one row."""
    weights = []
    for new, old in zip(size, x.shape[-2:], strict=True):
        at = torch.arange(new, device=x.device) * (torch.sym_float(old - 1) / torch.sym_max(new - 1, 1))
        place = torch.arange(old, device=x.device)
        weights.append((1 - (at[:, None] - place).abs()).clamp(min=0))
    return _product(weights[0], x, weights[1])


def _product(
    rows: Tensor,  # [h, H]
    x: Tensor,  # [N, C, H, W]
    columns: Tensor,  # [w, W]
) -> Tensor:
    """Weighted sums of rows and columns, [N, C, h, w]."""
    with full_precision(x.device.type):
        return (rows @ x.float() @ columns.transpose(0, 1)).to(x.dtype)


def _continued(
    x: Tensor,  # [N, C, h, w]
    size: Sequence[int],
) -> Tensor:
    """A map [N, C, *size] that repeats its last row and column, or leaves out what is beyond."""
    below, right = (wanted - side for wanted, side in zip(size, x.shape[-2:], strict=True))
    return F.pad(x, (0, right, 0, below), mode="replicate")


def _make_private(module: nn.Module, layout: StackLayout, variant: str) -> None:
    for name, child in module.named_children():
        if isinstance(child, (_BatchNorm, nn.LayerNorm, nn.GroupNorm)):
            own = "private" if variant == "affine" and not isinstance(child, _BatchNorm) else variant
            setattr(module, name, modality_norm(child, layout, own))
        else:
            _make_private(child, layout, variant)
