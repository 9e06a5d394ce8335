"""Depth and thermal to RGB on the synthetic rooms, with a discriminator, in minutes on a CPU.

Depth tells panels from posters and balls from bowls, heat shows what hangs flat on a wall and which heater is on.
"""

from mmengine.config import read_base

with read_base():
    from .._base_.datasets.rooms_translation import *
    from .._base_.models.translation_unet import *
    from .._base_.schedules.adam_alternating import *
    from .._base_.translation import *

model.update(
    modalities=("depth", "thermal"),
    target="rgb",
    generator=dict(name="unet", width=16, depth=7, dropout=0.5),
    discriminator=dict(name="patch", width=16, layers=3),
    ranges=dict(thermal=dict(low=10.0, high=40.0)),  # degrees Celsius; hot heaters count as 40
)
optim_wrapper.update(optimizer=dict(lr=1e-3), dtype="auto")
train_cfg.update(max_epochs=20, val_interval=10)
default_hooks.update(checkpoint=dict(save_best=None))  # the test split is scored along the way but chooses nothing
