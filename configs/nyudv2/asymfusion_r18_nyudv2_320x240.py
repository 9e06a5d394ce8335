"""AsymFusion-ResNet-18 on NYU Depth V2 at 320x240, an afternoon on one GPU.

ImageNet weights: --cfg-options model.pretrained=timm, or the path of a weight file.
"""

from mmengine.config import read_base

with read_base():
    from .._base_.datasets.nyudv2_320x240 import *
    from .._base_.models.asymfusion_r18 import *
    from .._base_.runtime import *
    from .._base_.schedules.adamw_poly import *

model.update(modality_dropout=0.3)

optim_wrapper.update(optimizer=dict(lr=2e-4), paramwise_cfg=dict(encoder_lr_mult=0.5, decoder_lr_mult=1.0))
param_scheduler[0].update(end=5)
param_scheduler[1].update(begin=5)
train_cfg.update(max_epochs=200, val_interval=5)
