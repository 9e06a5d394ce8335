"""FMB: RGB and infrared street scenes of 600x800, 14 classes."""

from mmengine.config import read_base

from rgbx.datasets import FMB

with read_base():
    from .held_out_480x640 import *

data_root = "data/fmb"

dataset.update(type=FMB, modalities=("rgb", "thermal"))
train_dataloader["dataset"]["transforms"][0].update(size=(600, 800))
