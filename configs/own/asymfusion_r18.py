"""AsymFusion-ResNet-18 on one's own folder: python tools/train.py configs/own/asymfusion_r18.py --data-root FOLDER.

Modalities, number of classes, statistics of maps and the size of crops are the dataset's, see docs/training.md.
"""

from mmengine.config import read_base

with read_base():
    from .._base_.datasets.own import *
    from .._base_.models.asymfusion_r18 import *
    from .._base_.runtime import *
    from .._base_.schedules.adamw_poly import *

# pretrained="timm" starts from ImageNet weights, which few frames need; then with a tenth of the learning rate
model.update(modalities="dataset", num_classes="dataset", statistics="dataset")

optim_wrapper.update(optimizer=dict(lr=1e-3), dtype="auto")
param_scheduler[0].update(end=1)
param_scheduler[1].update(begin=1)
train_cfg.update(max_epochs=60, val_interval=5)
