"""Decoders by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import nn

from rgbx.heads.light_decoder import LightDecoder
from rgbx.heads.refinenet import RefineNetDecoder
from rgbx.layers import StackLayout

DECODERS: dict[str, Callable[..., nn.Module]] = {"light": LightDecoder, "refinenet": RefineNetDecoder}


def build_decoder(
    decoder: Mapping[str, Any] | str | None,
    channels: Sequence[int],
    num_classes: int,
    layout: StackLayout,
    *,
    norm: str = "private",
) -> nn.Module:
    """Builds a decoder for a backbone's stages.

    Args:
        decoder: one of `DECODERS`, or ``{"name": ..., **options}`` with the options of its class; ``"light"`` where no
            name is given.
        channels: channels of each backbone stage, shallow to deep.
        num_classes: K.
        layout: the backbone's stack layout.
        norm: norm variant, see `rgbx.layers.modality_norm`.

    Raises:
        ValueError: for an unknown name.
    """
    options = {"name": decoder} if isinstance(decoder, str) else dict(decoder or {})
    name = options.pop("name", "light")
    if name not in DECODERS:
        raise ValueError(f"decoder is {name!r}; expected one of {', '.join(DECODERS)}")
    return DECODERS[name](channels, num_classes, layout, **{"norm": norm, **options})
