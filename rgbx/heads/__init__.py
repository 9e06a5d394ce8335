"""Decoders and heads."""

from rgbx.heads.light_decoder import LightDecoder

__all__ = ["LightDecoder"]
