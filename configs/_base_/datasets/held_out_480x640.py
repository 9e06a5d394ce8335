"""What most datasets here share: the loaders, crops of 480x640, and the choice of the checkpoint on held-out frames.

A file that inherits this one names its dataset and what is its own; `data_root` becomes the root of every dataset.
"""

from rgbx.transforms import ColorJitter, HorizontalFlip, PackSample, RandomScaleCrop

dataset = dict(type=None, root=None, modalities=("rgb", "depth"))
train_dataloader = dict(
    batch_size=8,
    num_workers=8,
    drop_last=True,
    dataset=dict(
        split="train",
        holdout="exclude",
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
    dataset=dict(split="train", holdout="only", transforms=[dict(type=PackSample)]),
)
test_dataloader = dict(batch_size=1, num_workers=4, dataset=dict(split="test", transforms=[dict(type=PackSample)]))
