"""The 19 training classes of Cityscapes (Cordts et al., CVPR 2016), and which label ids they come from."""

from __future__ import annotations

import numpy as np

from rgbx.datasets.sample import IGNORE_INDEX

_TRAIN_CLASSES = (  # label id, name, colour; the position is the train id
    (7, "road", (128, 64, 128)),
    (8, "sidewalk", (244, 35, 232)),
    (11, "building", (70, 70, 70)),
    (12, "wall", (102, 102, 156)),
    (13, "fence", (190, 153, 153)),
    (17, "pole", (153, 153, 153)),
    (19, "traffic light", (250, 170, 30)),
    (20, "traffic sign", (220, 220, 0)),
    (21, "vegetation", (107, 142, 35)),
    (22, "terrain", (152, 251, 152)),
    (23, "sky", (70, 130, 180)),
    (24, "person", (220, 20, 60)),
    (25, "rider", (255, 0, 0)),
    (26, "car", (0, 0, 142)),
    (27, "truck", (0, 0, 70)),
    (28, "bus", (0, 60, 100)),
    (31, "train", (0, 80, 100)),
    (32, "motorcycle", (0, 0, 230)),
    (33, "bicycle", (119, 11, 32)),
)
CITYSCAPES_CLASSES = tuple(name for _, name, _ in _TRAIN_CLASSES)
CITYSCAPES_PALETTE = [list(colour) for _, _, colour in _TRAIN_CLASSES]


def train_id_lookup() -> np.ndarray:
    """uint8 [256]: Cityscapes label id to train id, 255 where a class is not trained."""
    lookup = np.full(256, IGNORE_INDEX, np.uint8)
    for train_id, (label_id, _, _) in enumerate(_TRAIN_CLASSES):
        lookup[label_id] = train_id
    return lookup


def label_id_lookup() -> np.ndarray:
    """uint8 [256]: train id to Cityscapes label id, 0 (unlabelled) for everything that is no train id."""
    lookup = np.zeros(256, np.uint8)
    lookup[: len(_TRAIN_CLASSES)] = [label_id for label_id, _, _ in _TRAIN_CLASSES]
    return lookup
