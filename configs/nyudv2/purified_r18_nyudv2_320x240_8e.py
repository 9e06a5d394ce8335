"""The eight epochs on NYU Depth V2 with gates, whose training damages blocks of depth and RGB."""

from mmengine.config import read_base

from rgbx.transforms import DamageBlocks

with read_base():
    from .asymfusion_r18_nyudv2_320x240_8e import *

model.update(purification="cross")
train_dataloader["dataset"]["transforms"].insert(0, dict(type=DamageBlocks, keys=("rgb", "depth")))
