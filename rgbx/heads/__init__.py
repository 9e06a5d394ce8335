"""Decoders and heads."""

from rgbx.heads.build import DECODERS, build_decoder
from rgbx.heads.light_decoder import LightDecoder
from rgbx.heads.refinenet import RefineNetDecoder

__all__ = ["DECODERS", "LightDecoder", "RefineNetDecoder", "build_decoder"]
