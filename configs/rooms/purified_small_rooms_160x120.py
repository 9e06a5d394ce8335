"""The demo with gates, which learn where a map is not to be believed: training damages blocks of depth and RGB.

`rgbx predict CHECKPOINT ... --masks` writes what they say.
"""

from mmengine.config import read_base

from rgbx.transforms import DamageBlocks

with read_base():
    from .asymfusion_small_rooms_160x120 import *

model.update(purification="cross")
train_dataloader["dataset"]["transforms"].insert(0, dict(type=DamageBlocks, keys=("rgb", "depth")))
