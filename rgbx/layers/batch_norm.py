"""Batch norms of torch and timm: what kinds there are, and those of a stack written into one result.

torch would make a result of each part of the stack and copy them.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import Any, TypeGuard

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.autograd.function import FunctionCtx
from torch.nn.modules.batchnorm import _BatchNorm

NATIVE = torch.ops.aten.native_batch_norm
BACKWARD = torch.ops.aten.native_batch_norm_backward


class Mixed(_BatchNorm):
    """What a class of `mixed` has of its own; a copy, or another process, makes that class again."""

    origin: tuple[type[Mixed], type[_BatchNorm]]  # of a class

    def __reduce__(self) -> tuple[Any, ...]:
        kind: type[_BatchNorm] = type(self)
        mixins: list[type[Mixed]] = []
        while issubclass(kind, Mixed):
            mixin, kind = kind.origin
            mixins.append(mixin)
        return _blank, (kind, *reversed(mixins)), self.__dict__


_KINDS = dict[tuple[type[Mixed], type[_BatchNorm]], type[_BatchNorm]]()


def mixed(mixin: type[Mixed], kind: type[_BatchNorm]) -> type[_BatchNorm]:
    """The class of a norm with what a mixin overrides; always the same for the same two."""
    if (mixin, kind) not in _KINDS:
        _KINDS[mixin, kind] = type(f"{mixin.__name__}{kind.__name__}", (mixin, kind), {"origin": (mixin, kind)})
    return _KINDS[mixin, kind]


def _blank(kind: type[_BatchNorm], *mixins: type[Mixed]) -> _BatchNorm:
    made: _BatchNorm = object.__new__(reduce(lambda kind, mixin: mixed(mixin, kind), mixins, kind))
    return made


def has_activation(norm: nn.Module) -> bool:
    """Whether it is timm's batch norm, with dropout and an activation after it."""
    return all(isinstance(getattr(norm, name, None), nn.Module) for name in ("drop", "act"))


def can_be_stacked(
    norms: Sequence[nn.Module],
    x: Tensor,  # [M*N, C, H, W]
) -> TypeGuard[Sequence[nn.BatchNorm2d]]:
    """Whether `stacked_batch_norm` is what the norms give of their parts of a stack, on a CPU in eager mode."""
    return (
        runs_eagerly_on_cpu(x)
        and x.ndim == 4
        and x.dtype in (torch.float32, torch.float64)
        and x.numel() > 0
        and (x.is_contiguous() or x.is_contiguous(memory_format=torch.channels_last))
        and not nn.modules.module._has_any_global_hook()
        and all(_is_ordinary(norm, x) and norm.eps == norms[0].eps for norm in norms)
    )


def runs_eagerly_on_cpu(
    x: Tensor,  # [...]
) -> bool:
    """Whether a function with a backward of its own may be called of x, of any shape: nothing traces or transforms."""
    return (
        x.device.type == "cpu"
        and not torch.compiler.is_compiling()
        and not torch.compiler.is_exporting()
        and not torch._C._are_functorch_transforms_active()
        and forward_ad._current_level < 0
    )


def _is_ordinary(
    norm: nn.Module,
    x: Tensor,  # [M*N, C, H, W]
) -> bool:
    """Whether it is a batch norm of affine form, of the stack's dtype, and at most an activation after it.

    The kernel that writes into a given place checks no shapes, and is wrong of maps that are not dense.
    """
    return (
        isinstance(norm, nn.BatchNorm2d)
        and (type(norm).forward is nn.BatchNorm2d.forward or type(norm).__name__.endswith("BatchNormAct2d"))  # timm's
        and norm.num_features == x.shape[1]
        and norm.affine
        and norm.weight.dtype == x.dtype
        and len(list(norm.parameters())) == 2
        and (norm.training or norm.running_mean is not None)
        and not norm._forward_hooks
        and not norm._forward_pre_hooks
        and not norm._backward_hooks
        and not norm._backward_pre_hooks
    )


