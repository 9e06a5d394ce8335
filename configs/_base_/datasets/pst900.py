"""PST900: RGB and thermal underground scenes of 720x1280, 5 classes."""

from mmengine.dataset import default_collate

from rgbx.datasets import PST900, EpochSampler
from rgbx.transforms import ColorJitter, HorizontalFlip, PackSample, RandomScaleCrop

data_root = "data/pst900"

train_dataloader = dict(
    batch_size=8,
    num_workers=8,
    persistent_workers=True,
    drop_last=True,
    sampler=dict(type=EpochSampler, shuffle=True),
    collate_fn=dict(type=default_collate),
    dataset=dict(
        type=PST900,
        root=data_root,
        split="train",
        holdout="exclude",
        modalities=("rgb", "thermal"),
        transforms=[
            dict(type=RandomScaleCrop, size=(640, 1280), scale=(0.5, 1.75)),
            dict(type=HorizontalFlip),
            dict(type=ColorJitter),
            dict(type=PackSample),
        ],
    ),
)
# The checkpoint is chosen on a part held out of the training frames, not on the test split.
val_dataloader = dict(
    batch_size=1,
    num_workers=4,
    sampler=dict(type=EpochSampler, shuffle=False),
    collate_fn=dict(type=default_collate),
    dataset=dict(
        type=PST900,
        root=data_root,
        split="train",
        holdout="only",
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
        type=PST900,
        root=data_root,
        split="test",
        modalities=("rgb", "thermal"),
        transforms=[dict(type=PackSample)],
    ),
)
