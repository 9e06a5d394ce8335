"""The operators ``torch.ops.rgbx.*``: schema, meta kernel, autograd, and plain torch for every device.

A compiled library (see `rgbx.ops._extension`) replaces the plain-torch kernels of its device; schema, meta kernels and
autograd are the same whichever runs. The adjoint of each operator is again an operator here, with the direction turned
round the ring of modalities, so that nothing is saved for backward and gradients can be differentiated again. Class ids
have no gradient.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from rgbx.ops import reference

LIBRARY = torch.library.Library("rgbx", "DEF")
_RING = "int num_modalities, int group, int direction"
LIBRARY.define(f"channel_shuffle(Tensor x, {_RING}) -> Tensor")
LIBRARY.define(f"pixel_shift(Tensor x, {_RING}) -> Tensor")
LIBRARY.define(f"shift_add_shuffle(Tensor b, Tensor a, {_RING}) -> Tensor")
LIBRARY.define(f"shift_add_shuffle_adjoint(Tensor grad, {_RING}) -> (Tensor, Tensor)")
_TAPS = "Tensor rows, Tensor row_weights, Tensor columns, Tensor column_weights"
LIBRARY.define(f"resized_argmax(Tensor x, {_TAPS}, bool confidence) -> (Tensor, Tensor, Tensor)")
LIBRARY.define(
    f"resized_cross_entropy(Tensor x, {_TAPS}, Tensor label, Tensor weights, bool gradient) -> (Tensor, Tensor, Tensor)"
)
OPERATORS = (
    "channel_shuffle",
    "pixel_shift",
    "shift_add_shuffle",
    "shift_add_shuffle_adjoint",
    "resized_argmax",
    "resized_cross_entropy",
)

for _name in OPERATORS:
    LIBRARY.impl(_name, getattr(reference, _name), "CompositeExplicitAutograd")


@torch.library.register_fake("rgbx::channel_shuffle", lib=LIBRARY)
@torch.library.register_fake("rgbx::pixel_shift", lib=LIBRARY)
def _like_first(
    x: Tensor,  # [M*N, C, H, W]
    num_modalities: int,
    group: int,
    direction: int,
) -> Tensor:  # [M*N, C, H, W]
    return reference.empty_stack(x)


@torch.library.register_fake("rgbx::shift_add_shuffle", lib=LIBRARY)
def _like_b(
    b: Tensor,  # [M*N, C, H, W]
    a: Tensor,  # [M*N, C, H, W]
    num_modalities: int,
    group: int,
    direction: int,
) -> Tensor:  # [M*N, C, H, W]
    return reference.empty_stack(b)


@torch.library.register_fake("rgbx::shift_add_shuffle_adjoint", lib=LIBRARY)
def _like_grad_twice(
    grad: Tensor,  # [M*N, C, H, W]
    num_modalities: int,
    group: int,
    direction: int,
) -> tuple[Tensor, Tensor]:  # 2 x [M*N, C, H, W]
    return reference.empty_stack(grad), reference.empty_stack(grad)


@torch.library.register_fake("rgbx::resized_argmax", lib=LIBRARY)
def _of_the_taps(
    x: Tensor,  # [B, K, h, w]
    rows: Tensor,  # [2, H]
    row_weights: Tensor,  # [2, H]
    columns: Tensor,  # [2, W]
    column_weights: Tensor,  # [2, W]
    confidence: bool,
) -> tuple[Tensor, Tensor, Tensor]:  # [B, H, W], [B, H, W] or [0], [B, H]
    size = (x.shape[0], rows.shape[1], columns.shape[1])
    return (
        x.new_empty(size, dtype=torch.uint8),
        x.new_empty(size if confidence else (0,), dtype=torch.float32),
        x.new_empty(size[:2], dtype=torch.bool),
    )


@torch.library.register_fake("rgbx::resized_cross_entropy", lib=LIBRARY)
def _of_the_label(
    x: Tensor,  # [B, K, h, w]
    rows: Tensor,  # [2, H]
    row_weights: Tensor,  # [2, H]
    columns: Tensor,  # [2, W]
    column_weights: Tensor,  # [2, W]
    label: Tensor,  # [B, H, W]
    weights: Tensor,  # [B, H, W]
    gradient: bool,
) -> tuple[Tensor, Tensor, Tensor]:  # 2 x [B, H, W], [B, K, h, w] or [0]
    return torch.empty_like(weights), torch.empty_like(weights), x.new_empty(x.shape if gradient else (0,))


def _keep_ring(
    ctx: Any,
    inputs: tuple[Tensor | int, ...],  # of the schema, each Tensor [M*N, C, H, W]
    output: Tensor | tuple[Tensor, Tensor],  # [M*N, C, H, W]
) -> None:
    *_, num_modalities, group, direction = inputs
    ctx.ring, ctx.turned = (num_modalities, group, direction), (num_modalities, group, -direction)


def _channel_shuffle_backward(
    ctx: Any,
    grad: Tensor,  # [M*N, C, H, W]
) -> Any:
    return torch.ops.rgbx.channel_shuffle(grad, *ctx.turned), None, None, None


def _pixel_shift_backward(
    ctx: Any,
    grad: Tensor,  # [M*N, C, H, W]
) -> Any:
    return torch.ops.rgbx.pixel_shift(grad, *ctx.turned), None, None, None


def _shift_add_shuffle_backward(
    ctx: Any,
    grad: Tensor,  # [M*N, C, H, W]
) -> Any:
    needs_b, needs_a, *_ = ctx.needs_input_grad
    if needs_b and needs_a:
        grad_b, grad_a = torch.ops.rgbx.shift_add_shuffle_adjoint(grad, *ctx.ring)
    else:
        grad_b = torch.ops.rgbx.channel_shuffle(grad, *ctx.turned) if needs_b else None
        grad_a = torch.ops.rgbx.pixel_shift(grad, *ctx.turned) if needs_a else None
    return grad_b, grad_a, None, None, None


def _adjoint_backward(
    ctx: Any,
    grad_b: Tensor,  # [M*N, C, H, W]
    grad_a: Tensor,  # [M*N, C, H, W]
) -> Any:
    return torch.ops.rgbx.shift_add_shuffle(grad_b, grad_a, *ctx.ring), None, None, None


_BACKWARDS: dict[str, Callable[..., Any]] = {
    "channel_shuffle": _channel_shuffle_backward,
    "pixel_shift": _pixel_shift_backward,
    "shift_add_shuffle": _shift_add_shuffle_backward,
    "shift_add_shuffle_adjoint": _adjoint_backward,
}
for _name, _backward in _BACKWARDS.items():
    torch.library.register_autograd(f"rgbx::{_name}", _backward, setup_context=_keep_ring, lib=LIBRARY)
