"""Classes and normals of the synthetic rooms from RGB and depth, by two heads on one backbone."""

from mmengine.config import read_base

from rgbx.models import multimodal

with read_base():
    from .asymfusion_r18_rooms_160x120 import *

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
dataset.update(modalities=("rgb", "depth", "normal"))
