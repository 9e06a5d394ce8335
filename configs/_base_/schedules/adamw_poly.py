"""AdamW with polynomial decay after a warm-up, as CMX and DFormer train: 500 epochs, 6e-5.

The decay ends with the training, also where an experiment changes max_epochs.
"""

from mmengine.optim import LinearLR, PolyLR
from torch.optim import AdamW

from rgbx.train.optim import AutocastOptimWrapper, EncoderDecoderConstructor

train_cfg = dict(by_epoch=True, max_epochs=500, val_interval=10)

optim_wrapper = dict(
    type=AutocastOptimWrapper,
    constructor=EncoderDecoderConstructor,
    optimizer=dict(type=AdamW, lr=6e-5, weight_decay=0.01),
    dtype=None,  # mixed precision: "bfloat16", "float16" on CUDA, or "auto"
    accumulative_counts=1,  # batches per step
)

param_scheduler = [
    dict(type=LinearLR, start_factor=1e-3, begin=0, end=10, convert_to_iter_based=True),
    dict(type=PolyLR, power=0.9, eta_min=0.0, begin=10, convert_to_iter_based=True),
]
