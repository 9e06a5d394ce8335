"""Checkpoints of other projects as checkpoints of rgbx."""

from rgbx.convert.asymfusion import asymfusion_model, convert_asymfusion
from rgbx.convert.key_report import KeyReport

__all__ = ["KeyReport", "asymfusion_model", "convert_asymfusion"]
