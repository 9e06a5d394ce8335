"""Transforms `t(sample, rng)`: geometry for all maps alike, photometry for rgb, packing last."""

from rgbx.transforms.clips import FramesAsMaps, NearestFrames
from rgbx.transforms.compose import AlbumentationsGeometry, AlbumentationsPhotometry, ColorJitter
from rgbx.transforms.computed import ComputeEdges, ComputeHHA, ComputeNormals
from rgbx.transforms.corruption import CORRUPTIONS, Corrupt
from rgbx.transforms.damage import DAMAGES, DamageBlocks
from rgbx.transforms.geometry import (
    CenterCrop,
    HorizontalFlip,
    OtherCamera,
    PadTo,
    RandomCrop,
    RandomScaleCrop,
    Resize,
)
from rgbx.transforms.held_out import HoldOutDepth
from rgbx.transforms.packing import PackSample, collate

__all__ = [
    "CORRUPTIONS",
    "DAMAGES",
    "AlbumentationsGeometry",
    "AlbumentationsPhotometry",
    "CenterCrop",
    "ColorJitter",
    "ComputeEdges",
    "ComputeHHA",
    "ComputeNormals",
    "Corrupt",
    "DamageBlocks",
    "FramesAsMaps",
    "HoldOutDepth",
    "HorizontalFlip",
    "NearestFrames",
    "OtherCamera",
    "PackSample",
    "PadTo",
    "RandomCrop",
    "RandomScaleCrop",
    "Resize",
    "collate",
]
