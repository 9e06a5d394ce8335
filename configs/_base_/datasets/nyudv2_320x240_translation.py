"""NYU Depth V2 at 320x240 (folders rgb, depth, label) for translation between rgb, depth, normal and edge.

The frames have a white margin of 2 to 4 pixels on every side, which is cut off: 232x312 is left. What the recipe of
pix2pix and CEN does, resizing to 286 and cropping 256, becomes 259x349 and 232x312, the same factor of 1.117 on both
sides; whole frames of 232x312 are tested, never resized.

Normals are computed from depth as the camera saw it. This copy has depth in steps of 39 mm, which draw stripes on flat
walls; windows of 11 pixels weaken them. Edges are drawn last, on the picture that the network sees, so that their
lines are one pixel wide in training as in testing. A config names the `targets`; its model reads only its own
modalities.
"""

from mmengine.dataset import default_collate

from rgbx.datasets import EpochSampler, NYUDv2Folders
from rgbx.transforms import CenterCrop, ComputeEdges, ComputeNormals, HorizontalFlip, PackSample, RandomCrop, Resize

data_root = "data/nyuv2_320x240"

train_dataloader = dict(
    batch_size=4,
    num_workers=4,
    persistent_workers=True,
    drop_last=True,
    sampler=dict(type=EpochSampler, shuffle=True),
    collate_fn=dict(type=default_collate),
    dataset=dict(
        type=NYUDv2Folders,
        root=data_root,
        split="train",
        holdout="exclude",
        modalities=("rgb", "depth"),
        targets=("rgb",),
        transforms=[
            dict(type=ComputeNormals, fx=259.43, fy=259.73, cx=162.54, cy=126.62, radius=5),
            dict(type=CenterCrop, size=(232, 312)),
            dict(type=Resize, size=(259, 349)),
            dict(type=RandomCrop, size=(232, 312)),
            dict(type=HorizontalFlip),
            dict(type=ComputeEdges),
            dict(type=PackSample),
        ],
    ),
)
# The checkpoint is chosen on a part held out of the training frames, not on the test split.
val_dataloader = dict(
    batch_size=8,
    num_workers=2,
    sampler=dict(type=EpochSampler, shuffle=False),
    collate_fn=dict(type=default_collate),
    dataset=dict(
        type=NYUDv2Folders,
        root=data_root,
        split="train",
        holdout="only",
        modalities=("rgb", "depth"),
        targets=("rgb",),
        transforms=[
            dict(type=ComputeNormals, fx=259.43, fy=259.73, cx=162.54, cy=126.62, radius=5),
            dict(type=CenterCrop, size=(232, 312)),
            dict(type=ComputeEdges),
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
        type=NYUDv2Folders,
        root=data_root,
        split="test",
        modalities=("rgb", "depth"),
        targets=("rgb",),
        transforms=[
            dict(type=ComputeNormals, fx=259.43, fy=259.73, cx=162.54, cy=126.62, radius=5),
            dict(type=CenterCrop, size=(232, 312)),
            dict(type=ComputeEdges),
            dict(type=PackSample),
        ],
    ),
)
