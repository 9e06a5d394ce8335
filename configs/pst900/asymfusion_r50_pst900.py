"""AsymFusion-ResNet-50 on PST900, RGB and thermal, scored at 720x1280."""

from mmengine.config import read_base

with read_base():
    from .._base_.asymfusion_r50 import *
    from .._base_.datasets.pst900 import *

model.update(
    modalities=("rgb", "thermal"),
    num_classes=5,
    # the middle and a quarter of the 8-bit scale; thermal_folder="thermal_raw" needs figures of 16 bits
    statistics=dict(thermal=dict(mean=(127.5,), std=(63.75,))),
)
