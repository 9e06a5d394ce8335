"""MFNet: RGB and thermal street scenes of 480x640, 9 classes with "unlabelled" as one of them."""

from mmengine.dataset import default_collate

from rgbx.datasets import EpochSampler, MFNet
from rgbx.transforms import ColorJitter, HorizontalFlip, PackSample, RandomScaleCrop

data_root = "data/mfnet"

train_dataloader = dict(
    batch_size=8,
    num_workers=8,
    persistent_workers=True,
    drop_last=True,
    sampler=dict(type=EpochSampler, shuffle=True),
    collate_fn=dict(type=default_collate),
    dataset=dict(
        type=MFNet,
        root=data_root,
        split="train",
        flips="skip",  # the mirrored copies that the published list names; HorizontalFlip below makes them
        modalities=("rgb", "thermal"),
        transforms=[
            dict(type=RandomScaleCrop, size=(480, 640), scale=(0.5, 1.75)),
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
        type=MFNet,
        root=data_root,
        split="val",
        modalities=("rgb", "thermal"),
        transforms=[dict(type=PackSample)],
    ),
)
test_dataloader = dict(
    batch_size=1,
    num_workers=4,
    sampler=dict(type=EpochSampler, shuffle=False),
    collate_fn=dict(type=default_collate),
    dataset=dict(
        type=MFNet,
        root=data_root,
        split="test",  # also test_day and test_night
        modalities=("rgb", "thermal"),
        transforms=[dict(type=PackSample)],
    ),
)
