"""Classes, surface normals and completed depth of the synthetic rooms from RGB and depth with holes: three heads, one
backbone.

The depth that the network sees has lost measured pixels, one by one and in blocks; `depth_dense` holds them, and is
scored where they were taken away.
"""

from mmengine.config import read_base

from rgbx.models import multimodal
from rgbx.transforms import HoldOutDepth, HorizontalFlip, PackSample

with read_base():
    from .._base_.datasets.rooms import *
    from .._base_.runtime import *
    from .._base_.schedules.adamw_poly import *

model = dict(
    type=multimodal,
    modalities=("rgb", "depth"),
    backbone="resnet18",
    pretrained=None,
    heads=dict(
        labels=dict(task="classes", num_classes=10, decoder=dict(name="light", width=64, dropout=0.1)),
        normal=dict(task="map", unit="unit_vector", decoder=dict(name="image", width=64)),
        dense=dict(task="map", unit="metre", target="depth_dense", decoder=dict(name="image", width=64), weight=4.0),
    ),
    statistics=dict(depth=dict(mean=(3.85,), std=(1.40,))),  # metres, of the training frames
    modality_dropout=None,
)

_maps = ("rgb", "depth", "normal")
train_dataloader["dataset"].update(
    modalities=_maps,
    transforms=[dict(type=HorizontalFlip), dict(type=HoldOutDepth), dict(type=PackSample)],
)
test_dataloader["dataset"].update(modalities=_maps, transforms=[dict(type=HoldOutDepth), dict(type=PackSample)])
val_dataloader = test_dataloader

optim_wrapper.update(optimizer=dict(lr=2e-3), dtype="auto")
param_scheduler[0].update(end=1)
param_scheduler[1].update(begin=1)
train_cfg.update(max_epochs=15, val_interval=5)
default_hooks.update(checkpoint=dict(save_best=None))
