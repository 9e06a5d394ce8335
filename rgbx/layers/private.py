"""Layers of which each modality has its own, and whose parameter is whose."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from rgbx.layers.modality_norm import ModalityAffine, ModalityNorm
from rgbx.layers.stack import StackLayout

CONTAINERS = ("norms", "copies")  # attribute under which a layer keeps what is private, by modality


class ModalityLayer(nn.Module):
    """One copy of a layer per modality, each applied to its own part of the stack [M*N, ...].

    The parameters are stored under the modality's name (``copies.rgb.weight``), all starting as copies of the given
    layer's.
    """

    def __init__(self, layer: nn.Module, layout: StackLayout) -> None:
        super().__init__()
        self.layout = layout
        self.copies = nn.ModuleDict({name: copy.deepcopy(layer) for name in layout.modalities})

    def forward(self, x: Tensor) -> Tensor:
        layers = [self.copies[name] for name in self.layout.present]
        if len(layers) == 1:
            return layers[0](x)
        parts = x.unflatten(0, (len(layers), -1)).unbind(0)
        return torch.cat([layer(part) for layer, part in zip(layers, parts, strict=True)])


def separate_layers(module: nn.Module, layout: StackLayout) -> None:
    """Gives every modality its own copy of every layer inside ``module``, norms that are private already excepted.

    Raises:
        ValueError: for a module that holds parameters beside child modules, which cannot be copied layer by layer.
    """
    for name, child in list(module.named_children()):
        if isinstance(child, (ModalityNorm, ModalityAffine, ModalityLayer)):
            continue
        if not list(child.parameters(recurse=False)):
            separate_layers(child, layout)
        elif list(child.children()):
            raise ValueError(f"{type(child).__name__} holds parameters of its own beside layers: no separate encoders")
        else:
            setattr(module, name, ModalityLayer(child, layout))


def owner(parameter: str) -> str | None:
    """The modality that a parameter, by its full name, belongs to; None for what all share."""
    parts = parameter.split(".")
    return next((parts[i + 1] for i, part in enumerate(parts[:-1]) if part in CONTAINERS), None)
