"""AsymFusion-ResNet-50 on Cityscapes: crops of 512x1024, scored at 1024x2048.

Crop, scales, jitter, flip, one-cycle and batch 8 after ESANet; optimizer and length are ours.
"""

from mmengine.config import read_base

with read_base():
    from .._base_.datasets.cityscapes import *
    from .._base_.models.asymfusion_r18 import *
    from .._base_.runtime import *
    from .._base_.schedules.sgd_onecycle import *

model.update(
    num_classes=19,
    backbone="resnet50",
    pretrained="timm",
    decoder=dict(width=256, dropout=0.1),
    # metres of street scenes (NYU's indoor statistics are the default); the least disparities mean 100 km
    statistics=dict(depth=dict(mean=(25.0,), std=(25.0,), max=(200.0,))),
)
