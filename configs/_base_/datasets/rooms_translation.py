"""Synthetic rooms of 128x128 for translation, where the class of a surface says its colour."""

from mmengine.dataset import default_collate

from rgbx.datasets import EpochSampler, SyntheticRooms
from rgbx.transforms import HorizontalFlip, PackSample

# Made while training, or by tools/render_rooms.py data/rooms_128x128_class --size 128x128 --paints class --train 1200
data_root = "data/rooms_128x128_class"

train_dataloader = dict(
    batch_size=8,
    num_workers=2,
    persistent_workers=True,
    drop_last=True,
    sampler=dict(type=EpochSampler, shuffle=True),
    collate_fn=dict(type=default_collate),
    dataset=dict(
        type=SyntheticRooms,
        root=data_root,
        split="train",
        size=(128, 128),
        paints="class",
        modalities=("depth", "thermal", "rgb"),
        transforms=[dict(type=HorizontalFlip), dict(type=PackSample)],  # a mirrored normal has its x negated
    ),
)
test_dataloader = dict(
    batch_size=8,
    num_workers=2,
    sampler=dict(type=EpochSampler, shuffle=False),
    collate_fn=dict(type=default_collate),
    dataset=dict(
        type=SyntheticRooms,
        root=data_root,
        split="test",
        size=(128, 128),
        paints="class",
        modalities=("depth", "thermal", "rgb"),
        transforms=[dict(type=PackSample)],
    ),
)
val_dataloader = test_dataloader
