"""Synthetic rooms of 160x120: rgb is ambiguous where depth is not, and the other way round."""

from mmengine.dataset import default_collate

from rgbx.datasets import EpochSampler, SyntheticRooms
from rgbx.transforms import ColorJitter, HorizontalFlip, PackSample

data_root = "data/rooms"  # made by tools/render_rooms.py; frames that are missing are rendered

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
        modalities=("rgb", "depth"),
        transforms=[
            dict(type=HorizontalFlip),
            dict(type=ColorJitter),
            dict(type=PackSample),
        ],
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
        modalities=("rgb", "depth"),
        transforms=[dict(type=PackSample)],
    ),
)
val_dataloader = test_dataloader
