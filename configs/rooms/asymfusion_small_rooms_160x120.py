"""The demo: AsymFusion on a small network and synthetic rooms, from random weights, in minutes on two CPU cores.

With modality dropout, one checkpoint serves RGB and depth, RGB alone and depth alone.
"""

from mmengine.config import read_base

with read_base():
    from .asymfusion_r18_rooms_160x120 import *

model.update(backbone="mobilenetv4_conv_small")
train_cfg.update(max_epochs=20, val_interval=20)
