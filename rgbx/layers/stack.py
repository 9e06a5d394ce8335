"""Stacking the maps of several modalities on the batch axis, and the record of which ones are in the stack."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor


class StackLayout:
    """The modalities a network knows and those present in the current stack, in declared order.

    One layout is shared by all private norms and fusions of a model. `SharedBackbone.forward` alone sets what is
    present; everything below reads it, so that a timm network that only calls ``bn(x)`` needs no further argument.

    Attributes:
        modalities: names of all M modalities, in declared order.
        present: names of those in the current stack, a subsequence of `modalities`.
    """

    def __init__(self, modalities: Iterable[str]) -> None:
        self.modalities = tuple(modalities)
        if not self.modalities or len(set(self.modalities)) != len(self.modalities):
            raise ValueError(f"modalities are {self.modalities}; expected at least one name, each only once")
        for name in self.modalities:
            if not name.isidentifier():
                raise ValueError(f"modality {name!r} is no valid name; expected letters, digits and underscores")
        self.present = self.modalities

    @property
    def count(self) -> int:
        """Number of modalities in the current stack."""
        return len(self.present)

    def order(self, names: Iterable[str]) -> tuple[str, ...]:
        """Returns the given names in declared order.

        Raises:
            ValueError: if there is none, or one that was not declared.
        """
        names = set(names)
        unknown = sorted(names - set(self.modalities))
        if unknown or not names:
            raise ValueError(f"modalities {unknown or '()'} given; this model knows {list(self.modalities)}")
        return tuple(name for name in self.modalities if name in names)

    @contextmanager
    def holding(self, names: Iterable[str]) -> Iterator[None]:
        """While active, the stack holds these modalities."""
        before, self.present = self.present, self.order(names)
        try:
            yield
        finally:
            self.present = before

    def set_present(self, names: Iterable[str]) -> None:
        """Declares which modalities the stack holds from now on."""
        self.present = self.order(names)


def match_channels(x: Tensor, channels: int, name: str) -> Tensor:
    """Fits a map [N, c, H, W] to a stem of ``channels`` inputs: one channel is repeated, an equal number is kept.

    Raises:
        ValueError: for any other number of channels.
    """
    if x.dim() != 4 or x.shape[1] not in (1, channels):
        raise ValueError(f"{name} has shape {list(x.shape)}; expected [N, 1, H, W] or [N, {channels}, H, W]")
    return x if x.shape[1] == channels else x.expand(-1, channels, -1, -1)


def stack_modalities(inputs: Mapping[str, Tensor], layout: StackLayout, channels: int = 3) -> Tensor:
    """Stacks the maps [N, c, H, W] of the modalities present to [M*N, channels, H, W], modality-major.

    Raises:
        ValueError: if the maps differ in batch or image size, or have the wrong number of channels.
    """
    maps = _equal_maps(inputs, layout.present, channels)
    return torch.cat(maps) if len(maps) > 1 else maps[0]


def concatenate_modalities(inputs: Mapping[str, Tensor], layout: StackLayout, channels: int = 3) -> Tensor:
    """Joins the maps [N, c, H, W] of all modalities as channels, [N, M*channels, H, W]; those absent are zero.

    Raises:
        ValueError: if the maps differ in batch or image size, or have the wrong number of channels.
    """
    maps = dict(zip(layout.present, _equal_maps(inputs, layout.present, channels), strict=True))
    zero = torch.zeros_like(next(iter(maps.values())))
    return torch.cat([maps.get(name, zero) for name in layout.modalities], dim=1)


def _equal_maps(inputs: Mapping[str, Tensor], names: Sequence[str], channels: int) -> list[Tensor]:
    maps = [match_channels(inputs[name], channels, name) for name in names]
    for name, x in zip(names, maps, strict=True):
        if x.shape != maps[0].shape:
            raise ValueError(
                f"{name} has batch and size {[x.shape[0], *x.shape[2:]]}, {names[0]} has "
                f"{[maps[0].shape[0], *maps[0].shape[2:]]}; resize them to one size first"
            )
    return maps


def split_modalities(x: Tensor, layout: StackLayout) -> dict[str, Tensor]:
    """Views of a stack [M*N, ...] per modality present, each [N, ...]."""
    sizes = [x.shape[0] // layout.count] * layout.count  # unlike chunks, these let an export keep N dynamic
    return dict(zip(layout.present, x.split(sizes), strict=True))
