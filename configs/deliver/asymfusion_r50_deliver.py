"""AsymFusion-ResNet-50 on DELIVER, RGB with depth as HHA, events and lidar.

Fewer modalities: dataset.modalities and model.modalities, such as ("rgb", "hha").
"""

from mmengine.config import read_base

with read_base():
    from .._base_.asymfusion_r50 import *
    from .._base_.datasets.deliver import *

model.update(
    modalities=("rgb", "hha", "event", "lidar"),
    num_classes=25,
    # the authors scale these pictures to 0..1
    statistics=dict(
        hha=dict(mean=(0.0, 0.0, 0.0), std=(255.0, 255.0, 255.0)),
        event=dict(mean=(0.0, 0.0, 0.0), std=(255.0, 255.0, 255.0)),
        lidar=dict(mean=(0.0, 0.0, 0.0), std=(255.0, 255.0, 255.0)),
    ),
)
