"""NYU Depth V2, 40 classes (Silberman et al., ECCV 2012; classes of Gupta et al., CVPR 2013); a file per layout."""

from rgbx.datasets.nyudv2.classes import NYUDV2_CLASSES, NYUDV2_PALETTE
from rgbx.datasets.nyudv2.cmx import NYUDv2CMX
from rgbx.datasets.nyudv2.esanet import NYUDv2ESANet
from rgbx.datasets.nyudv2.folders import NYUDv2Folders
from rgbx.datasets.nyudv2.lists import NYUDv2Lists
from rgbx.datasets.nyudv2.mat import NYUDv2Mat

__all__ = [
    "NYUDV2_CLASSES",
    "NYUDV2_PALETTE",
    "NYUDv2CMX",
    "NYUDv2ESANet",
    "NYUDv2Folders",
    "NYUDv2Lists",
    "NYUDv2Mat",
]
