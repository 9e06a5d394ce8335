"""Transforms `t(sample, rng)`: geometry for all maps alike, photometry for rgb, packing last."""

from rgbx.transforms.compose import AlbumentationsGeometry
from rgbx.transforms.corruption import CORRUPTIONS, Corrupt
from rgbx.transforms.crop import RandomCrop
from rgbx.transforms.edges import ComputeEdges
from rgbx.transforms.geometry import CenterCrop, HorizontalFlip, PadTo, RandomScaleCrop, Resize
from rgbx.transforms.hha import ComputeHHA
from rgbx.transforms.normals import ComputeNormals
from rgbx.transforms.packing import PackSample
from rgbx.transforms.photometry import AlbumentationsPhotometry, ColorJitter

__all__ = [
    "CORRUPTIONS",
    "AlbumentationsGeometry",
    "AlbumentationsPhotometry",
    "CenterCrop",
    "ColorJitter",
    "ComputeEdges",
    "ComputeHHA",
    "ComputeNormals",
    "Corrupt",
    "HorizontalFlip",
    "PackSample",
    "PadTo",
    "RandomCrop",
    "RandomScaleCrop",
    "Resize",
]
