"""SUN RGB-D with 37 classes, in the folders of CMX and DFormer.

Depth is taken as "relative", since copies of this layout differ in what it holds: a model needs statistics for it.
Images of the four kinds of cameras differ in size: evaluation keeps a batch of 1.
"""

from mmengine.config import read_base

from rgbx.datasets import SUNRGBD

with read_base():
    from .held_out_480x640 import *

data_root = "data/SUNRGBD"

dataset.update(type=SUNRGBD)
train_dataloader.update(batch_size=16)
train_dataloader["dataset"]["transforms"][0].update(size=(480, 480))
