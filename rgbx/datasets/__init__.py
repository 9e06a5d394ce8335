"""Datasets: one file per family, all yielding the sample of `rgbx.datasets.sample`."""

from rgbx.datasets.cache import CachedFrames
from rgbx.datasets.cityscapes import Cityscapes
from rgbx.datasets.class_weights import compute_class_weights, count_labels
from rgbx.datasets.nyudv2 import NYUDv2Folders, NYUDv2Lists
from rgbx.datasets.sample import (
    IGNORE_INDEX,
    STANDARD_MAPS,
    DenseDataset,
    MapSpec,
    SampleKey,
    validate_sample,
)
from rgbx.datasets.sampler import EpochSampler
from rgbx.datasets.synthetic import SyntheticRooms

__all__ = [
    "IGNORE_INDEX",
    "STANDARD_MAPS",
    "CachedFrames",
    "Cityscapes",
    "DenseDataset",
    "EpochSampler",
    "MapSpec",
    "NYUDv2Folders",
    "NYUDv2Lists",
    "SampleKey",
    "SyntheticRooms",
    "compute_class_weights",
    "count_labels",
    "validate_sample",
]
