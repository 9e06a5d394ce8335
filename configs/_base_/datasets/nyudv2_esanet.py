"""NYU Depth V2 in the folders that ESANet's preparation writes."""

from mmengine.config import read_base

from rgbx.datasets import NYUDv2ESANet

with read_base():
    from .nyudv2_lists import *

data_root = "data/nyudv2_esanet"

train_dataloader["dataset"].pop("list_file")
val_dataloader["dataset"].pop("list_file")
test_dataloader["dataset"].pop("list_file")
train_dataloader["dataset"].update(type=NYUDv2ESANet, split="train")
val_dataloader["dataset"].update(type=NYUDv2ESANet, split="train")
test_dataloader["dataset"].update(type=NYUDv2ESANet, split="test")
