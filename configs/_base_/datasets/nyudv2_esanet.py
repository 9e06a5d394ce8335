"""NYU Depth V2 in the folders that ESANet's preparation writes."""

from mmengine.config import read_base

from rgbx.datasets import NYUDv2ESANet

with read_base():
    from .held_out_480x640 import *

data_root = "data/nyudv2_esanet"

dataset.update(type=NYUDv2ESANet)
