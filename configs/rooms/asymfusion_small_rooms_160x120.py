"""The demo: AsymFusion on a residual network of half a million parameters and synthetic rooms, from random weights.

With modality dropout, one checkpoint serves RGB and depth, RGB alone and depth alone: so was `data/samples/rooms.pth`
trained.
"""

from mmengine.config import read_base

with read_base():
    from .asymfusion_r18_rooms_160x120 import *

model.update(backbone="test_resnet", modality_dropout=0.6)
optim_wrapper["optimizer"].update(lr=5e-3)
train_cfg.update(max_epochs=18, val_interval=9)
