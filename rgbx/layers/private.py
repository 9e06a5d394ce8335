"""Layers of which each modality has its own, and whose parameter is whose."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from rgbx.layers.modality_norm import ModalityAffine, ModalityNorm
from rgbx.layers.stack import StackLayout, split_modalities

CONTAINERS = ("norms", "copies", "stems")  # attribute under which a layer keeps what is private, by modality


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
        outputs = [self.copies[name](part) for name, part in split_modalities(x, self.layout).items()]
        return outputs[0] if len(outputs) == 1 else torch.cat(outputs)


def separate_layers(module: nn.Module, layout: StackLayout) -> None:
    """Gives every modality its own copy of every layer inside ``module``, norms that are private already excepted.

    Raises:
        ValueError: for a module that holds parameters beside layers with parameters: it cannot be copied layer by
            layer, and not as a whole, as the norms inside work on the stack.
    """
    for name, child in list(module.named_children()):
        if isinstance(child, (ModalityNorm, ModalityAffine, ModalityLayer)):
            continue
        own = [key for key, _ in child.named_parameters(recurse=False)]
        if not own:
            separate_layers(child, layout)
        elif any(list(layer.parameters()) for layer in child.children()):
            raise ValueError(
                f"weights='separate' is not possible with this network: {type(child).__name__} holds the parameter "
                f"{own[0]!r} beside its layers; use weights='shared', or a network such as resnet50"
            )
        else:
            setattr(module, name, ModalityLayer(child, layout))


def owner(parameter: str) -> str | None:
    """The modality that a parameter, by its full name, belongs to; None for what all share."""
    parts = parameter.split(".")
    return next((parts[i + 1] for i, part in enumerate(parts[:-1]) if part in CONTAINERS), None)
