"""Classes and normals of the synthetic rooms from RGB and depth, by two heads on one backbone."""

from mmengine.config import read_base

from rgbx.models import multimodal

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
    ),
    statistics=dict(depth=dict(mean=(3.85,), std=(1.40,))),  # metres, of the training frames
)

train_dataloader["dataset"].update(modalities=("rgb", "depth", "normal"))
test_dataloader["dataset"].update(modalities=("rgb", "depth", "normal"))
val_dataloader = test_dataloader

optim_wrapper.update(optimizer=dict(lr=2e-3), dtype="auto")
param_scheduler[0].update(end=1)
param_scheduler[1].update(begin=1)
train_cfg.update(max_epochs=15, val_interval=5)
default_hooks.update(checkpoint=dict(save_best=None))
