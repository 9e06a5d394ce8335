"""How translations are logged, saved, drawn and scored; every translation begins with this."""

from mmengine.config import read_base

from rgbx.evaluate.grid_hook import GridHook
from rgbx.evaluate.translation_metric import TranslationMetric
from rgbx.train.checkpoint_hook import CheckpointHook

with read_base():
    from .runtime import *

default_hooks.update(checkpoint=dict(type=CheckpointHook, save_best="MAE", rule="less"))
custom_hooks = [dict(type=GridHook, count=4, interval=1)]  # pictures/epoch_N.png after each validation

val_evaluator = dict(type=TranslationMetric)
test_cfg = dict()  # protocol="cen": dropout stays on, colours are stretched
test_evaluator = dict(type=TranslationMetric)
