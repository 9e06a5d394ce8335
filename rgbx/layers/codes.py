"""Codes of all modalities in one space: an encoder into it and a decoder back for each modality, at every location.

Source: Mai, Hu and Xing, "Modality to Modality Translation: An Adversarial Representation Learning and Graph Fusion
Network for Multimodal Fusion" (ARGF, AAAI 2020), whose linear layers are 1x1 convolutions here. The widths of hidden
layers, decoders without a tanh and features that are standardised before they are to be reproduced are ours, and the
dropout between each linear layer and its norm is left out. The authors normalise by the batch at test too; here a test
uses running statistics.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from rgbx.layers.stack import ModalityLayer, StackLayout

ENCODER_SLOPE, DECODER_SLOPE = 0.01, 0.2


def code_encoder(channels: int, width: int, hidden: Sequence[int] | None = None) -> nn.Sequential:
    """Features [N, C, h, w] to codes [N, d, h, w] in -1..1; four layers, a norm before all activations but the tanh.

    Args:
        channels: C.
        width: d.
        hidden: channels of the first two layers; None for 2d each. The authors have 10C and 10d.
    """
    first, second = hidden or (2 * width, 2 * width)
    layers: list[nn.Module] = []
    for before, after in ((channels, first), (first, second), (second, width)):
        layers += [nn.Conv2d(before, after, 1), nn.BatchNorm2d(after), nn.LeakyReLU(ENCODER_SLOPE)]
    return nn.Sequential(*layers, nn.Conv2d(width, width, 1), nn.Tanh())


def code_decoder(
    width: int, channels: int, hidden: Sequence[int] | None = None, *, bounded: bool = False
) -> nn.Sequential:
    """Codes [N, d, h, w] to features [N, C, h, w], in three layers.

    Args:
        width: d.
        channels: C.
        hidden: channels of the first two layers; None for 2d each. The authors have 512 and 64.
        bounded: whether a tanh is the end, as the authors have it; features of networks exceed it.
    """
    first, second = hidden or (2 * width, 2 * width)
    layers = [
        nn.Conv2d(width, first, 1),
        nn.LeakyReLU(DECODER_SLOPE),
        nn.Conv2d(first, second, 1),
        nn.BatchNorm2d(second),
        nn.LeakyReLU(DECODER_SLOPE),
        nn.Conv2d(second, channels, 1),
    ]
    return nn.Sequential(*layers, *([nn.Tanh()] if bounded else []))


class Codes(nn.Module):
    """The codes of one stage's features, private to each modality; all modalities start from equal layers.

    Args:
        channels: C of the features.
        layout: whose modalities these are.
        width: d of the codes.
        encoder_hidden, decoder_hidden: see `code_encoder` and `code_decoder`.
        encoding, decoding: whether there are encoders, and decoders.
        standardised: whether decoders give features less their mean, by their deviation, per channel; otherwise as they
            are, and within -1..1 as the authors' do.

    Attributes:
        joint: whether heads that read the codes, or what they are decoded to, train the encoders, too;
            `ModalityTranslation` may say no.
    """

    def __init__(
        self,
        channels: int,
        layout: StackLayout,
        width: int,
        *,
        encoder_hidden: Sequence[int] | None = None,
        decoder_hidden: Sequence[int] | None = None,
        encoding: bool = True,
        decoding: bool = True,
        standardised: bool = True,
    ) -> None:
        super().__init__()
        self.width, self.joint = width, True
        self.encode = ModalityLayer(code_encoder(channels, width, encoder_hidden), layout) if encoding else None
        back = code_decoder(width, channels, decoder_hidden, bounded=not standardised) if decoding else None
        self.decode = None if back is None else ModalityLayer(back, layout)
        norm = nn.BatchNorm2d(channels, affine=False)
        self.scale = ModalityLayer(norm, layout) if decoding and standardised else None

    def codes_of(
        self,
        features: Mapping[str, Tensor],  # [N, C, h, w] each
    ) -> dict[str, Tensor]:
        """The codes of each modality given, [N, d, h, w]."""
        assert self.encode is not None
        return {name: self.encode.copies[name](x) for name, x in features.items()}

    def decoded(
        self,
        code: Tensor,  # [N, d, h, w]
        name: str,
    ) -> Tensor:
        """The features of a modality that a code stands for, [N, C, h, w], on the scale of `wanted`."""
        assert self.decode is not None
        found: Tensor = self.decode.copies[name](code)
        return found

    def wanted(
        self,
        x: Tensor,  # [N, C, h, w]
        name: str,
    ) -> Tensor:
        """What decoders shall give of a modality's features, [N, C, h, w], without gradient."""
        x = x.detach()
        found: Tensor = x if self.scale is None else self.scale.copies[name](x)
        return found

    def restored(
        self,
        decoded: Tensor,  # [N, C, h, w]
        name: str,
    ) -> Tensor:
        """What `decoded` gives as features of the network, [N, C, h, w]."""
        if self.scale is None:
            return decoded
        norm = self.scale.copies[name]
        assert isinstance(norm, nn.BatchNorm2d) and norm.running_mean is not None and norm.running_var is not None
        deviation = (norm.running_var + norm.eps).sqrt()
        restored = decoded * deviation[:, None, None] + norm.running_mean[:, None, None]
        return restored.to(decoded.dtype)
