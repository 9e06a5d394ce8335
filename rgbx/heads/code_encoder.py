"""Codes that the modalities share: private layers, then layers of shared weights, at every location of the features.

Source: CM-GANs, "Cross-modal Generative Adversarial Networks for Common Representation Learning" (ACM TOMM 2019):
features → FC, BN, LeakyReLU (private) → FC, BN, LeakyReLU, whose weights all modalities share. The affine part of the
upper norm is shared, too; its running statistics are each modality's own.

Differs from the paper, which encodes one vector of an item: every location is encoded, and whoever compares items takes
the mean over their pixels, so that one pass serves any mask. In the released code the upper weights are equal at the
start only, which is ``shared="initial"``.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rgbx.layers import StackLayout, split_modalities
from rgbx.layers.stages import check_stages, chosen_stages

SLOPE = 0.2  # of LeakyReLU
SHARED: tuple[bool | str, ...] = (True, "initial")


class SharedAffineNorm(nn.Module):
    """Batch norm of vectors [B, C] with one scale and bias for all modalities and statistics of each its own."""

    def __init__(self, channels: int, names: Sequence[str]) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))
        self.norms = nn.ModuleDict({name: nn.BatchNorm1d(channels, affine=False) for name in names})

    def forward(
        self,
        x: Tensor,  # [B, C]
        name: str,
    ) -> Tensor:
        return self.norms[name](x) * self.weight + self.bias


class UpperLayers(nn.Module):
    """The FC and norm of an encoder that all modalities share."""

    def __init__(self, channels_in: int, channels_out: int, names: Sequence[str]) -> None:
        super().__init__()
        self.linear, self.norm = nn.Linear(channels_in, channels_out), SharedAffineNorm(channels_out, names)

    def forward(
        self,
        x: Tensor,  # [B, C]
        name: str,
    ) -> Tensor:
        return F.leaky_relu(self.norm(self.linear(x), name), SLOPE)


class CommonEncoder(nn.Module):
    """Vectors of each modality to codes [B, D] in one space.

    Args:
        channels: of the vectors of each modality, by its name.
        code: D.
        hidden: width between the layers.
        shared: True, or ``"initial"``: upper layers that are equal at the start only.

    Raises:
        ValueError: another `shared`.
    """

    def __init__(self, channels: dict[str, int], code: int, *, hidden: int, shared: bool | str = True) -> None:
        super().__init__()
        if shared not in SHARED:
            raise ValueError(f"shared is {shared!r}; expected True, or 'initial' for weights equal at the start only")
        self.copies = nn.ModuleDict(
            {
                name: nn.Sequential(nn.Linear(size, hidden), nn.BatchNorm1d(hidden), nn.LeakyReLU(SLOPE))
                for name, size in channels.items()
            }
        )
        upper = UpperLayers(hidden, code, list(channels))
        self.shared = upper if shared is True else None
        self.uppers = nn.ModuleDict({} if shared is True else {name: copy.deepcopy(upper) for name in channels})

    def forward(
        self,
        x: Tensor,  # [B, C] of one modality
        name: str,
    ) -> Tensor:
        """Codes [B, D]."""
        upper = self.shared if self.shared is not None else self.uppers[name]
        return upper(self.copies[name](x), name)


def deepest_or(stages: Sequence[int] | None, count: int) -> tuple[int, ...]:
    """The numbers of the stages whose features are meant, from 1 on; None is the deepest of `count`.

    Raises:
        ValueError: no distinct numbers, or a stage that there is not.
    """
    return chosen_stages(check_stages(stages, "codes'") or (count,), count, "codes'", "backbone")


def stages_joined(
    features: Sequence[Tensor],  # [B, C_i, h_i, w_i]
    stages: Sequence[int],
) -> Tensor:
    """Features of some stages, see `deepest_or`, on the grid of the first of them, [B, ΣC, h, w]."""
    chosen = [features[i - 1] for i in stages]
    size = chosen[0].shape[-2:]
    resized = [
        x if x.shape[-2:] == size else F.interpolate(x, size=size, mode="bilinear", align_corners=False) for x in chosen
    ]
    return torch.cat(resized, dim=1) if len(resized) > 1 else resized[0]


class CodeEncoder(nn.Module):
    """The decoder of heads that embed: features of some stages to codes, location by location, see `CommonEncoder`."""

    def __init__(
        self,
        channels: Sequence[int],
        code: int,
        layout: StackLayout,
        *,
        hidden: int = 256,
        shared: bool | str = True,
        stages: Sequence[int] | None = None,
    ) -> None:
        """Builds the encoder.

        Args:
            channels: channels of each backbone stage, shallow to deep.
            code: D.
            layout: the backbone's stack layout.
            hidden: width between the layers.
            shared: see `CommonEncoder`.
            stages: whose features are read, joined on the grid of the first of them, 1 being the shallowest; None for
                the deepest alone.

        Raises:
            ValueError: another `shared`, or a stage that there is not.
        """
        super().__init__()
        self.layout, self.stages = layout, deepest_or(stages, len(channels))
        size = sum(channels[i - 1] for i in self.stages)
        self.encoder = CommonEncoder(dict.fromkeys(layout.modalities, size), code, hidden=hidden, shared=shared)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Stage stacks [M*N, C_i, h_i, w_i], shallow to deep, to codes [M*N, D, h, w]."""
        x = stages_joined(features, self.stages)
        count, _, height, width = x.shape
        vectors = x.permute(0, 2, 3, 1).flatten(0, 2)
        codes = [self.encoder(part, name) for name, part in split_modalities(vectors, self.layout).items()]
        return torch.cat(codes).unflatten(0, (count, height, width)).permute(0, 3, 1, 2).contiguous()
