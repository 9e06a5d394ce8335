"""RGB, depth and heat of the synthetic rooms as codes in one space, fused by a graph, from random weights on a CPU.

The codes are those that the objective trains: translated to RGB's, reproduced and classified.
"""

from mmengine.config import read_base

with read_base():
    from .asymfusion_small_rooms_160x120 import *

model.update(
    modalities=("rgb", "depth", "thermal"),
    num_classes=11,  # heaters are hot, or not
    fusion=dict(name="graph", width=32),
    objectives=["modality_translation"],
    statistics=dict(depth=dict(mean=(3.85,), std=(1.40,)), thermal=dict(mean=(24.0,), std=(8.5,), max=60.0)),
)
optim_wrapper["optimizer"].update(betas=(0.0, 0.999))  # a memory of gradients drives the two sides of a game apart
optim_wrapper.update(paramwise_cfg=dict(discriminator_lr=1e-2))
dataset.update(modalities=("rgb", "depth", "thermal"))
