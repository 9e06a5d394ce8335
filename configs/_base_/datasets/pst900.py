"""PST900: RGB and thermal underground scenes of 720x1280, 5 classes."""

from mmengine.config import read_base

from rgbx.datasets import PST900

with read_base():
    from .held_out_480x640 import *

data_root = "data/pst900"

dataset.update(type=PST900, modalities=("rgb", "thermal"))
train_dataloader["dataset"]["transforms"][0].update(size=(640, 1280))
