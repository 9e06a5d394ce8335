"""Several processes that train one model: their wrapper, their buffers, their end."""

from __future__ import annotations

import inspect
import os
import time
import typing
from typing import Any

import torch
import torch.distributed
from mmengine.dist import all_reduce_params, broadcast
from mmengine.hooks import EMAHook, Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import nn
from torch.nn.parallel import DistributedDataParallel

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
