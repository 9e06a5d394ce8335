"""Several processes that train one model: their wrapper, their buffers, their end."""

from __future__ import annotations

import inspect
import os
import time
import typing
from collections.abc import Mapping
from typing import Any

import torch
import torch.distributed
from mmengine.dist import all_gather_object, all_reduce_params, broadcast
from mmengine.hooks import EMAHook, Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from rgbx._processes import process_count
from rgbx.models import MultimodalModel


def join_processes() -> None:
    """Joins the process group through gloo where there is no GPU, which is what mmengine would ask for."""
    if not torch.distributed.is_initialized() and not torch.cuda.is_available():
        torch.distributed.init_process_group("gloo")


def finish_together() -> None:
    """Waits for all processes of a distributed run; to be called before the process group is destroyed.

    Gloo's threads release the tensors of the last collective after it has returned, and need Python's lock for that.
    Destroying the group meanwhile waits for these threads with the lock held: for ever, or with an abort at exit. A
    barrier has no tensors, and waits without the lock; a thread other than the barrier's may still wait for the lock
    then, and gets it while this one sleeps.
    """
    if torch.distributed.is_initialized():
        torch.distributed.barrier()
        time.sleep(0.1)


def wrap(model: MultimodalModel) -> DistributedDataParallel:
    """The model on its device, with gradients that all processes share.

    Buffers stay each process's own, see `BufferSyncHook`.
    """
    local = [int(os.environ["LOCAL_RANK"])] if torch.cuda.is_available() else None
    known = inspect.signature(DistributedDataParallel).parameters
    buffers = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"
    options: dict[str, Any] = {buffers: False, "find_unused_parameters": model.needs_unused_parameter_search}
    return DistributedDataParallel(model.cuda() if local else model, device_ids=local, **options)


def unwrap(model: nn.Module) -> MultimodalModel:
    """The model without its distributed wrapper."""
    return typing.cast(MultimodalModel, model.module if is_model_wrapper(model) else model)


class SharedLosses:
    """The means of losses over all processes, so that the first one, which writes, tells what one process would.

    The batch of a process may leave some losses out; the mean is over those that have it. So that all talk in one
    reduction a step, whatever they have, they tell each other a name once.
    """

    def __init__(self, device: torch.device) -> None:
        self._names: list[str] = []
        self._device = device

    def means(
        self,
        losses: Mapping[str, Tensor],  # [] each
    ) -> dict[str, Tensor]:
        """The means, by name; the losses themselves where there is one process. To be called by all alike."""
        if process_count() == 1:
            return dict(losses)
        found = self._reduced(losses)
        values = found.tolist()  # the one wait for the device
        if values[-1]:
            told = [name for names in all_gather_object(list(losses)) for name in names]
            self._names = list(dict.fromkeys([*self._names, *told]))
            found = self._reduced(losses)
            values = found.tolist()
        count = len(self._names)
        everyones = zip(self._names, found[:count], values[count : 2 * count], strict=True)
        return {name: total / number for name, total, number in everyones if number}

    def _reduced(
        self,
        losses: Mapping[str, Tensor],  # [] each
    ) -> Tensor:
        """Of each known name the sum, then of each how many have it, then how many have others, [2K + 1]."""
        nothing = torch.zeros((), device=self._device, dtype=torch.float64)
        values = [losses[name].detach().double() if name in losses else nothing for name in self._names]
        counts = [float(name in losses) for name in self._names]
        rest = torch.tensor([*counts, float(not losses.keys() <= set(self._names))], device=self._device).double()
        found = torch.cat([torch.stack(values), rest]) if values else rest
        torch.distributed.all_reduce(found)
        return found


def is_running(name: str) -> bool:
    """Whether a buffer, by its name, is a running statistic of a norm."""
    return name.endswith((".running_mean", ".running_var"))


class BufferSyncHook(Hook):
    """Gives all processes the same buffers at the end of each training epoch, so that one model is saved and scored.

    Each process gathers the running statistics of its own batches; here they become their mean.
    Other buffers are those of the first process. An EMA's copy of the model is treated likewise,
    as checkpoints hold its buffers.
    """

    priority = "NORMAL"

    def after_train_epoch(self, runner: Runner) -> None:
        averages = [hook.ema_model.module for hook in runner.hooks if isinstance(hook, EMAHook)]
        for model in (unwrap(runner.model), *averages):
            self._synchronise(model)

    @staticmethod
    def _synchronise(model: nn.Module) -> None:
        running: list[torch.Tensor] = []
        others: list[torch.Tensor] = []
        for name, buffer in model.named_buffers():
            (running if is_running(name) else others).append(buffer)
        if running:
            all_reduce_params(running, op="mean")
        for buffer in others:
            broadcast(buffer, src=0)
