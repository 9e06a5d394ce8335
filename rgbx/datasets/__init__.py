"""Datasets: one file or package per family, all yielding the sample of `rgbx.datasets.sample`."""

from rgbx.datasets.cache import CachedFrames
from rgbx.datasets.cityscapes import Cityscapes
from rgbx.datasets.class_weights import CLASS_WEIGHTS, compute_class_weights
from rgbx.datasets.deliver import DELIVER
from rgbx.datasets.fmb import FMB
from rgbx.datasets.folder import FolderDataset
from rgbx.datasets.label_counts import count_labels
from rgbx.datasets.layouts import build_dataset, recognise, split_names
from rgbx.datasets.mfnet import MFNet
from rgbx.datasets.nyudv2 import NYUDv2CMX, NYUDv2Folders, NYUDv2Lists
from rgbx.datasets.nyudv2.esanet import NYUDv2ESANet
from rgbx.datasets.nyudv2.mat import NYUDv2Mat
from rgbx.datasets.pst900 import PST900
from rgbx.datasets.rooms import SyntheticRooms
from rgbx.datasets.sample import (
    IGNORE_INDEX,
    STANDARD_MAPS,
    DenseDataset,
    MapSpec,
    SampleKey,
    validate_sample,
)
from rgbx.datasets.sampler import EpochSampler
from rgbx.datasets.side_by_side import SideBySide
from rgbx.datasets.subset import EveryKth
from rgbx.datasets.sunrgbd import SUNRGBD, SUNRGBDFolders, SUNRGBDLists
from rgbx.datasets.taskonomy import Taskonomy

__all__ = [
    "CLASS_WEIGHTS",
    "DELIVER",
    "FMB",
    "IGNORE_INDEX",
    "PST900",
    "STANDARD_MAPS",
    "SUNRGBD",
    "CachedFrames",
    "Cityscapes",
    "DenseDataset",
    "EpochSampler",
    "EveryKth",
    "FolderDataset",
    "MFNet",
    "MapSpec",
    "NYUDv2CMX",
    "NYUDv2ESANet",
    "NYUDv2Folders",
    "NYUDv2Lists",
    "NYUDv2Mat",
    "SUNRGBDFolders",
    "SUNRGBDLists",
    "SampleKey",
    "SideBySide",
    "SyntheticRooms",
    "Taskonomy",
    "build_dataset",
    "compute_class_weights",
    "count_labels",
    "recognise",
    "split_names",
    "validate_sample",
]
