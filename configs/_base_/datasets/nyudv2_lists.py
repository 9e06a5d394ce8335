"""NYU Depth V2 with 40 classes at full size, in the lists of AsymFusion, CEN and TokenFusion."""

from mmengine.config import read_base

from rgbx.datasets import NYUDv2Lists

with read_base():
    from .held_out_480x640 import *

data_root = "data/nyudv2"

dataset.update(type=NYUDv2Lists, list_file="train.txt")
train_dataloader["dataset"].pop("split")  # a list takes its place
val_dataloader["dataset"].pop("split")
test_dataloader["dataset"].pop("split")
test_dataloader["dataset"].update(list_file="val.txt")  # the 654 test frames, as there
