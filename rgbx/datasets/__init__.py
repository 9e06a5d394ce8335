"""Datasets: one file per family, all yielding the sample of `rgbx.datasets.sample`."""

from rgbx.datasets.cityscapes import Cityscapes
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
from rgbx.datasets.subset import EveryKth
from rgbx.datasets.synthetic import SyntheticRooms

__all__ = [
    "IGNORE_INDEX",
    "STANDARD_MAPS",
    "Cityscapes",
    "DenseDataset",
    "EpochSampler",
    "EveryKth",
    "MapSpec",
    "NYUDv2Folders",
    "NYUDv2Lists",
    "SampleKey",
    "SyntheticRooms",
    "validate_sample",
]
