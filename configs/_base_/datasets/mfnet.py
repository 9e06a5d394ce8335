"""MFNet: RGB and thermal street scenes of 480x640, 9 classes with "unlabelled" as one of them."""

from mmengine.config import read_base

from rgbx.datasets import MFNet

with read_base():
    from .held_out_480x640 import *

data_root = "data/mfnet"

dataset.update(type=MFNet, modalities=("rgb", "thermal"))
train_dataloader["dataset"].pop("holdout")  # it comes with frames for validation
val_dataloader["dataset"].pop("holdout")
# flips: the mirrored copies that the published list names; HorizontalFlip makes them
train_dataloader["dataset"].update(flips="skip")
val_dataloader["dataset"].update(split="val")  # test_dataloader: also test_day and test_night
