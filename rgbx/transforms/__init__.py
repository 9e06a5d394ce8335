"""Transforms `t(sample, rng)`: geometry for all maps alike, photometry for rgb, packing last."""

from importlib import import_module
from typing import TYPE_CHECKING

from rgbx.transforms.clips import FramesAsMaps, NearestFrames
from rgbx.transforms.colour import ColorJitter
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

if TYPE_CHECKING:
    from rgbx.transforms.compose import AlbumentationsGeometry, AlbumentationsPhotometry

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


def __getattr__(name: str) -> object:
    """What needs albumentations imports it only when it is asked for: it need not be installed."""
    if name in ("AlbumentationsGeometry", "AlbumentationsPhotometry"):
        return getattr(import_module("rgbx.transforms.compose"), name)
    raise AttributeError(f"module 'rgbx.transforms' has no attribute {name!r}")
