"""AsymFusion-ResNet-50 on MFNet, RGB and thermal, scored at 480x640."""

from mmengine.config import read_base

with read_base():
    from .._base_.asymfusion_r50 import *
    from .._base_.datasets.mfnet import *

model.update(
    modalities=("rgb", "thermal"),
    num_classes=9,
    # the middle and a quarter of the 8-bit scale
    statistics=dict(thermal=dict(mean=(127.5,), std=(63.75,))),
)
