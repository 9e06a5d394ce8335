"""AsymFusion-ResNet-50 on DELIVER, RGB with depth as HHA, events and lidar.

Fewer modalities: model.modalities and those of the three datasets, such as ("rgb", "hha").

The optimizer is the modern recipe of CMX and DFormer: AdamW 6e-5, weight decay 0.01, polynomial decay of power 0.9
after 10 epochs of warm-up, 500 epochs. The statistics of the backbone's norms stay frozen at their ImageNet values.
"""

from mmengine.config import read_base

with read_base():
    from .._base_.datasets.deliver import *
    from .._base_.models.asymfusion_r18 import *
    from .._base_.runtime import *
    from .._base_.schedules.adamw_poly import *

model.update(
    modalities=("rgb", "hha", "event", "lidar"),
    num_classes=25,
    backbone="resnet50",
    pretrained="timm",
    norm_eval=True,
    decoder=dict(width=256, dropout=0.1),
    # the authors scale these pictures to 0..1
    statistics=dict(
        hha=dict(mean=(0.0, 0.0, 0.0), std=(255.0, 255.0, 255.0)),
        event=dict(mean=(0.0, 0.0, 0.0), std=(255.0, 255.0, 255.0)),
        lidar=dict(mean=(0.0, 0.0, 0.0), std=(255.0, 255.0, 255.0)),
    ),
)
