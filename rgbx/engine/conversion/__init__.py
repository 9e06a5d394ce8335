"""Checkpoints of other projects as checkpoints of rgbx."""

from rgbx.engine.conversion.asymfusion import asymfusion_model, convert_asymfusion
from rgbx.engine.conversion.key_report import KeyReport

__all__ = ["KeyReport", "asymfusion_model", "convert_asymfusion"]
