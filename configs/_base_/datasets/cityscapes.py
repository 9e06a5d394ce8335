"""Cityscapes as downloaded, 19 classes, with depth from the disparity and camera packages."""

from rgbx.datasets import Cityscapes
from rgbx.transforms import ColorJitter, HorizontalFlip, PackSample, RandomScaleCrop

data_root = "data/cityscapes"

dataset = dict(type=Cityscapes, root=data_root, modalities=("rgb", "depth"))
train_dataloader = dict(
    batch_size=8,
    num_workers=8,
    drop_last=True,
    dataset=dict(
        split="train",
        cities=(
            *("aachen", "bochum", "bremen", "cologne", "darmstadt", "dusseldorf", "erfurt", "hamburg", "hanover"),
            *("jena", "krefeld", "monchengladbach", "strasbourg", "stuttgart", "tubingen"),
        ),
        transforms=[
            dict(type=RandomScaleCrop, size=(512, 1024), scale=(0.5, 2.0)),
            dict(type=HorizontalFlip),
            dict(type=ColorJitter),
            dict(type=PackSample),
        ],
    ),
)
# Cityscapes' test labels are not public: results are those of val, at its full size. So the checkpoint is chosen on
# three cities held out of the training split (359 of 2975 frames).
val_dataloader = dict(
    batch_size=1,
    num_workers=4,
    dataset=dict(split="train", cities=("ulm", "weimar", "zurich"), transforms=[dict(type=PackSample)]),
)
test_dataloader = dict(batch_size=1, num_workers=4, dataset=dict(split="val", transforms=[dict(type=PackSample)]))
