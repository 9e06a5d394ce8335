"""NYU Depth V2 as published: one file of 2.8 GB, read directly."""

from mmengine.config import read_base

from rgbx.datasets import NYUDv2Mat

with read_base():
    from .held_out_480x640 import *

data_root = "data/nyu_depth_v2_labeled.mat"

dataset.update(type=NYUDv2Mat)
