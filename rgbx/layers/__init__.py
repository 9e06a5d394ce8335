"""Layers that know the modalities: the stack and its private norms."""

from rgbx.layers.modality_norm import ModalityAffine, ModalityNorm, modality_norm, replace_norms
from rgbx.layers.private import ModalityLayer, owner, separate_layers
from rgbx.layers.stack import StackLayout, concatenate_modalities, split_modalities, stack_modalities

__all__ = [
    "ModalityAffine",
    "ModalityLayer",
    "ModalityNorm",
    "StackLayout",
    "concatenate_modalities",
    "modality_norm",
    "owner",
    "replace_norms",
    "separate_layers",
    "split_modalities",
    "stack_modalities",
]
