"""NYU Depth V2 at 320x240 (folders rgb, depth, label) for translation between rgb, depth, normal and edge.

The frames have a white margin of 2 to 4 pixels on every side, which is cut off: 232x312 is left. What the recipe of
pix2pix and CEN does, resizing to 286 and cropping 256, becomes 259x349 and 232x312, the same factor of 1.117 on both
sides; whole frames of 232x312 are tested, never resized.

Normals are computed from depth as the camera saw it. This copy has depth in steps of 39 mm, which draw stripes on flat
walls; windows of 11 pixels weaken them. Edges are drawn last, on the picture that the network sees, so that their
lines are one pixel wide in training as in testing. A config names the `targets`; its model reads only its own
modalities.
"""

from rgbx.datasets import NYUDv2Folders
from rgbx.transforms import CenterCrop, ComputeEdges, ComputeNormals, HorizontalFlip, PackSample, RandomCrop, Resize

data_root = "data/nyuv2_320x240"

_frame = [
    dict(type=ComputeNormals, fx=259.43, fy=259.73, cx=162.54, cy=126.62, radius=5),
    dict(type=CenterCrop, size=(232, 312)),
]
_augmentation = [
    dict(type=Resize, size=(259, 349)),
    dict(type=RandomCrop, size=(232, 312)),
    dict(type=HorizontalFlip),
]
_last = [dict(type=ComputeEdges), dict(type=PackSample)]

dataset = dict(
    type=NYUDv2Folders,
    root=data_root,
    modalities=("rgb", "depth"),
    targets=("rgb",),
    transforms=[*_frame, *_last],
)
train_dataloader = dict(
    batch_size=4,
    num_workers=4,
    drop_last=True,
    dataset=dict(split="train", holdout="exclude", transforms=[*_frame, *_augmentation, *_last]),
)
# The checkpoint is chosen on a part held out of the training frames, not on the test split.
val_dataloader = dict(batch_size=8, num_workers=2, dataset=dict(split="train", holdout="only"))
test_dataloader = dict(batch_size=8, num_workers=2, dataset=dict(split="test"))
