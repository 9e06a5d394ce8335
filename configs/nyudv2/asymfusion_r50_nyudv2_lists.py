"""AsymFusion-ResNet-50 on NYU Depth V2 with the modern recipe of CMX and DFormer.

Crop 480x640, scales 0.5 to 1.75, flip, AdamW 6e-5, weight decay 0.01, polynomial decay of power 0.9
after 10 epochs of warm-up, 500 epochs, batch 8. As the authors of AsymFusion did, the statistics of
the backbone's norms stay frozen at their ImageNet values (norm_eval=True).
"""

from mmengine.config import read_base

with read_base():
    from .._base_.datasets.nyudv2_lists import *
    from .._base_.models.asymfusion_r18 import *
    from .._base_.runtime import *
    from .._base_.schedules.adamw_poly import *

model.update(
    backbone="resnet50",
    pretrained="timm",
    norm_eval=True,
    decoder=dict(width=256, dropout=0.1),
)
