"""Small rooms with every target, a loader of them, and models that answer by what they see."""

import torch
from small_models import HEADS, UNET, diverse, small
from torch.utils.data import DataLoader, default_collate

from rgbx.datasets import SyntheticRooms
from rgbx.transforms import PackSample

SIZE = (24, 32)


class Rooms(SyntheticRooms):
    """Of a few frames; what is drawn for each is the frame's own."""

    def __init__(self, frames=3, modalities=("rgb", "depth", "normal"), targets=("normal",)):
        super().__init__(
            size=SIZE, modalities=modalities, targets=targets, num_frames=frames, transforms=[PackSample()]
        )


def loader(dataset, batch_size=2):
    return DataLoader(dataset, batch_size=batch_size, collate_fn=default_collate)


def made(kind, seed=0, depth=3):
    """Fresh from its builder, one class would win everywhere."""
    heads = {name: {**head, "num_classes": 10} if "num_classes" in head else head for name, head in HEADS[kind].items()}
    model = diverse(small(None, seed=seed, heads=heads, backbone={**UNET, "depth": depth})).eval()
    with torch.no_grad():
        for parameter in model.backbone.decoder.parameters():
            parameter.mul_(4)
    return model
