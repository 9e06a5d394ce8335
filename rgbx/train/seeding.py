"""Randomness as a pure function of (seed, epoch, rank), so that resuming repeats it exactly."""

from __future__ import annotations

import random

import numpy as np
import torch
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.runner import Runner

from rgbx.train.distributed import unwrap


def derive_seed(*numbers: int) -> int:
    """Mixes non-negative integers into one seed of 63 bits (numpy's SeedSequence)."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)


def seed_everything(seed: int) -> None:
    """Seeds the global generators of python, numpy and torch (every device)."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


class EpochSeedHook(Hook):
    """Seeds all global generators before every training epoch.

    mmengine does not save generator states, so a resumed run would draw other dropout masks than
    the uninterrupted one. Seeding by (seed, epoch, rank) needs nothing saved. The model's `set_epoch_seed(seed)`
    gets a seed that is the same on every rank, for draws on which all processes must agree: which modalities a
    step uses.
    """

    priority = "HIGHEST"

    def before_train_epoch(self, runner: Runner) -> None:
        seed_everything(derive_seed(runner.seed, runner.epoch, get_rank()))
        unwrap(runner.model).set_epoch_seed(derive_seed(runner.seed, runner.epoch))
