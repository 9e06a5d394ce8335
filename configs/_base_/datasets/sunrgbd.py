"""SUN RGB-D with 37 classes, in the folders of CMX and DFormer.

Depth is taken as "relative", since copies of this layout differ in what it holds: a model needs statistics for it.
"""

from mmengine.dataset import default_collate

from rgbx.datasets import SUNRGBD, EpochSampler
from rgbx.transforms import ColorJitter, HorizontalFlip, PackSample, RandomScaleCrop

data_root = "data/SUNRGBD"

train_dataloader = dict(
    batch_size=16,
    num_workers=8,
    persistent_workers=True,
    drop_last=True,
    sampler=dict(type=EpochSampler, shuffle=True),
    collate_fn=dict(type=default_collate),
    dataset=dict(
        type=SUNRGBD,
        root=data_root,
        split="train",
        holdout="exclude",
        modalities=("rgb", "depth"),
        transforms=[
            dict(type=RandomScaleCrop, size=(480, 480), scale=(0.5, 1.75)),
            dict(type=HorizontalFlip),
            dict(type=ColorJitter),
            dict(type=PackSample),
        ],
    ),
)
# The checkpoint is chosen on a part held out of the training list, not on the test split.
val_dataloader = dict(
    batch_size=1,  # the four kinds of cameras have images of different sizes
    num_workers=4,
    sampler=dict(type=EpochSampler, shuffle=False),
    collate_fn=dict(type=default_collate),
    dataset=dict(
        type=SUNRGBD,
        root=data_root,
        split="train",
        holdout="only",
        modalities=("rgb", "depth"),
        transforms=[dict(type=PackSample)],
    ),
)
test_dataloader = dict(
    batch_size=1,
    num_workers=4,
    sampler=dict(type=EpochSampler, shuffle=False),
    collate_fn=dict(type=default_collate),
    dataset=dict(
        type=SUNRGBD,
        root=data_root,
        split="test",
        modalities=("rgb", "depth"),
        transforms=[dict(type=PackSample)],
    ),
)
