"""Layers that know the modalities: the stack and its private norms."""

from rgbx.layers.modality_norm import ModalityAffine, ModalityNorm, modality_norm, replace_norms
from rgbx.layers.stack import StackLayout, split_modalities, stack_modalities

__all__ = [
    "ModalityAffine",
    "ModalityNorm",
    "StackLayout",
    "modality_norm",
    "replace_norms",
    "split_modalities",
    "stack_modalities",
]
