"""NYU Depth V2 in lists, with the augmentation of AsymFusion's authors: scale, pad to 500, mirror, crop 500."""

from mmengine.config import read_base

from rgbx.transforms import HorizontalFlip, PackSample, RandomScaleCrop

with read_base():
    from .nyudv2_lists import *

train_dataloader.update(batch_size=6)
train_dataloader["dataset"].update(
    transforms=[
        dict(
            type=RandomScaleCrop,
            size=500,
            scale=(0.5, 2.0),
            min_short_side=350,
            interpolation="cubic",
            fill=dict(rgb=(124, 116, 104)),  # ImageNet's mean colour, which is 0 once normalised
        ),
        dict(type=HorizontalFlip),
        dict(type=PackSample),
    ]
)
