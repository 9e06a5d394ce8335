"""AsymFusion-ResNet-50 on MFNet, RGB and thermal, scored at 480x640.

The optimizer is the modern recipe of CMX and DFormer: AdamW 6e-5, weight decay 0.01, polynomial decay of power 0.9
after 10 epochs of warm-up, 500 epochs. The statistics of the backbone's norms stay frozen at their ImageNet values.
"""

from mmengine.config import read_base

with read_base():
    from .._base_.datasets.mfnet import *
    from .._base_.models.asymfusion_r18 import *
    from .._base_.runtime import *
    from .._base_.schedules.adamw_poly import *

model.update(
    modalities=("rgb", "thermal"),
    num_classes=9,
    backbone="resnet50",
    pretrained="timm",
    norm_eval=True,
    decoder=dict(width=256, dropout=0.1),
    # the middle and a quarter of the 8-bit scale
    statistics=dict(thermal=dict(mean=(127.5,), std=(63.75,))),
)
