"""The 40 classes of NYU Depth V2 (Gupta et al., CVPR 2013) and the palette they are drawn in."""

from __future__ import annotations

from rgbx.datasets.palette import bitwise_palette

NYUDV2_CLASSES = (
    "wall", "floor", "cabinet", "bed", "chair", "sofa", "table", "door", "window", "bookshelf",
    "picture", "counter", "blinds", "desk", "shelves", "curtain", "dresser", "pillow", "mirror",
    "floor mat", "clothes", "ceiling", "books", "refrigerator", "television", "paper", "towel",
    "shower curtain", "box", "whiteboard", "person", "night stand", "toilet", "sink", "lamp",
    "bathtub", "bag", "otherstructure", "otherfurniture", "otherprop",
)  # fmt: skip
NYUDV2_PALETTE = bitwise_palette(41)[1:]  # black is left for void, as in labels that count it as 0
