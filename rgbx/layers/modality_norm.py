"""Normalization layers with private parameters for each modality of a stack.

Source: arXiv 2108.05009, section 3.1: all convolutions are shared, each modality has its own batch norm.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from rgbx.layers.stack import StackLayout, split_modalities

VARIANTS = ("private", "affine", "shared")


class ModalityNorm(nn.Module):
    """One norm per modality, each applied to its own part of the stack [M*N, ...].

    Any norm that works on a batch serves: batch norm, timm's batch norm with activation, layer norm, instance norm. The
    parameters are stored under the modality's name (``norms.rgb.weight``), all starting as copies of the given norm.
    """

    def __init__(self, norm: nn.Module, layout: StackLayout) -> None:
        super().__init__()
        self.layout = layout
        self.norms = nn.ModuleDict({name: copy.deepcopy(norm) for name in layout.modalities})

    def forward(self, x: Tensor) -> Tensor:
        norms = [self.norms[name] for name in self.layout.present]
        if len(norms) == 1:
            return norms[0](x)
        if not torch.is_grad_enabled() and all(_is_frozen_2d(norm) for norm in norms):
            return _frozen_batch_norm(x, norms)
        if all(_is_instance_2d(norm) for norm in norms):
            return _instance_norm(x, norms)
        parts = split_modalities(x, self.layout).values()
        return torch.cat([norm(part) for norm, part in zip(norms, parts, strict=True)])


def _is_frozen_2d(norm: nn.Module) -> bool:
    if not isinstance(norm, nn.BatchNorm2d) or norm.running_mean is None or norm.training:
        return False
    return len(list(norm.parameters())) == 2  # scale and bias; an activation inside has no parameters of its own


def _frozen_batch_norm(x: Tensor, norms: list[Any]) -> Tensor:
    """Batch norm with fixed statistics as one affine map over the whole stack; nothing is split or concatenated."""
    scale = torch.stack([n.weight * torch.rsqrt(n.running_var + n.eps) for n in norms])  # [M, C]
    bias = torch.stack([n.bias - n.running_mean * s for n, s in zip(norms, scale, strict=True)])
    scale, bias = (t[:, None, :, None, None] for t in (scale, bias))
    out = torch.addcmul(bias, x.unflatten(0, (len(norms), -1)), scale).flatten(0, 1).to(x.dtype)
    activation = getattr(norms[0], "act", None)  # timm's BatchNormAct2d holds the activation that follows it
    return out if activation is None else activation(norms[0].drop(out))


def _is_instance_2d(norm: nn.Module) -> bool:
    return isinstance(norm, nn.InstanceNorm2d) and norm.affine and not norm.track_running_stats


def _instance_norm(x: Tensor, norms: list[Any]) -> Tensor:
    """Instance norm of the whole stack in one call: as batch norm of one sample with M*N*C channels."""
    parts = x.unflatten(0, (len(norms), -1))  # [M, N, C, H, W]
    weight, bias = (
        torch.stack([getattr(norm, name) for norm in norms])[:, None].expand(-1, parts.shape[1], -1).flatten()
        for name in ("weight", "bias")
    )
    out = F.batch_norm(parts.flatten(0, 2)[None], None, None, weight, bias, training=True, eps=norms[0].eps)
    return out.view_as(x)


class ModalityAffine(nn.Module):
    """Batch norm with statistics shared by all modalities and a private scale and bias for each (an ablation)."""

    def __init__(self, norm: _BatchNorm, layout: StackLayout) -> None:
        super().__init__()
        self.layout = layout
        self.statistics = nn.BatchNorm2d(norm.num_features, eps=norm.eps, momentum=norm.momentum, affine=False)
        self.statistics.load_state_dict(norm.state_dict(), strict=False)
        affine = nn.ParameterDict({"weight": norm.weight.detach().clone(), "bias": norm.bias.detach().clone()})
        self.norms = nn.ModuleDict({name: copy.deepcopy(affine) for name in layout.modalities})
        self.drop, self.act = getattr(norm, "drop", nn.Identity()), getattr(norm, "act", nn.Identity())

    def forward(self, x: Tensor) -> Tensor:
        names = self.layout.present
        weight, bias = (torch.stack([self._affine(name, key) for name in names]) for key in ("weight", "bias"))
        parts = self.statistics(x).unflatten(0, (len(names), -1))  # [M, N, C, H, W]
        out = torch.addcmul(bias[:, None, :, None, None].to(parts.dtype), parts, weight[:, None, :, None, None])
        return self.act(self.drop(out.flatten(0, 1)))

    def _affine(self, name: str, key: str) -> Tensor:
        parameters: Any = self.norms[name]
        return parameters[key]


def modality_norm(norm: nn.Module, layout: StackLayout, variant: str = "private") -> nn.Module:
    """Turns a norm into its form for several modalities.

    Args:
        norm: an affine norm whose parameters and statistics every modality starts from.
        layout: the stack's layout, shared with the rest of the model.
        variant: ``"private"`` statistics and affine per modality; ``"affine"``: private scale and bias over shared
            batch statistics; ``"shared"``: the norm itself for all.

    Raises:
        ValueError: for an unknown variant, or ``"affine"`` on a norm without batch statistics.
    """
    if variant not in VARIANTS:
        raise ValueError(f"norm variant is {variant!r}; expected one of {VARIANTS}")
    if variant == "shared":
        return norm
    if variant == "private":
        return ModalityNorm(norm, layout)
    if not isinstance(norm, _BatchNorm):
        raise ValueError(f"norm variant 'affine' needs batch norm, found {type(norm).__name__}; use 'private'")
    return ModalityAffine(norm, layout)


def replace_norms(module: nn.Module, layout: StackLayout, variant: str = "private") -> int:
    """Replaces every norm inside ``module`` by its form for several modalities, keeping the pretrained values.

    Returns:
        How many norms were found.
    """
    count = 0
    for name, child in module.named_children():
        if isinstance(child, (_BatchNorm, nn.InstanceNorm2d, nn.LayerNorm, nn.GroupNorm)):
            setattr(module, name, modality_norm(child, layout, variant))
            count += 1
        else:
            count += replace_norms(child, layout, variant)
    return count
