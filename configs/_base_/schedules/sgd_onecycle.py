"""SGD with a one-cycle learning rate: up for a tenth of the training, then down by a cosine."""

from mmengine.optim import OneCycleLR
from torch.optim import SGD

from rgbx.train.optim import AutocastOptimWrapper, EncoderDecoderConstructor

train_cfg = dict(by_epoch=True, max_epochs=200, val_interval=5)

optim_wrapper = dict(
    type=AutocastOptimWrapper,
    constructor=EncoderDecoderConstructor,
    optimizer=dict(type=SGD, lr=0.01, momentum=0.9, weight_decay=1e-4),
    dtype=None,  # mixed precision: "bfloat16", "float16" on CUDA, or "auto"
    accumulative_counts=1,  # batches per step
)

# eta_max replaces the learning rate of every group, so neither the optimizer's lr nor paramwise_cfg
# (encoder_lr, encoder_lr_mult, ...) has any effect with this schedule: change eta_max instead.
# total_steps is in epochs and must be max_epochs.
param_scheduler = [
    dict(type=OneCycleLR, eta_max=0.01, total_steps=200, pct_start=0.1, convert_to_iter_based=True),
]