def stacked_batch_norm(
    x: Tensor,  # [M*N, C, H, W]
    norms: Sequence[nn.BatchNorm2d],
) -> Tensor:  # [M*N, C, H, W]
    """Each part of the stack through its own norm, by torch's kernels; statistics are updated as torch does.

    Args:
        x: the stack, modality-major.
        norms: M of them, of which `can_be_stacked` says yes.
    """
    first = norms[0]
    modes = [_mode(norm) for norm in norms]
    if first.training:
        for part in x.unflatten(0, (len(norms), -1)):
            nn.functional._verify_batch_size(part.shape)  # type: ignore[attr-defined]
    out: Tensor = _Stacked.apply(x, first.eps, modes, *[norm.weight for norm in norms], *[norm.bias for norm in norms])
    act, drop = (getattr(first, name, None) for name in ("act", "drop"))  # what follows in timm's BatchNormAct2d
    return out if act is None or drop is None else act(drop(out))


Mode = tuple[bool, float, Tensor | None, Tensor | None]  # batch statistics, momentum, running mean and variance [C]


def _mode(norm: nn.BatchNorm2d) -> Mode:
    """How torch's own forward would call its kernel; a step is counted."""
    momentum = 0.0 if norm.momentum is None else norm.momentum
    if norm.training and norm.track_running_stats and norm.num_batches_tracked is not None:
        norm.num_batches_tracked.add_(1)
        if norm.momentum is None:
            momentum = 1 / float(norm.num_batches_tracked)
    kept = not norm.training or norm.track_running_stats
    return norm.training, momentum, norm.running_mean if kept else None, norm.running_var if kept else None


class _Stacked(torch.autograd.Function):
    """Every part by `torch.native_batch_norm` into its place of one result, [M*N, C, H, W]."""

    @staticmethod
    def forward(
        context: FunctionCtx,
        x: Tensor,  # [M*N, C, H, W]
        eps: float,
        modes: Sequence[Mode],
        *affine: Tensor,  # M weights and M biases, [C] each
    ) -> Tensor:
        count = len(modes)
        out = torch.empty_like(x)
        saved: list[Tensor] = []
        parts = zip(*(t.unflatten(0, (count, -1)) for t in (x, out)), strict=True)
        for (part, place), weight, bias, mode in zip(parts, affine[:count], affine[count:], modes, strict=True):
            training, momentum, mean, variance = mode
            empty = x.new_empty(0)
            _, *found = NATIVE.out(
                part, weight, bias, mean, variance, training, momentum, eps,
                out=place, save_mean=empty, save_invstd=x.new_empty(0),
            )  # fmt: skip
            saved += found
        fixed = [each for training, _, *stored in modes if not training for each in stored if each is not None]
        context.save_for_backward(x, *affine[:count], *saved, *fixed)
        context.eps, context.training = eps, [mode[0] for mode in modes]  # type: ignore[attr-defined]
        return out

    @staticmethod
    def backward(
        context: FunctionCtx,
        gradient: Tensor,  # [M*N, C, H, W]
    ) -> tuple[Tensor | None, ...]:
        modes: Sequence[bool] = context.training  # type: ignore[attr-defined]
        count = len(modes)
        x, *others = context.saved_tensors  # type: ignore[attr-defined]
        needs = context.needs_input_grad  # type: ignore[attr-defined]
        found = []
        parts = zip(*(t.unflatten(0, (count, -1)) for t in (gradient, x)), strict=True)
        fixed = iter(others[3 * count :])
        for m, ((above, part), training) in enumerate(zip(parts, modes, strict=True)):
            saved = others[count + 2 * m : count + 2 * m + 2]
            mean, variance = (None, None) if training else (next(fixed), next(fixed))
            mask = [needs[0], needs[3 + m], needs[3 + count + m]]
            eps: float = context.eps  # type: ignore[attr-defined]
            found.append(BACKWARD(above, part, others[m], mean, variance, *saved, training, eps, mask))
        of_x, of_weights, of_biases = zip(*found, strict=True)
        return torch.cat(of_x) if needs[0] else None, None, None, *of_weights, *of_biases
