"""Classes, surface normals and completed depth of the synthetic rooms from RGB and depth with holes: three heads, one
backbone.

The depth that the network sees has lost measured pixels, one by one; `depth_dense` holds them, and is scored where they
were taken away.
"""

from mmengine.config import read_base

from rgbx.transforms import HoldOutDepth, HorizontalFlip, PackSample

with read_base():
    from .joint_r18_rooms_160x120 import *

model["heads"].update(
    dense=dict(task="map", unit="metre", target="depth_dense", decoder=dict(name="image", width=64), weight=4.0)
)
train_dataloader["dataset"].update(
    transforms=[dict(type=HorizontalFlip), dict(type=HoldOutDepth), dict(type=PackSample)]
)
val_dataloader["dataset"].update(transforms=[dict(type=HoldOutDepth), dict(type=PackSample)])
test_dataloader["dataset"].update(transforms=[dict(type=HoldOutDepth), dict(type=PackSample)])
