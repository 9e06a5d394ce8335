"""A stand-in for model and dataset at the toolkit's interfaces that trains in a second."""

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.model import BaseDataPreprocessor, BaseModel
from torch import nn

from rgbx.datasets import DenseDataset
from rgbx.models import Predictor

CLASSES = ("left", "right", "far")


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


class Preprocessor(BaseDataPreprocessor):
    def forward(self, data, training=False):
        data = self.cast_data(dict(data))
        inputs = {"rgb": lambda x: x.float() / 128 - 1, "depth": lambda x: x / 4 - 0.5}
        return {
            "inputs": {k: f(data[k]) for k, f in inputs.items() if k in data},
            "label": data.get("label"),
            "sample_id": data.get("sample_id"),
        }


class Norms(nn.Module):
    def __init__(self, modalities, channels, kind):
        super().__init__()
        make = {"batch": nn.BatchNorm2d, "group": lambda c: nn.GroupNorm(1, c)}[kind]
        self.norms = nn.ModuleDict({name: make(channels) for name in modalities})


class TinySegmentor(BaseModel):
    alternates = False
    """Two shared convolutions and private norms; dropout makes training random."""

    def __init__(self, modalities, num_classes, width=4, dropout=0.3, norm="batch", pretrained=None):
        super().__init__(data_preprocessor=Preprocessor())
        self.modalities, self.dropout = tuple(modalities), dropout
        self.backbone = nn.Module()
        self.backbone.conv = nn.Conv2d(3, width, 3, padding=1)
        self.backbone.norm = Norms(self.modalities, width, norm)
        self.head = nn.Module()
        self.head.classifier = nn.Conv2d(width, num_classes, 1)
        self.alpha = nn.ParameterDict({n: nn.Parameter(torch.zeros(())) for n in self.modalities})
        self.recipe = {
            "builder": "tiny_segmentor",
            "parameters": {"modalities": self.modalities, "num_classes": num_classes, "width": width},
        }
        self.needs_unused_parameter_search = False
        self.visible = None
        self.compiled = None
        self.stride = 1

    def use_modalities(self, names):
        unknown = set(names or ()) - set(self.modalities)
        if unknown:
            raise ValueError(f"unknown modalities {sorted(unknown)}; known: {self.modalities}")
        self.visible = names

    def compile_network(self, **options):
        self.compiled = options

    def decoder_logits(self, inputs):
        names = [n for n in self.modalities if n in inputs and n in (self.visible or inputs)]
        logits = {}
        for name in names:
            x = inputs[name]
            x = x.expand(-1, 3, -1, -1)
            x = F.relu(self.backbone.norm.norms[name](self.backbone.conv(x)))
            logits[name] = self.head.classifier(F.dropout(x, self.dropout, self.training))
        weights = torch.stack([self.alpha[n] for n in names]).softmax(0)
        votes = zip(weights, names, strict=True)
        logits["ensemble"] = sum(w * logits[n].detach() for w, n in votes)
        return logits

    def forward(self, inputs, label=None, sample_id=None, mode="tensor"):
        if mode == "predict":
            return Predictor(self).predict(inputs, label, sample_id)
        logits = self.decoder_logits(inputs)
        if mode == "loss":
            return {f"loss_{n}": F.cross_entropy(x.float(), label, ignore_index=255) for n, x in logits.items()}
        return logits


def tiny_segmentor(modalities, num_classes, width=4, dropout=0.3, norm="batch", pretrained=None):
    return TinySegmentor(modalities, num_classes, width, dropout, norm, pretrained)
