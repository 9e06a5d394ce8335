"""NYU Depth V2 with 40 classes, the public copy of 320x240 (folders rgb, depth, label)."""

from mmengine.dataset import default_collate

from rgbx.datasets import EpochSampler, NYUDv2Folders
from rgbx.transforms import ColorJitter, HorizontalFlip, PackSample, RandomScaleCrop

data_root = "data/nyuv2_320x240"

train_dataloader = dict(
    batch_size=8,
    num_workers=4,
    persistent_workers=True,
    drop_last=True,
    sampler=dict(type=EpochSampler, shuffle=True),
    collate_fn=dict(type=default_collate),
    dataset=dict(
        type=NYUDv2Folders,
        root=data_root,
        split="train",
        holdout="exclude",
        modalities=("rgb", "depth"),
        transforms=[
            dict(type=RandomScaleCrop, size=(240, 320), scale=(0.5, 1.75)),
            dict(type=HorizontalFlip),
            dict(type=ColorJitter),
            dict(type=PackSample),
        ],
    ),
)
# The checkpoint is chosen on a part held out of the training list, not on the test split.
val_dataloader = dict(
    batch_size=1,
    num_workers=4,
    sampler=dict(type=EpochSampler, shuffle=False),
    collate_fn=dict(type=default_collate),
    dataset=dict(
        type=NYUDv2Folders,
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
        type=NYUDv2Folders,
        root=data_root,
        split="test",
        modalities=("rgb", "depth"),
        transforms=[dict(type=PackSample)],
    ),
)
