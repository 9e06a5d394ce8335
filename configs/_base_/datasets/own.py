"""One's own folder with a dataset.toml: its modalities and classes, crops that fit its frames.

Without a validation split, a part of the training frames is held out to choose the checkpoint on.
"""

from rgbx.datasets.own import declared_part
from rgbx.transforms import ColorJitter, HorizontalFlip, PackSample, RandomScaleCrop

data_root = "data/own"

dataset = dict(type=declared_part, root=data_root)
train_dataloader = dict(
    batch_size=4,
    num_workers=2,
    dataset=dict(
        part="train",
        transforms=[
            dict(type=RandomScaleCrop, size="dataset", scale=(0.5, 1.75)),
            dict(type=HorizontalFlip),
            dict(type=ColorJitter),
            dict(type=PackSample),
        ],
    ),
)
val_dataloader = dict(batch_size=1, num_workers=2, dataset=dict(part="val", transforms=[dict(type=PackSample)]))
test_dataloader = dict(batch_size=1, num_workers=2, dataset=dict(part="test", transforms=[dict(type=PackSample)]))
