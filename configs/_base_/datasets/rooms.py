"""Synthetic rooms of 160x120: rgb is ambiguous where depth is not, and the other way round."""

from rgbx.datasets import SyntheticRooms
from rgbx.transforms import ColorJitter, HorizontalFlip, PackSample

data_root = "data/rooms"  # made by tools/render_rooms.py; frames that are missing are rendered

dataset = dict(type=SyntheticRooms, root=data_root, modalities=("rgb", "depth"))
train_dataloader = dict(
    batch_size=8,
    num_workers=2,
    drop_last=True,
    dataset=dict(
        split="train",
        transforms=[dict(type=HorizontalFlip), dict(type=ColorJitter), dict(type=PackSample)],
    ),
)
val_dataloader = dict(batch_size=8, num_workers=2, dataset=dict(split="val", transforms=[dict(type=PackSample)]))
test_dataloader = dict(batch_size=8, num_workers=2, dataset=dict(split="test", transforms=[dict(type=PackSample)]))
