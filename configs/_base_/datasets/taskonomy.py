"""Taskonomy as CEN and AsymFusion translate it: resized to 286, cropped to 256, mirrored; shade and texture to RGB."""

from mmengine.dataset import default_collate

from rgbx.datasets import EpochSampler, Taskonomy
from rgbx.transforms import HorizontalFlip, PackSample, RandomCrop, Resize

data_root = "data/taskonomy"

train_dataloader = dict(
    batch_size=1,
    num_workers=4,
    persistent_workers=True,
    drop_last=True,
    sampler=dict(type=EpochSampler, shuffle=True),
    collate_fn=dict(type=default_collate),
    dataset=dict(
        type=Taskonomy,
        root=data_root,
        split="train",
        sources=("shade", "texture"),
        targets=("rgb",),
        transforms=[
            dict(type=Resize, size=286),
            dict(type=RandomCrop, size=256),
            dict(type=HorizontalFlip),
            dict(type=PackSample),
        ],
    ),
)
test_dataloader = dict(
    batch_size=1,
    num_workers=4,
    sampler=dict(type=EpochSampler, shuffle=False),
    collate_fn=dict(type=default_collate),
    dataset=dict(
        type=Taskonomy,
        root=data_root,
        split="val",
        sources=("shade", "texture"),
        targets=("rgb",),
        transforms=[dict(type=Resize, size=256), dict(type=PackSample)],
    ),
)
val_dataloader = test_dataloader
