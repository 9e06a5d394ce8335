"""Normals and edges to RGB on the synthetic rooms, with a discriminator: pictures, on a CPU.

What RGB shows is mostly chance that no other map of a room tells: the paint of walls and floor, the light.
"""

from mmengine.config import read_base

with read_base():
    from .._base_.datasets.rooms_translation import *
    from .._base_.models.translation_unet import *
    from .._base_.schedules.adam_alternating import *
    from .._base_.translation import *

model.update(
    modalities=("normal", "edge"),
    target="rgb",
    generator=dict(name="unet", width=16, depth=7, dropout=0.5),
    discriminator=dict(name="patch", width=16, layers=3),
)
optim_wrapper.update(optimizer=dict(lr=1e-3), dtype="auto")
train_cfg.update(max_epochs=20, val_interval=10)
default_hooks.update(checkpoint=dict(save_best=None))  # the test split is scored along the way but chooses nothing
