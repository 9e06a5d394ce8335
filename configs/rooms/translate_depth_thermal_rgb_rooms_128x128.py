"""Depth and thermal to RGB on the synthetic rooms, with a discriminator, in minutes on a CPU.

Depth tells panels from posters and balls from bowls, heat shows what hangs flat on a wall and which heater is on.
"""

from mmengine.config import read_base
from mmengine.optim import PolyLR

with read_base():
    from .._base_.datasets.rooms_translation import *
    from .._base_.models.translation_unet import *
    from .._base_.schedules.adam_alternating import *
    from .._base_.translation import *

model.update(
    modalities=("depth", "thermal"),
    target="rgb",
    generator=dict(name="unet", width=16, depth=7, dropout=0.0),
    discriminator=dict(name="patch", width=16, layers=3),
    ranges=dict(thermal=dict(low=14.0, high=30.0)),  # degrees Celsius; hot heaters count as 30
)
optim_wrapper.update(optimizer=dict(lr=1e-3), dtype="auto")
param_scheduler = [dict(type=PolyLR, power=1.0, convert_to_iter_based=True)]
train_cfg.update(max_epochs=14, val_interval=7)
train_dataloader.dataset.update(num_frames=1200)
default_hooks.update(checkpoint=dict(save_best=None))  # the last epoch is the result
