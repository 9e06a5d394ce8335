"""NYU Depth V2 as published: one file of 2.8 GB, read directly."""

from mmengine.config import read_base

from rgbx.datasets import NYUDv2Mat

with read_base():
    from .nyudv2_lists import *

data_root = "data/nyu_depth_v2_labeled.mat"

train_dataloader["dataset"].pop("list_file")
val_dataloader["dataset"].pop("list_file")
test_dataloader["dataset"].pop("list_file")
train_dataloader["dataset"].update(type=NYUDv2Mat, split="train")
val_dataloader["dataset"].update(type=NYUDv2Mat, split="train")
test_dataloader["dataset"].update(type=NYUDv2Mat, split="test")
