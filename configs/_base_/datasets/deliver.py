"""DELIVER: rendered street scenes of 1042x1042 in RGB, depth (as HHA), events and lidar, 25 classes."""

from mmengine.config import read_base

from rgbx.datasets import DELIVER

with read_base():
    from .held_out_480x640 import *

data_root = "data/deliver"

dataset.update(type=DELIVER, modalities=("rgb", "hha", "event", "lidar"))
train_dataloader.update(batch_size=2)
train_dataloader["dataset"].pop("holdout")  # it comes with frames for validation
val_dataloader["dataset"].pop("holdout")
val_dataloader["dataset"].update(split="val")
train_dataloader["dataset"]["transforms"][0].update(size=(1024, 1024))
