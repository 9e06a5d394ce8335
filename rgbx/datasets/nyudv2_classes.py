"""The 40 classes of NYU Depth V2 (Gupta et al., CVPR 2013) and the palette they are drawn in."""

from __future__ import annotations

NYUDV2_CLASSES = (
    "wall", "floor", "cabinet", "bed", "chair", "sofa", "table", "door", "window", "bookshelf",
    "picture", "counter", "blinds", "desk", "shelves", "curtain", "dresser", "pillow", "mirror",
    "floor mat", "clothes", "ceiling", "books", "refrigerator", "television", "paper", "towel",
    "shower curtain", "box", "whiteboard", "person", "night stand", "toilet", "sink", "lamp",
    "bathtub", "bag", "otherstructure", "otherfurniture", "otherprop",
)  # fmt: skip


def bitwise_palette(count: int) -> list[list[int]]:
    """The usual 256-colour palette: bit 3j + c of the index is bit 7 - j of channel c.

    Entry 0 is black.
    """
    return [
        [sum(((index >> (3 * j + c)) & 1) << (7 - j) for j in range(8)) for c in range(3)] for index in range(count)
    ]


NYUDV2_PALETTE = bitwise_palette(41)[1:]  # black is left for void, as in labels that count it as 0
