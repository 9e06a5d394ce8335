"""Checkpoints of other projects as checkpoints of rgbx, and smaller ones."""

from rgbx.convert.asymfusion import asymfusion_model, convert_asymfusion
from rgbx.convert.hub import push_model, save_model
from rgbx.convert.key_report import KeyReport
from rgbx.convert.slim import slim

__all__ = ["KeyReport", "asymfusion_model", "convert_asymfusion", "push_model", "save_model", "slim"]
