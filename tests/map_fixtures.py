"""What the tests of the generators share: random modalities and generators whose modalities differ."""

from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
from torch import nn

from rgbx.fusion import FusionMethod


@pytest.fixture
def maps():
    """Maps in [-1, 1] by modality; keyword ``channels`` gives some of them another number of channels."""

    def draw(names, size, batch=2, **channels):
        generator = torch.Generator().manual_seed(1)
        return {n: 2 * torch.rand(batch, channels.get(n, 3), *size, generator=generator) - 1 for n in names}

    return draw


@pytest.fixture
def diverse():
    """Draws all parameters anew, so that modalities differ, biases count and images are not grey."""

    def draw(module):
        torch.manual_seed(0)
        for name, parameter in module.named_parameters():
            nn.init.normal_(parameter, 1.0 if ".norms." in name and name.endswith("weight") else 0.0, 0.2)
        return module

    return draw


class Mean(nn.Module):
    """Merges the modalities to their mean."""

    def __init__(self, layout):
        super().__init__()
        self.layout = layout

    def forward(self, features):
        return [x.unflatten(0, (self.layout.count, -1)).mean(0) for x in features]


@dataclass(frozen=True, kw_only=True)
class Merging(FusionMethod):
    def merge_features(self, channels, layout):
        return Mean(layout)


@dataclass(frozen=True, kw_only=True)
class Joined(FusionMethod):
    concatenates_inputs: ClassVar[bool] = True


@pytest.fixture
def merging():
    return Merging()


@pytest.fixture
def joined():
    return Joined()
