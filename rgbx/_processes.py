"""Processes that train one model together, as far as layers and losses must know of each other's batches."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor, distributed

_together: ContextVar[bool] = ContextVar("together", default=False)


def process_count() -> int:
    """How many processes there are in the group that this one has joined; 1 outside any."""
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


@contextmanager
def together(yes: bool = True) -> Iterator[None]:
    """A context in which the batches of all processes count as one, see `shared_mean`.

    All processes must do the same in it, as in a step of training; one that does something alone opens it with False.
    """
    token = _together.set(yes)
    try:
        yield
    finally:
        _together.reset(token)


@torch.no_grad()
def shared_mean(
    x: Tensor,  # [...]
) -> Tensor:
    """The mean over all processes in the context `together`, in at least float32, without gradient; elsewhere x itself.

    A loss that is a sum over what counts, divided by how much counts, is divided by this mean of it: then the mean of
    the processes' losses, whose gradient a distributed wrapper gives, is the loss of all batches joined.
    """
    count = process_count()
    if count == 1 or not _together.get():
        return x
    total = x.to(torch.float64, copy=True)
    distributed.all_reduce(total)
    return (total / count).to(torch.promote_types(x.dtype, torch.float32))
