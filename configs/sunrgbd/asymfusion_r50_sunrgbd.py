"""AsymFusion-ResNet-50 on SUN RGB-D.

Crop 480x480, batch 16, AdamW 8e-5, weight decay 0.01, polynomial decay after 10 epochs of warm-up, 300 epochs and the
mean and deviation of the depth images as DFormer-Base has them. Our scales are drawn evenly from 0.5 to 1.75, DFormer's
from a list between these; the network and the frozen statistics of its norms are those of our NYU Depth V2 recipe.
"""

from mmengine.config import read_base

with read_base():
    from .._base_.asymfusion_r50 import *
    from .._base_.datasets.sunrgbd import *

model.update(
    num_classes=37,
    statistics=dict(depth=dict(mean=(0.48,), std=(0.28,))),  # of 0..1: this layout's depth is relative
)
optim_wrapper.update(optimizer=dict(lr=8e-5))
train_cfg.update(max_epochs=300)
