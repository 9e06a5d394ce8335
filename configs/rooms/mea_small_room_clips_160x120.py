"""MEA on clips of rooms whose depth lags: 1 frame of RGB, 5 of depth; 0 to 0.2 s in training, 0.3 s at test.

Clips are rendered as they are read, six frames each; nothing is kept.
"""

from mmengine.config import read_base

from rgbx.datasets import RoomClips
from rgbx.transforms import HorizontalFlip, PackSample

with read_base():
    from .._base_.models.asymfusion_r18 import *
    from .._base_.runtime import *
    from .._base_.schedules.adamw_poly import *

model.update(
    num_classes=10,
    backbone="test_resnet",
    fusion=dict(name="mea"),
    decoder=dict(width=64, dropout=0.1),
    statistics=dict(depth=dict(mean=(3.85,), std=(1.40,))),  # metres, of the training frames
)

_clips = dict(type=RoomClips, modalities=("rgb", "depth"), frames=dict(depth=5), offsets=dict(depth=0), speed=30.0)
train_dataloader = dict(
    batch_size=8,
    num_workers=2,
    drop_last=True,
    dataset=dict(
        _clips,
        split="train",
        delays=dict(depth=(0.0, 0.2)),
        transforms=[dict(type=HorizontalFlip), dict(type=PackSample)],
    ),
)
_evaluated = dict(_clips, delays=dict(depth=0.3), transforms=[dict(type=PackSample)])
val_dataloader = dict(batch_size=8, num_workers=2, dataset=dict(_evaluated, split="val"))
test_dataloader = dict(batch_size=8, num_workers=2, dataset=dict(_evaluated, split="test"))

optim_wrapper.update(optimizer=dict(lr=2e-3), dtype="auto")
param_scheduler[0].update(end=1)
param_scheduler[1].update(begin=1)
train_cfg.update(max_epochs=15, val_interval=5)
default_hooks.update(checkpoint=dict(save_best=None))
