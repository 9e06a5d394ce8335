"""Backbones: timm networks with shared weights, private norms and fusion."""

from rgbx.backbones.shared import SharedBackbone, count_private_parameters, to_channels_last
from rgbx.backbones.weights import WeightSummary

__all__ = ["SharedBackbone", "WeightSummary", "count_private_parameters", "to_channels_last"]
