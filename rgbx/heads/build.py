"""Decoders by name."""

from __future__ import annotations

import inspect
import pkgutil
from collections.abc import Sequence

from torch import Tensor, nn

from rgbx._text import check_options, one_of
from rgbx._types import Options
from rgbx.heads.code_encoder import CodeEncoder
from rgbx.heads.ham import HamDecoder
from rgbx.heads.image_decoder import ImageDecoder
from rgbx.heads.light_decoder import LightDecoder
from rgbx.heads.refinenet import RefineNetDecoder
from rgbx.layers import StackLayout

DECODERS: dict[str, type[nn.Module] | str] = {
    "light": LightDecoder,
    "refinenet": RefineNetDecoder,
    "segformer": "rgbx.heads.library_decoders:SegFormerDecoder",
    "upernet": "rgbx.heads.library_decoders:UPerNetDecoder",
    "deeplabv3plus": "rgbx.heads.library_decoders:DeepLabV3PlusDecoder",
    "fpn": "rgbx.heads.library_decoders:FPNDecoder",
    "ham": HamDecoder,
    "image": ImageDecoder,
    "codes": CodeEncoder,
}
"""Classes, or where those lie that are imported when one is built."""


def find_decoder(name: str) -> type[nn.Module]:
    """A decoder's class by its name.

    Raises:
        ValueError: for an unknown name.
    """
    if name not in DECODERS:
        raise ValueError(f"decoder is {name!r}; expected one of {one_of(DECODERS, name)}")
    found = DECODERS[name]
    return pkgutil.resolve_name(found) if isinstance(found, str) else found


class ChannelSlice(nn.Module):
    """A head's own channels of images that a generator makes for all heads at once."""

    def __init__(self, start: int, stop: int) -> None:
        super().__init__()
        self.start, self.stop = start, stop

    def forward(
        self,
        features: Sequence[Tensor],  # one of [M*N, C, H, W]
    ) -> Tensor:
        """Images [M*N, stop - start, H, W]."""
        return features[0][:, self.start : self.stop]


def build_decoder(
    decoder: Options | str | None,
    channels: Sequence[int],
    out_channels: int,
    layout: StackLayout,
    *,
    strides: Sequence[int] = (4,),
    norm: str = "private",
) -> nn.Module:
    """Builds a decoder for a backbone's stages.

    Args:
        decoder: one of `DECODERS`, or ``{"name": ..., **options}`` with the options of its class; ``"light"`` where no
            name is given.
        channels: channels of each backbone stage, shallow to deep.
        out_channels: of the output: K classes, or C of a map.
        layout: the backbone's stack layout.
        strides: of each stage.
        norm: norm variant, see `rgbx.layers.modality_norm`.

    Raises:
        ValueError: for an unknown name or option.
    """
    options = {"name": decoder} if isinstance(decoder, str) else dict(decoder or {})
    name = options.pop("name", "light")
    kind = find_decoder(name)
    own = {"norm": norm, "stride": strides[0]}
    parameters = inspect.signature(kind).parameters.values()
    known = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.name != "stride"]
    check_options(options, known, f"decoder {name!r}")
    given = {p.name: own[p.name] for p in parameters if p.name in own}
    return kind(channels, out_channels, layout, **{**given, **options})


def output_stride(decoder: nn.Module, strides: Sequence[int]) -> int:
    """Pixels of the image to a side of a location of a decoder's output, of a backbone whose stages have strides."""
    if isinstance(decoder, ImageDecoder):
        return 1
    return strides[decoder.stages[0] - 1 if isinstance(decoder, (CodeEncoder, HamDecoder)) else 0]
