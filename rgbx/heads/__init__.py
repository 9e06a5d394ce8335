"""Decoders and heads, generators and the discriminator of image translation."""

from rgbx.heads.backbone_generator import BackboneGenerator
from rgbx.heads.build import DECODERS, build_decoder
from rgbx.heads.image_decoder import ImageDecoder
from rgbx.heads.image_generator import ImageGenerator, pad_to_multiple
from rgbx.heads.light_decoder import LightDecoder
from rgbx.heads.patch_discriminator import PatchDiscriminator
from rgbx.heads.refinenet import RefineNetDecoder
from rgbx.heads.resnet_generator import ResNetGenerator
from rgbx.heads.unet_generator import UNetGenerator

__all__ = [
    "DECODERS",
    "BackboneGenerator",
    "ImageDecoder",
    "ImageGenerator",
    "LightDecoder",
    "PatchDiscriminator",
    "RefineNetDecoder",
    "ResNetGenerator",
    "UNetGenerator",
    "build_decoder",
    "pad_to_multiple",
]
