"""Gradient reversal: what follows learns to tell something, what comes before to hide it, by one optimizer."""

from __future__ import annotations

from torch import Tensor


def reverse_gradient(
    x: Tensor,  # [...]
    scale: float = 1.0,
) -> Tensor:
    """The values as they are; their gradient times -scale.

    Source: Ganin & Lempitsky, "Unsupervised Domain Adaptation by Backpropagation" (arXiv 1409.7495), equations 14, 15.
    """
    if not x.requires_grad:
        return x
    same = x.view_as(x)
    same.register_hook(lambda gradient: -scale * gradient)
    return same
