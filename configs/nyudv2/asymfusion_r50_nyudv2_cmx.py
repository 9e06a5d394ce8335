"""AsymFusion-ResNet-50 on NYU Depth V2 with HHA in place of depth, in the folders of SA-Gate, CMX and DFormer."""

from mmengine.config import read_base

with read_base():
    from .._base_.asymfusion_r50 import *
    from .._base_.datasets.nyudv2_cmx import *

model.update(modalities=("rgb", "hha"))
