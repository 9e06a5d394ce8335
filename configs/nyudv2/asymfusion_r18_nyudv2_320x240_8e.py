"""AsymFusion-ResNet-18 on NYU Depth V2 at 320x240 in eight epochs: half an hour on two CPU cores.

For a first number rather than the best one: crops of 192x256 in training, whole frames in testing.
ImageNet weights make the difference here: --cfg-options model.pretrained=timm, or the path of a
weight file.
"""

from mmengine.config import read_base

with read_base():
    from .asymfusion_r18_nyudv2_320x240 import *

optim_wrapper.update(
    optimizer=dict(lr=1.5e-3),
    paramwise_cfg=dict(encoder_lr_mult=0.2, decoder_lr_mult=1.0),
    dtype="auto",
)
param_scheduler[0].update(end=1)
param_scheduler[1].update(begin=1)
train_dataloader.update(num_workers=2)
train_dataloader["dataset"]["transforms"][0].update(size=(192, 256))
val_dataloader.update(batch_size=8, num_workers=2)
test_dataloader.update(batch_size=8, num_workers=2)
train_cfg.update(max_epochs=8, val_interval=1)
