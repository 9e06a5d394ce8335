"""The demo: AsymFusion-ResNet-18 on synthetic rooms, from random weights, on a CPU.

With modality dropout, one checkpoint serves RGB and depth, RGB alone and depth alone.
"""

from mmengine.config import read_base

with read_base():
    from .._base_.datasets.rooms import *
    from .._base_.models.asymfusion_r18 import *
    from .._base_.runtime import *
    from .._base_.schedules.adamw_poly import *

model.update(
    num_classes=10,
    decoder=dict(width=64, dropout=0.1),
    modality_dropout=2 / 3,  # RGB alone, depth alone and both in equal shares
    statistics=dict(depth=dict(mean=(3.85,), std=(1.40,))),  # metres, of the training frames
)

optim_wrapper.update(optimizer=dict(lr=2e-3), dtype="auto")
param_scheduler[0].update(end=1)
param_scheduler[1].update(begin=1)

# Rooms of their own are scored along the way, but the last epoch is the result.
train_cfg.update(max_epochs=15, val_interval=5)
default_hooks.update(checkpoint=dict(save_best=None))
