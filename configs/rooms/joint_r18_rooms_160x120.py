"""Classes and normals of the synthetic rooms from RGB and depth, by two heads on one backbone.

Each head predicts on its own: `model.segmentor` and `model.translator` of the built model are complete models.
"""

from mmengine.config import read_base
from rgbx.evaluate.joint_metric import JointSegmentationMetric
from rgbx.evaluate.translation_metric import TranslationMetric

from rgbx.models import multimodal_joint

with read_base():
    from .._base_.datasets.rooms import *
    from .._base_.runtime import *
    from .._base_.schedules.adamw_poly import *

model = dict(
    type=multimodal_joint,
    modalities=("rgb", "depth"),
    num_classes=10,
    target="normal",
    backbone="resnet18",
    pretrained=None,
    decoder=dict(width=64, dropout=0.1),
    translation_width=64,
    l1=1.0,
)

train_dataloader["dataset"].update(modalities=("rgb", "depth", "normal"))
test_dataloader["dataset"].update(modalities=("rgb", "depth", "normal"))
val_dataloader = test_dataloader

optim_wrapper.update(optimizer=dict(lr=2e-3), dtype="auto")
param_scheduler[0].update(end=1)
param_scheduler[1].update(begin=1)
train_cfg.update(max_epochs=15, val_interval=5)
val_evaluator = [dict(type=JointSegmentationMetric), dict(type=TranslationMetric)]
test_evaluator = val_evaluator
default_hooks.update(checkpoint=dict(save_best=None))
