"""NYU Depth V2 in the folders of SA-Gate, CMX and DFormer, with HHA in place of depth."""

from mmengine.config import read_base

from rgbx.datasets import NYUDv2CMX

with read_base():
    from .nyudv2_lists import *

data_root = "data/NYUDepthv2"

train_dataloader["dataset"].pop("list_file")
val_dataloader["dataset"].pop("list_file")
test_dataloader["dataset"].pop("list_file")
train_dataloader["dataset"].update(type=NYUDv2CMX, modalities=("rgb", "hha"), split="train")
val_dataloader["dataset"].update(type=NYUDv2CMX, modalities=("rgb", "hha"), split="train")
test_dataloader["dataset"].update(type=NYUDv2CMX, modalities=("rgb", "hha"), split="test")
