"""Adam for a generator and its discriminator in alternation, as pix2pix and CEN train: 2e-4, batch 1, 300 epochs."""

from torch.optim import Adam

from rgbx.train.adversarial import AdversarialConstructor
from rgbx.train.optim import AutocastOptimWrapper

train_cfg = dict(by_epoch=True, max_epochs=300, val_interval=5)

optim_wrapper = dict(
    type=AutocastOptimWrapper,
    constructor=AdversarialConstructor,
    optimizer=dict(type=Adam, lr=2e-4, betas=(0.5, 0.999)),
    paramwise_cfg=dict(),  # generator_lr, discriminator_lr
    dtype=None,  # mixed precision: "bfloat16", "float16" on CUDA, or "auto"
    accumulative_counts=1,  # batches per step
)

param_scheduler = []  # or dict(generator=[...], discriminator=[...]); a list is for both
