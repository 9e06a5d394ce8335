"""Decoders: from a backbone's features to logits, images or codes."""

from rgbx.heads.build import DECODERS, ChannelSlice, build_decoder, find_decoder, output_stride
from rgbx.heads.code_encoder import CodeEncoder
from rgbx.heads.ham import HamDecoder
from rgbx.heads.image_decoder import ImageDecoder
from rgbx.heads.light_decoder import LightDecoder
from rgbx.heads.refinenet import RefineNetDecoder

__all__ = [
    "DECODERS",
    "ChannelSlice",
    "CodeEncoder",
    "HamDecoder",
    "ImageDecoder",
    "LightDecoder",
    "RefineNetDecoder",
    "build_decoder",
    "find_decoder",
    "output_stride",
]
