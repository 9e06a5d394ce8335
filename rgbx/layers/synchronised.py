"""Batch norm over the batches of all processes, for one norm or for those of all modalities in a stack at once.

torch's own `SyncBatchNorm` refuses tensors of the CPU, and would talk once for each modality. Here a norm talks once
forward and once backward, whatever the modalities are, by the collectives of the group that the processes have joined.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeGuard

import torch
from torch import Tensor, distributed, nn
from torch.autograd.function import FunctionCtx, once_differentiable
from torch.nn.modules.batchnorm import _BatchNorm

from rgbx._processes import process_count
from rgbx.layers.batch_norm import Mixed, has_activation, mixed


class SynchronisedNorm(Mixed):
    """What `synchronise_norms` makes of a batch norm: in training it is one over the batches of all processes."""

    def forward(
        self,
        x: Tensor,  # [N, C, ...]
    ) -> Tensor:
        return normalise_together(x, [self]) if are_together([self]) else super().forward(x)


def synchronise_norms(module: nn.Module) -> None:
    """Lets every batch norm inside a module normalise by the batches of all processes while it is in training mode.

    Parameters, running statistics and the keys of the state dict stay as they are, and so does all that a norm does in
    evaluation, or where there is one process. Left alone are norms whose class computes something of its own, torch's
    `SyncBatchNorm`, and what lies in a module with a true attribute `of_own_batch`: such a module calls its norms or
    not as the batch of its process has it, and others would wait for it.
    """
    if getattr(module, "of_own_batch", False):
        return
    ordinary = type(module).forward is _BatchNorm.forward or has_activation(module)
    if isinstance(module, _BatchNorm) and ordinary and not isinstance(module, (SynchronisedNorm, nn.SyncBatchNorm)):
        module.__class__ = mixed(SynchronisedNorm, type(module))
    for child in module.children():
        synchronise_norms(child)


def are_together(norms: Sequence[nn.Module]) -> TypeGuard[Sequence[SynchronisedNorm]]:
    """Whether all of them normalise by the batches of all processes now."""
    return process_count() > 1 and all(isinstance(norm, SynchronisedNorm) and norm.training for norm in norms)


@torch._disable_dynamo  # what is compiled ends before a collective and goes on after it; alone it brings no compiler
def normalise_together(
    x: Tensor,  # [M*N, C, ...]
    norms: Sequence[SynchronisedNorm],
) -> Tensor:
    """Batch norm of a stack, each part by its own norm, with the statistics of all processes' batches.

    All processes must call it alike, with the same norms, and go backward through it alike; N may differ, and is not 0.

    Args:
        x: the stack.
        norms: M of them, equal but for parameters and statistics.
    """
    first = norms[0]
    first._check_input_dim(x)
    parts = x.unflatten(0, (len(norms), -1))  # [M, N, C, ...]
    mean, variance, count = _statistics(parts)
    unbiased = variance * (count / (count - 1)).to(variance.dtype)
    for norm, own_mean, own_variance in zip(norms, mean, unbiased, strict=True):
        _track(norm, own_mean, own_variance)
    weight, bias = (
        torch.stack([getattr(norm, name) for norm in norms]) if first.affine else None for name in ("weight", "bias")
    )
    out: Tensor = _Normalised.apply(parts, weight, bias, mean, (variance + first.eps).rsqrt(), count).flatten(0, 1)
    act, drop = (getattr(first, name, None) for name in ("act", "drop"))
    return out if act is None or drop is None else act(drop(out))


def _dimensions(
    x: Tensor,  # [M, N, C, ...]
) -> list[int]:
    """All but those of M and C."""
    return [1, *range(3, x.ndim)]


@torch.no_grad()
def _statistics(
    x: Tensor,  # [M, N, C, ...]
) -> tuple[Tensor, Tensor, Tensor]:
    """Mean and biased variance over all processes, [M, C] each, in at least float32, and the number of values, [].

    Each process tells its mean and its squares about that mean, which lose nothing where the mean is large.
    """
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    variance, mean = torch.var_mean(wide, _dimensions(x), correction=0)
    count = mean.new_full((1,), x.numel() // mean.numel(), dtype=torch.float64)
    own = torch.cat([mean.flatten().double(), variance.flatten().double(), count])
    found = own.new_empty(process_count(), len(own))
    distributed.all_gather(list(found.unbind()), own)
    means, variances = found[:, :-1].unflatten(1, (2, *mean.shape)).unbind(1)  # [P, M, C] of P processes
    total = found[:, -1].sum()
    shares = (found[:, -1] / total).view(-1, 1, 1)
    merged = (shares * means).sum(0)
    spread = (shares * (variances + (means - merged).square())).sum(0)
    return merged.to(mean.dtype), spread.to(mean.dtype), total


@torch.no_grad()
def _track(
    norm: SynchronisedNorm,
    mean: Tensor,  # [C]
    variance: Tensor,  # [C], unbiased
) -> None:
    """Moves running statistics as torch's batch norm does."""
    if not norm.track_running_stats or norm.running_mean is None or norm.running_var is None:
        return
    assert norm.num_batches_tracked is not None
    norm.num_batches_tracked.add_(1)
    momentum = 1 / float(norm.num_batches_tracked) if norm.momentum is None else norm.momentum
    for running, new in ((norm.running_mean, mean), (norm.running_var, variance)):
        running.mul_(1 - momentum).add_(new, alpha=momentum)


