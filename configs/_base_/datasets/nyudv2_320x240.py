"""NYU Depth V2 with 40 classes, the public copy of 320x240 (folders rgb, depth, label)."""

from mmengine.config import read_base

from rgbx.datasets import NYUDv2Folders

with read_base():
    from .held_out_480x640 import *

data_root = "data/nyuv2_320x240"

dataset.update(type=NYUDv2Folders)
train_dataloader.update(num_workers=4)
train_dataloader["dataset"]["transforms"][0].update(size=(240, 320))
