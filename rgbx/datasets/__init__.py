"""Datasets: one file per family, all yielding the sample of `rgbx.datasets.sample`."""

from rgbx.datasets.cityscapes import Cityscapes
from rgbx.datasets.nyudv2 import NYUDv2CMX, NYUDv2Folders, NYUDv2Lists
from rgbx.datasets.nyudv2_esanet import NYUDv2ESANet
from rgbx.datasets.nyudv2_mat import NYUDv2Mat
from rgbx.datasets.sample import (
    IGNORE_INDEX,
    STANDARD_MAPS,
    DenseDataset,
    MapSpec,
    SampleKey,
    validate_sample,
)
from rgbx.datasets.sampler import EpochSampler
from rgbx.datasets.sunrgbd import SUNRGBD, SUNRGBDFolders, SUNRGBDLists
from rgbx.datasets.synthetic import SyntheticRooms

__all__ = [
    "IGNORE_INDEX",
    "STANDARD_MAPS",
    "SUNRGBD",
    "Cityscapes",
    "DenseDataset",
    "EpochSampler",
    "MapSpec",
    "NYUDv2CMX",
    "NYUDv2ESANet",
    "NYUDv2Folders",
    "NYUDv2Lists",
    "NYUDv2Mat",
    "SUNRGBDFolders",
    "SUNRGBDLists",
    "SampleKey",
    "SyntheticRooms",
    "validate_sample",
]
