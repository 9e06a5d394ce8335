"""Backbones: timm networks with shared weights, private norms and fusion."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rgbx._late import late_names
from rgbx.backbones.weight_file import (
    cast,
    read_pickle,
    read_state_dict,
    repeats_values,
    shown_keys,
    trusting,
)
from rgbx.backbones.weight_summary import WeightSummary

if TYPE_CHECKING:
    from rgbx.backbones.shared import SharedBackbone, to_channels_last
    from rgbx.backbones.stems import ModalityStem, stem_weight

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


def __dir__() -> list[str]:
    return [*globals(), *__all__]


# files of weights are read without timm
__getattr__ = late_names(
    __name__, {"shared": ("SharedBackbone", "to_channels_last"), "stems": ("ModalityStem", "stem_weight")}
)
