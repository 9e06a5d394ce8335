"""Depth and normals to RGB on NYU Depth V2 at 320x240: U-Net of width 64, PatchGAN, Adam 2e-4, 200 epochs.

The published recipe but for what smaller, wider frames ask for: the U-Net has 7 blocks down, whose innermost features
see 382 pixels, more than a frame has, and frames of 232x312 are padded to 256x384 inside it (8 blocks would pad them
to 256x512). Batches of 4 in place of 1: instance norms do not know the batch, and a GPU is used better. As in pix2pix
the learning rate is constant for the first half and falls linearly to almost 0 in the second.
"""

from mmengine.config import read_base
from mmengine.optim import LinearLR

with read_base():
    from .._base_.datasets.nyudv2_320x240_translation import *
    from .._base_.models.translation_unet import *
    from .._base_.schedules.adam_alternating import *
    from .._base_.translation import *

model.update(
    modalities=("depth", "normal"),
    target="rgb",
    generator=dict(name="unet", width=64, depth=7, dropout=0.5),
)
train_cfg.update(max_epochs=200, val_interval=10)
param_scheduler = [
    dict(type=LinearLR, start_factor=1.0, end_factor=0.01, begin=100, end=200, convert_to_iter_based=True)
]
