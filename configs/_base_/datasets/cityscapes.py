"""Cityscapes as downloaded, 19 classes, with depth from the disparity and camera packages."""

from mmengine.dataset import default_collate

from rgbx.datasets import Cityscapes, EpochSampler
from rgbx.transforms import ColorJitter, HorizontalFlip, PackSample, RandomScaleCrop

data_root = "data/cityscapes"

train_dataloader = dict(
    batch_size=8,
    num_workers=8,
    persistent_workers=True,
    drop_last=True,
    sampler=dict(type=EpochSampler, shuffle=True),
    collate_fn=dict(type=default_collate),
    dataset=dict(
        type=Cityscapes,
        root=data_root,
        split="train",
        modalities=("rgb", "depth"),
        transforms=[
            dict(type=RandomScaleCrop, size=(512, 1024), scale=(0.5, 2.0)),
            dict(type=HorizontalFlip),
            dict(type=ColorJitter),
            dict(type=PackSample),
        ],
    ),
)
# Cityscapes' test labels are not public: results are those of val, at its full size.
val_dataloader = dict(
    batch_size=1,
    num_workers=4,
    sampler=dict(type=EpochSampler, shuffle=False),
    collate_fn=dict(type=default_collate),
    dataset=dict(
        type=Cityscapes,
        root=data_root,
        split="val",
        modalities=("rgb", "depth"),
        transforms=[dict(type=PackSample)],
    ),
)
test_dataloader = val_dataloader
