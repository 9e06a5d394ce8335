"""AsymFusion-ResNet-50 on FMB, RGB and infrared, scored at 600x800."""

from mmengine.config import read_base

with read_base():
    from .._base_.asymfusion_r50 import *
    from .._base_.datasets.fmb import *

model.update(
    modalities=("rgb", "thermal"),
    num_classes=14,
    # the middle and a quarter of the 8-bit scale
    statistics=dict(thermal=dict(mean=(127.5,), std=(63.75,))),
)
