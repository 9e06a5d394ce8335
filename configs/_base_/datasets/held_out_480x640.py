"""What most datasets here share: the loaders, crops of 480x640, and the choice of the checkpoint on held-out frames.

A file that inherits this one names its dataset and what is its own; `data_root` becomes the root of every dataset.
"""

from mmengine.dataset import default_collate

from rgbx.datasets import EpochSampler
from rgbx.transforms import ColorJitter, HorizontalFlip, PackSample, RandomScaleCrop

train_dataloader = dict(
    batch_size=8,
    num_workers=8,
    persistent_workers=True,
    drop_last=True,
    sampler=dict(type=EpochSampler, shuffle=True),
    collate_fn=dict(type=default_collate),
    dataset=dict(
        type=None,
        root=None,
        split="train",
        holdout="exclude",
        modalities=("rgb", "depth"),
        transforms=[
            dict(type=RandomScaleCrop, size=(480, 640), scale=(0.5, 1.75)),
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
        type=None,
        root=None,
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
        type=None,
        root=None,
        split="test",
        modalities=("rgb", "depth"),
        transforms=[dict(type=PackSample)],
    ),
)
