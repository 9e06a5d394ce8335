"""Synthetic rooms of 128x128 for translation, where the class of a surface says its colour."""

from mmengine.config import read_base

from rgbx.transforms import HorizontalFlip, PackSample

with read_base():
    from .rooms import *

# Made while training, or by tools/render_rooms.py data/rooms_128x128_class --size 128x128 --paints class --train 1200
data_root = "data/rooms_128x128_class"

dataset.update(size=(128, 128), paints="class", modalities=("depth", "thermal", "rgb"))
# Colours stay as they are; a mirrored normal has its x negated.
train_dataloader["dataset"].update(transforms=[dict(type=HorizontalFlip), dict(type=PackSample)])
