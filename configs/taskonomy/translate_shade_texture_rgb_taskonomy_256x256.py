"""Shade and texture of Taskonomy to RGB, as published: U-Net of width 64, PatchGAN, Adam 2e-4, batch 1, 300 epochs.

For other maps change `sources` and `targets` of `dataset`, and `modalities`, `target` and `ranges` of the
model: its relative maps (shade, depth, texture, edge) reach from 0 to 1. FID and KID need a local Inception file:
val_evaluator=dict(type=Metrics, fid=dict(weights=...)).
"""

from mmengine.config import read_base

with read_base():
    from .._base_.datasets.taskonomy import *
    from .._base_.models.translation_unet import *
    from .._base_.schedules.adam_alternating import *
    from .._base_.translation import *

model.update(
    modalities=("shade", "texture"),
    target="rgb",
    ranges=dict(shade=dict(low=0.0, high=1.0), texture=dict(low=0.0, high=1.0)),
)
