"""Convolutions of channels-last maps whose weights' gradient is found of contiguous maps, where that is faster."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx

from rgbx.layers.batch_norm import runs_eagerly_on_cpu

BACKWARD = torch.ops.aten.convolution_backward
PIXELS = 2500  # of fewer, or of fewer inputs than these, the copies take longer than they save
INPUTS = 145


class Conv2d(nn.Conv2d):
    """`torch.nn.Conv2d`, with the same parameters and results.

    oneDNN has no kernel of AVX2 for the weights' gradient of channels-last maps: of large ones it takes two to three
    times as long as of contiguous copies (`benchmarks/convolution.py`). Processors with AVX512 have that kernel.
    """

    def _conv_forward(
        self,
        input: Tensor,  # [N, C, H, W]
        weight: Tensor,  # [K, C, kh, kw]
        bias: Tensor | None,  # [K]
    ) -> Tensor:  # [N, K, h, w]
        if not self._gains(input, weight):
            return super()._conv_forward(input, weight, bias)
        sizes = (list(self.stride), [int(n) for n in self.padding], list(self.dilation))
        return cast(Tensor, _ContiguousGradient.apply(input, weight, bias, *sizes))

    def _gains(
        self,
        x: Tensor,  # [N, C, H, W]
        weight: Tensor,  # [K, C, kh, kw]
    ) -> bool:
        """Whether the weight's gradient may be asked for, of channels-last maps that are large enough."""
        return (
            torch.is_grad_enabled()
            and weight.requires_grad
            and runs_eagerly_on_cpu(x)  # before shapes are asked for, which a tracer would take for conditions
            and x.ndim == 4
            and x.shape[2] * x.shape[3] >= PIXELS * self.stride[0] * self.stride[1]
            and weight[0].numel() >= INPUTS
            and x.dtype == weight.dtype == torch.float32
            and any(t.is_contiguous(memory_format=torch.channels_last) and not t.is_contiguous() for t in (x, weight))
            and not torch.is_autocast_enabled("cpu")
            and torch.backends.cpu.get_cpu_capability() == "AVX2"
        )


def contiguous_gradients(modules: Iterable[nn.Module]) -> None:
    """Makes plain convolutions among the modules, of kernels larger than 1x1, a `Conv2d` of this file, in place."""
    for layer in modules:
        ordinary = type(layer) is nn.Conv2d and layer.groups == 1 and layer.padding_mode == "zeros"
        if ordinary and not isinstance(layer.padding, str) and layer.kernel_size != (1, 1):
            layer.__class__ = Conv2d  # parameters, hooks and names stay


class _ContiguousGradient(torch.autograd.Function):
    """A convolution without groups, [N, C, H, W] to [N, K, h, w]."""

    @staticmethod
    def forward(
        context: FunctionCtx,
        x: Tensor,  # [N, C, H, W]
        weight: Tensor,  # [K, C, kh, kw]
        bias: Tensor | None,  # [K]
        stride: Sequence[int],
        padding: Sequence[int],
        dilation: Sequence[int],
    ) -> Tensor:
        context.save_for_backward(x, weight)
        context.sizes = ([stride, padding, dilation], None if bias is None else list(bias.shape))  # type: ignore[attr-defined]
        return torch.conv2d(x, weight, bias, stride, padding, dilation)

    @staticmethod
    def backward(
        context: FunctionCtx,
        gradient: Tensor,  # [N, K, h, w]
    ) -> tuple[Tensor | None, ...]:
        x, weight = context.saved_tensors  # type: ignore[attr-defined]
        sizes, of_bias = context.sizes  # type: ignore[attr-defined]
        form = (of_bias, *sizes, False, [0, 0], 1)
        needs: Sequence[bool] = context.needs_input_grad  # type: ignore[attr-defined]
        found: list[Tensor | None] = [None, None, None]
        if needs[0]:
            found[0] = BACKWARD(gradient, x, weight, *form, [True, False, False])[0]
        if needs[1] or needs[2]:
            maps = [t.contiguous() for t in (gradient, x, weight)]
            _, found[1], found[2] = BACKWARD(*maps, *form, [False, needs[1], needs[2]])
        return *found, None, None, None
