"""SGD in three stages of 100 epochs with constant learning rates, after AsymFusion's authors.

Encoder 5e-4, 2.5e-4, 1e-4 as published; decoder 3e-3, 1.5e-3, 6e-4, where the authors have 7e-4 in the last stage: one
factor per stage serves both. The authors make the optimizer anew in each stage, here its momentum goes on.
"""

from mmengine.optim import MultiStepLR
from torch.optim import SGD

from rgbx.train.optim import AutocastOptimWrapper, EncoderDecoderConstructor

train_cfg = dict(by_epoch=True, max_epochs=300, val_interval=5)

optim_wrapper = dict(
    type=AutocastOptimWrapper,
    constructor=EncoderDecoderConstructor,
    optimizer=dict(type=SGD, momentum=0.9, weight_decay=1e-5),
    paramwise_cfg=dict(encoder_lr=5e-4, decoder_lr=3e-3),
    dtype=None,  # mixed precision: "bfloat16", "float16" on CUDA, or "auto"
    accumulative_counts=1,  # batches per step
)

param_scheduler = [
    dict(type=MultiStepLR, milestones=[100], gamma=0.5),
    dict(type=MultiStepLR, milestones=[200], gamma=0.4),
]
