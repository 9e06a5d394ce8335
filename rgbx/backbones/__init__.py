"""Backbones: timm networks with shared weights, private norms and fusion."""

from rgbx.backbones.shared import SharedBackbone, to_channels_last
from rgbx.backbones.stems import ModalityStem, stem_weight
from rgbx.backbones.weight_file import (
    cast,
    read_pickle,
    read_state_dict,
    repeats_values,
    shown_keys,
    trusting,
)
from rgbx.backbones.weight_summary import WeightSummary

__all__ = [
    "ModalityStem",
    "SharedBackbone",
    "WeightSummary",
    "cast",
    "read_pickle",
    "read_state_dict",
    "repeats_values",
    "shown_keys",
    "stem_weight",
    "to_channels_last",
    "trusting",
]
