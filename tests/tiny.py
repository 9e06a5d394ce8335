"""A stand-in for backbone and dataset at the toolkit's interfaces, whose model trains in a second."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from rgbx.datasets import DenseDataset
from rgbx.layers import StackLayout, split_modalities, stack_modalities
from rgbx.models import Head, MultimodalModel, Preprocessor
from rgbx.tasks import Classes

CLASSES = ("left", "right", "far")
STATISTICS = {
    "rgb": {"mean": [128.0] * 3, "std": [128.0] * 3},
    "depth": {"mean": [2.0], "std": [4.0]},
    "thermal": {"mean": [20.0], "std": [5.0]},
}


class Halves(DenseDataset):
    """Colour tells the side, depth tells what is far; every sample is a function of its index."""

    def __init__(self, root="here", length=6, size=(8, 12), modalities=("rgb", "depth"), transforms=()):
        super().__init__(
            modalities=modalities,
            classes=CLASSES,
            transforms=transforms,
            palette=[[255, 0, 0], [0, 0, 255], [0, 255, 0]],
        )
        self.root, self.length, self.size = root, length, size

    def __len__(self):
        return self.length

    def read(self, index):
        rng = np.random.default_rng(index)
        height, width = self.size
        label = np.zeros(self.size, np.uint8)
        label[:, width // 2 :] = 1
        label[: height // 4] = 2
        label[-1] = 255
        rgb = np.where((label == 1)[..., None], 200, 50) + rng.integers(0, 40, (height, width, 3))
        depth = (np.where(label == 2, 5.0, 1.0) + rng.random(self.size)).astype(np.float32)
        sample = {
            "rgb": rgb.astype(np.uint8),
            "depth": depth,
            "label": label,
            "sample_id": f"half/{index}",
            "paths": {},
        }
        return {k: v for k, v in sample.items() if k not in ("rgb", "depth") or k in self.modalities}


class Norms(nn.Module):
    def __init__(self, modalities, channels, kind):
        super().__init__()
        make = {"batch": nn.BatchNorm2d, "group": lambda c: nn.GroupNorm(1, c)}[kind]
        self.norms = nn.ModuleDict({name: make(channels) for name in modalities})


class TinyBackbone(nn.Module):
    """A shared convolution and private norms; dropout makes training random."""

    single_branch = norm_eval = False
    purification = hallucination = None
    reads_clips = False

    def __init__(self, modalities, width, dropout, norm):
        super().__init__()
        self.layout, self.dropout = StackLayout(modalities), dropout
        self.channels, self.strides, self.multiple, self.smallest = (width,), (1,), 1, 1
        self.conv = nn.Conv2d(3, width, 3, padding=1)
        self.norm = Norms(modalities, width, norm)

    def forward(self, inputs):
        parts = split_modalities(self.conv(stack_modalities(inputs, self.layout)), self.layout)
        x = torch.cat([F.relu(self.norm.norms[name](part)) for name, part in parts.items()])
        return [F.dropout(x, self.dropout, self.training)]


class Classifier(nn.Module):
    def __init__(self, width, num_classes):
        super().__init__()
        self.classifier = nn.Conv2d(width, num_classes, 1)

    def forward(self, features):
        return self.classifier(features[-1])


class TinySegmentor(MultimodalModel):
    """Knows whether it was compiled."""

    compiled = None

    def compile_network(self, **options):
        self.compiled = options


def tiny_segmentor(modalities, num_classes, width=4, dropout=0.3, norm="batch", pretrained=None):
    """A model of one head of the task `Classes`; no builder of rgbx made it, so that it has no recipe."""
    task = Classes("labels", num_classes=num_classes)
    return TinySegmentor(
        TinyBackbone(modalities, width, dropout, norm),
        {"labels": Head(Classifier(width, num_classes), task, voters=modalities)},
        Preprocessor(
            modalities,
            {"labels": task},
            statistics={name: STATISTICS.get(name, STATISTICS["depth"]) for name in modalities},
        ),
    )
