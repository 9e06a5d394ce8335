"""AsymFusion-ResNet-152 with RefineNet on NYU Depth V2: as asymfusion_r101_nyudv2_authors.py, stages of 150 epochs.

The authors' published mIoU of this network is 51.2 (single scale, by their protocol, chosen on the test split).
"""

from mmengine.config import read_base

with read_base():
    from .asymfusion_r101_nyudv2_authors import *

model.update(backbone="resnet152.tv_in1k")
param_scheduler[0].update(milestones=[150])
param_scheduler[1].update(milestones=[300])
train_cfg.update(max_epochs=450)
