"""Datasets: families, one's own folders, rendered rooms; all yield the sample of `rgbx.datasets.sample`."""

from rgbx.datasets.cache import CachedFrames
from rgbx.datasets.class_weights import CLASS_WEIGHTS, compute_class_weights, count_labels
from rgbx.datasets.families.cityscapes import Cityscapes
from rgbx.datasets.families.deliver import DELIVER
from rgbx.datasets.families.fmb import FMB
from rgbx.datasets.families.mfnet import MFNet
from rgbx.datasets.families.nyudv2 import NYUDv2CMX, NYUDv2ESANet, NYUDv2Folders, NYUDv2Lists
from rgbx.datasets.families.nyudv2_mat import NYUDv2Mat
from rgbx.datasets.families.pst900 import PST900
from rgbx.datasets.families.side_by_side import SideBySide
from rgbx.datasets.families.sunrgbd import SUNRGBD, SUNRGBDFolders, SUNRGBDLists
from rgbx.datasets.families.sunrgbd_scenes import SUNRGBDScenes
from rgbx.datasets.families.taskonomy import Taskonomy
from rgbx.datasets.families.visible_infrared import VisibleInfrared
from rgbx.datasets.folder import FolderDataset
from rgbx.datasets.layouts import build_dataset, propose, recognise, split_names
from rgbx.datasets.rooms import RoomClips, SyntheticRooms
from rgbx.datasets.sample import DenseDataset, SampleKey, validate_sample
from rgbx.datasets.sampler import EpochSampler
from rgbx.datasets.sequence import SequenceDataset
from rgbx.datasets.shards import ShardedDataset
from rgbx.datasets.subset import EveryKth
from rgbx.maps import IGNORE_INDEX, STANDARD_MAPS, MapSpec

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
    "RoomClips",
    "SUNRGBDFolders",
    "SUNRGBDLists",
    "SUNRGBDScenes",
    "SampleKey",
    "SequenceDataset",
    "ShardedDataset",
    "SideBySide",
    "SyntheticRooms",
    "Taskonomy",
    "VisibleInfrared",
    "build_dataset",
    "compute_class_weights",
    "count_labels",
    "propose",
    "recognise",
    "split_names",
    "validate_sample",
]
