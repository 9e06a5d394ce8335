"""AsymFusion-ResNet-50 on NYU Depth V2: crop 480x640, scales 0.5 to 1.75, flip, batch 8."""

from mmengine.config import read_base

with read_base():
    from .._base_.asymfusion_r50 import *
    from .._base_.datasets.nyudv2_lists import *
