"""Search across sensors on the synthetic rooms, in minutes on a CPU: codes of regions that RGB and depth share.

A class head and InfoNCE, of all regions of a class; `rgbx retrieve` searches by what it trains. With the adversary of
CM-GANs: ``model.objectives.0.adversary=True``.
"""

from mmengine.config import read_base

from rgbx.models import multimodal_embedder

with read_base():
    from .._base_.datasets.rooms import *
    from .._base_.runtime import *
    from .._base_.schedules.adamw_poly import *

model = dict(
    type=multimodal_embedder,
    modalities=("rgb", "depth"),
    by="class",
    backbone="test_resnet",
    dim=32,
    hidden=64,
    stages=(4, 3),
    statistics=dict(depth=dict(mean=(3.85,), std=(1.40,))),  # metres, of the training frames
    objectives=[dict(name="common_codes", num_classes=10, adversary=False, hidden=64)],
)

optim_wrapper.update(optimizer=dict(lr=2e-3), dtype="auto")
param_scheduler[0].update(end=1)
param_scheduler[1].update(begin=1)

# Rooms of their own are scored along the way, but the last epoch is the result.
train_cfg.update(max_epochs=12, val_interval=6)
default_hooks.update(checkpoint=dict(save_best=None))
