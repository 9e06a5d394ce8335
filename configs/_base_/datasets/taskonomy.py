"""Taskonomy as CEN and AsymFusion translate it: resized to 286, cropped to 256, mirrored; shade and texture to RGB."""

from rgbx.datasets import Taskonomy
from rgbx.transforms import HorizontalFlip, PackSample, RandomCrop, Resize

data_root = "data/taskonomy"

dataset = dict(type=Taskonomy, root=data_root, sources=("shade", "texture"), targets=("rgb",))
train_dataloader = dict(
    batch_size=1,
    num_workers=4,
    drop_last=True,
    dataset=dict(
        split="train",
        holdout="exclude",
        transforms=[
            dict(type=Resize, size=286),
            dict(type=RandomCrop, size=256),
            dict(type=HorizontalFlip),
            dict(type=PackSample),
        ],
    ),
)
# The papers score the views of the list "val". The checkpoint is chosen on a part held out of the training views.
val_dataloader = dict(
    batch_size=1,
    num_workers=4,
    dataset=dict(split="train", holdout="only", transforms=[dict(type=Resize, size=256), dict(type=PackSample)]),
)
test_dataloader = dict(
    batch_size=1,
    num_workers=4,
    dataset=dict(split="val", transforms=[dict(type=Resize, size=256), dict(type=PackSample)]),
)
