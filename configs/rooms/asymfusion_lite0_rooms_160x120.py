from mmengine.config import read_base

with read_base():
    from .asymfusion_r18_rooms_160x120 import *

model.update(backbone="tf_efficientnet_lite0", pretrained="lite0", modality_dropout=0.6)
train_cfg.update(max_epochs=9, val_interval=9)
