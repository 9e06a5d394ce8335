"""AsymFusion-ResNet-50 on NYU Depth V2 with HHA in place of depth, in the folders of SA-Gate, CMX and DFormer.

The recipe is that of asymfusion_r50_nyudv2_lists.py.
"""

from mmengine.config import read_base

with read_base():
    from .._base_.datasets.nyudv2_cmx import *
    from .._base_.models.asymfusion_r18 import *
    from .._base_.runtime import *
    from .._base_.schedules.adamw_poly import *

model.update(
    modalities=("rgb", "hha"),
    backbone="resnet50",
    pretrained="timm",
    norm_eval=True,
    decoder=dict(width=256, dropout=0.1),
)
