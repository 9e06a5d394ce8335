"""AsymFusion on a ResNet-50 with the modern recipe of CMX and DFormer.

AdamW 6e-5, weight decay 0.01, polynomial decay of power 0.9 after 10 epochs of warm-up, 500 epochs. As the authors of
AsymFusion did, the statistics of the backbone's norms stay frozen at their ImageNet values (norm_eval=True).
"""

from mmengine.config import read_base

with read_base():
    from .models.asymfusion_r18 import *
    from .runtime import *
    from .schedules.adamw_poly import *

model.update(
    backbone="resnet50",
    pretrained="timm",
    norm_eval=True,
    decoder=dict(width=256, dropout=0.1),
)
