"""NYU Depth V2 in the folders of SA-Gate, CMX and DFormer, with HHA in place of depth."""

from mmengine.config import read_base

from rgbx.datasets import NYUDv2CMX

with read_base():
    from .held_out_480x640 import *

data_root = "data/NYUDepthv2"

dataset.update(type=NYUDv2CMX, modalities=("rgb", "hha"))
