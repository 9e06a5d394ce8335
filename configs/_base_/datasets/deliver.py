"""DELIVER: rendered street scenes of 1042x1042 in RGB, depth (as HHA), events and lidar, 25 classes."""

from mmengine.dataset import default_collate

from rgbx.datasets import DELIVER, EpochSampler
from rgbx.transforms import ColorJitter, HorizontalFlip, PackSample, RandomScaleCrop

data_root = "data/deliver"

train_dataloader = dict(
    batch_size=2,
    num_workers=8,
    persistent_workers=True,
    drop_last=True,
    sampler=dict(type=EpochSampler, shuffle=True),
    collate_fn=dict(type=default_collate),
    dataset=dict(
        type=DELIVER,
        root=data_root,
        split="train",
        modalities=("rgb", "hha", "event", "lidar"),
        transforms=[
            dict(type=RandomScaleCrop, size=(1024, 1024), scale=(0.5, 1.75)),
            dict(type=HorizontalFlip),
            dict(type=ColorJitter),
            dict(type=PackSample),
        ],
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=4,
    sampler=dict(type=EpochSampler, shuffle=False),
    collate_fn=dict(type=default_collate),
    dataset=dict(
        type=DELIVER,
        root=data_root,
        split="val",
        modalities=("rgb", "hha", "event", "lidar"),
        transforms=[dict(type=PackSample)],
    ),
)
test_dataloader = dict(
    batch_size=1,
    num_workers=4,
    sampler=dict(type=EpochSampler, shuffle=False),
    collate_fn=dict(type=default_collate),
    dataset=dict(
        type=DELIVER,
        root=data_root,
        split="test",
        modalities=("rgb", "hha", "event", "lidar"),
        transforms=[dict(type=PackSample)],
    ),
)
