"""NYU Depth V2 with 40 classes at full size, in the lists of AsymFusion, CEN and TokenFusion."""

from mmengine.dataset import default_collate

from rgbx.datasets import EpochSampler, NYUDv2Lists
from rgbx.transforms import ColorJitter, HorizontalFlip, PackSample, RandomScaleCrop

data_root = "data/nyudv2"

train_dataloader = dict(
    batch_size=8,
    num_workers=8,
    persistent_workers=True,
    drop_last=True,
    sampler=dict(type=EpochSampler, shuffle=True),
    collate_fn=dict(type=default_collate),
    dataset=dict(
        type=NYUDv2Lists,
        root=data_root,
        list_file="train.txt",
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
# The checkpoint is chosen on a part held out of the training list, not on the test split.
val_dataloader = dict(
    batch_size=1,
    num_workers=4,
    sampler=dict(type=EpochSampler, shuffle=False),
    collate_fn=dict(type=default_collate),
    dataset=dict(
        type=NYUDv2Lists,
        root=data_root,
        list_file="train.txt",
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
        type=NYUDv2Lists,
        root=data_root,
        list_file="val.txt",  # the 654 test frames, as these repositories name them
        modalities=("rgb", "depth"),
        transforms=[dict(type=PackSample)],
    ),
)
