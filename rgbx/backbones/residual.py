"""Residual blocks of timm networks: how those without weights start as the identity, how activations are kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from rgbx.layers import StackLayout, untracked

LAYER_SCALES = ("gamma", "layer_scale")
SHORTCUTS = ("downsample", "shortcut")


def residual_blocks(network: nn.Module) -> dict[str, nn.Module]:
    """Blocks of a shortcut and a branch, by name: in timm, the innermost modules that have stochastic depth."""
    marked = {name: m for name, m in network.named_modules() if hasattr(m, "drop_path") or hasattr(m, "drop_path1")}
    return {name: m for name, m in marked.items() if not any(other.startswith(f"{name}.") for other in marked)}


def start_as_identity(block: nn.Module) -> bool:
    """Sets the last scales of a block's branch to zero, if that makes it the identity; else it is left as it was.

    These are its layer scales, or what its own `zero_init_last` sets, or the scale and bias of its last norm. The
    identity is meant for maps that are nowhere negative, as they come out of the ReLU of the block before.
    """
    before = {name: tensor.clone() for name, tensor in block.state_dict().items()}
    with torch.no_grad():
        _zero_last_scales(block)
    if is_identity(block):
        return True
    block.load_state_dict(before)
    return False


def _zero_last_scales(block: nn.Module) -> None:
    layer_scales: list[Tensor] = [
        p for name, p in block.named_parameters() if name.rsplit(".", 1)[-1].startswith(LAYER_SCALES)
    ]
    own: Callable[[], None] | None = getattr(block, "zero_init_last", None)
    if layer_scales:
        zeroed = layer_scales
    elif own is not None:
        own()
        return
    else:
        kinds = (_BatchNorm, nn.LayerNorm, nn.GroupNorm)
        branch = (m for name, m in block.named_modules() if not name.startswith(SHORTCUTS))
        zeroed = [p for norm in [m for m in branch if isinstance(m, kinds)][-1:] for p in norm.parameters()]
    for parameter in zeroed:
        parameter.zero_()


def is_identity(block: nn.Module, stack: int = 1) -> bool:
    """Whether a block gives back what it gets, tried on a stack of maps without negative values [stack, C, 8, 8]."""
    first = next((m for m in block.modules() if isinstance(m, (nn.Conv2d, nn.Linear))), None)
    if first is None:
        return False
    channels = first.in_channels if isinstance(first, nn.Conv2d) else first.in_features
    x = torch.linspace(0, 1, stack * channels * 64, device=first.weight.device).view(stack, channels, 8, 8)
    modes = {module: module.training for module in block.modules()}
    block.eval()
    try:
        with torch.no_grad():
            return torch.equal(block(x), x)
    except (RuntimeError, ValueError, TypeError):  # it takes something else than one such map
        return False
    finally:
        for module, mode in modes.items():
            module.training = mode


def checkpoint_blocks(blocks: Sequence[nn.Module], layout: StackLayout, enable: bool = True) -> None:
    """Lets blocks compute their activations again in the backward pass, for the modalities of their forward pass.

    Raises:
        ValueError: where there are no blocks.
    """
    if not blocks:
        raise ValueError("this network has no residual blocks whose activations could be computed again")
    for block in blocks:
        if enable:
            block.forward = _Checkpointed(block, layout)
        else:
            vars(block).pop("forward", None)


class _Checkpointed:
    """The forward method of a block that keeps nothing but its input."""

    def __init__(self, block: nn.Module, layout: StackLayout) -> None:
        self.block, self.layout = block, layout

    def __call__(
        self,
        x: Tensor,  # [M*N, C, H, W] or [M*N, L, C]
        *others: object,
        **named: object,
    ) -> Tensor:
        if not torch.is_grad_enabled():
            return self._forward((), others, named, x)
        still = [m for m in self.block.modules() if isinstance(m, _BatchNorm) and not m.track_running_stats]
        return self.layout.checkpoint(partial(self._forward, still, others, named), x)

    def _forward(
        self,
        still: Sequence[nn.Module],
        others: tuple[object, ...],
        named: Mapping[str, object],
        x: Tensor,  # [M*N, C, H, W] or [M*N, L, C]
    ) -> Tensor:
        """What the block gives, with norms that leave their statistics alone now as they did the first time."""
        forward: Callable[..., Tensor] = type(self.block).forward
        if torch.compiler.is_compiling():  # then the part that is computed again is traced here and now
            return forward(self.block, x, *others, **named)
        with untracked(still):
            return forward(self.block, x, *others, **named)
