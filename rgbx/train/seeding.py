"""Randomness as a pure function of (seed, epoch, rank), so that resuming repeats it exactly; its state in between."""

from __future__ import annotations

import random
import typing
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.runner import Runner

from rgbx._types import State
from rgbx.train.distributed import unwrap


def derive_seed(*numbers: int) -> int:
    """Mixes non-negative integers into one seed of 63 bits (numpy's SeedSequence)."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)


def seed_everything(seed: int) -> None:
    """Seeds the global generators of python, numpy and torch (every device)."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def random_state(drawn: Sequence[random.Random]) -> dict[str, Any]:
    """Where all generators stand: the global ones of python, numpy and torch (of this process's GPU, too), and these.

    Returns:
        Plain types and tensors, for `set_random_state`.
    """
    name, words, *rest = typing.cast(tuple[Any, ...], np.random.get_state(legacy=True))
    state: dict[str, Any] = {
        "python": [_plain(each) for each in (random.getstate(), *(generator.getstate() for generator in drawn))],
        "numpy": [name, torch.from_numpy(words.astype(np.int64)), *rest],
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def _plain(state: tuple[object, ...]) -> list[object]:
    version, words, gauss = state
    return [version, torch.tensor(words), gauss]


def set_random_state(state: State, drawn: Sequence[random.Random]) -> None:
    """The inverse of `random_state`.

    Raises:
        ValueError: a state that no generator has, or of another number of generators.
    """
    try:
        setters = [random.setstate, *(generator.setstate for generator in drawn)]
        for set_state, (version, words, gauss) in zip(setters, state["python"], strict=True):
            set_state((version, tuple(words.tolist()), gauss))
        name, words, *rest = state["numpy"]
        np.random.set_state((name, words.numpy().astype(np.uint32), *rest))
        torch.set_rng_state(state["torch"])
        if "cuda" in state and torch.cuda.is_available():
            torch.cuda.set_rng_state(state["cuda"])
    except (KeyError, TypeError, AttributeError, RuntimeError, OverflowError) as error:
        raise ValueError(f"its random generators cannot be set: {error}") from error


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
