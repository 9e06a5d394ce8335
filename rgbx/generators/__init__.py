"""Whole image-to-image networks, and the discriminator that judges their images."""

from rgbx.generators.image_generator import ImageGenerator
from rgbx.generators.patch_discriminator import PatchDiscriminator
from rgbx.generators.resnet_generator import ResNetGenerator
from rgbx.generators.unet_generator import UNetGenerator

__all__ = ["ImageGenerator", "PatchDiscriminator", "ResNetGenerator", "UNetGenerator"]