class _Normalised(torch.autograd.Function):
    """(x - mean) · inverse · weight + bias, whose mean and deviation are known to be those of x in all processes."""

    @staticmethod
    def forward(
        context: FunctionCtx,
        x: Tensor,  # [M, N, C, ...]
        weight: Tensor | None,  # [M, C]
        bias: Tensor | None,  # [M, C]
        mean: Tensor,  # [M, C]
        inverse: Tensor,  # [M, C], of the deviation
        count: Tensor,  # [], values of a channel
    ) -> Tensor:
        context.save_for_backward(x, weight, mean, inverse, count)  # type: ignore[arg-type]  # weight may be None
        scale = inverse if weight is None else inverse * weight
        shift = -mean * scale if bias is None else bias - mean * scale
        return torch.addcmul(_beside(shift, x), x, _beside(scale, x)).to(x.dtype)

    @staticmethod
    @once_differentiable
    def backward(
        context: FunctionCtx,
        gradient: Tensor,  # [M, N, C, ...]
    ) -> tuple[Tensor | None, ...]:
        x, weight, mean, inverse, count = context.saved_tensors  # type: ignore[attr-defined]
        gradient = gradient.to(mean.dtype)
        unit = (x - _beside(mean, x)) * _beside(inverse, x)
        own = torch.stack([gradient.sum(_dimensions(x)), (gradient * unit).sum(_dimensions(x))])  # [2, M, C]
        of_x: Tensor | None = None
        if context.needs_input_grad[0]:  # type: ignore[attr-defined]
            everyones = own.to(torch.float64, copy=True)
            distributed.all_reduce(everyones)
            of_bias, of_weight = (_beside(each, x) for each in (everyones / count).to(own.dtype))
            scale = inverse if weight is None else inverse * weight
            of_x = ((gradient - of_bias - unit * of_weight) * _beside(scale, x)).to(x.dtype)
        of_parameters = (None, None) if weight is None else (own[1].to(weight.dtype), own[0].to(weight.dtype))
        return of_x, *of_parameters, None, None, None


def _beside(
    of_channels: Tensor,  # [M, C]
    x: Tensor,  # [M, N, C, ...]
) -> Tensor:  # [M, 1, C, 1, ...]
    return of_channels.view(len(of_channels), 1, -1, *[1] * (x.ndim - 3))
