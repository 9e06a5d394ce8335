"""Parameters and floating-point operations of a model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from rgbx.layers import owner

PARTS = (("backbone", "decoder"), ("generator", "discriminator"))


@dataclass(frozen=True)
class Complexity:
    """Size and cost of a model at one input size.

    Attributes:
        parameters: number of parameters by part: ``backbone`` and ``decoder``, or ``generator`` and
            ``discriminator``, and ``total``.
        private: how many of them belong to a single modality.
        flops: floating-point operations for one sample with the modalities present, two per multiply-add.
        size: image height and width the operations were counted at.
    """

    parameters: Mapping[str, int]
    private: int
    flops: int
    size: tuple[int, int]

    @property
    def used_at_test(self) -> int:
        """Parameters of what predicts: all, or for translation those of the generator."""
        return self.parameters.get("generator", self.parameters["total"])

    def __str__(self) -> str:
        total = self.parameters["total"]
        parts = ", ".join(f"{name} {n / 1e6:.2f}" for name, n in self.parameters.items() if name != "total")
        return (
            f"{total / 1e6:.2f} M parameters ({parts}; {self.private / 1e6:.3f} M = "
            f"{100 * self.private / total:.2f} % private to a modality), "
            f"{self.flops / 1e9:.2f} GFLOP at {self.size[0]}×{self.size[1]}"
        )


def measure_complexity(
    model: Any, size: tuple[int, int] = (480, 640), *, modalities: Iterable[str] | None = None
) -> Complexity:
    """Counts parameters, and the operations of one forward pass (convolutions and products).

    Args:
        model: a `Segmentor` or `Translator`; runs once in evaluation mode and is left in the mode it was in. What its
            forward pass does not use, such as a discriminator, counts among the parameters alone.
        size: image height and width.
        modalities: those present; what belongs to an absent one is not counted. None for all.

    Raises:
        ValueError: a modality that the model does not know.
    """
    translates = hasattr(model, "generator")
    network, names = (model.generator, PARTS[1]) if translates else (model.backbone, PARTS[0])
    present = model.modalities if modalities is None else network.layout.order(modalities)
    absent = set(model.modalities) - set(present)
    total = _count_parameters(model, absent)
    first = _count_parameters(network, absent)
    private = sum(p.numel() for name, p in model.named_parameters() if owner(name) in present)
    device = next(model.parameters()).device
    inputs = {name: torch.zeros(1, 1, *size, device=device) for name in present}
    training = model.training
    model.eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(inputs, mode="tensor")
    model.train(training)
    counts = {names[0]: first, names[1]: total - first, "total": total}
    return Complexity(counts, private, counter.get_total_flops(), size)


def _count_parameters(module: nn.Module, absent: set[str]) -> int:
    """Parameters without the norms, the stems and the ensemble's α of absent modalities."""
    return sum(
        p.numel()
        for name, p in module.named_parameters()
        if owner(name) not in absent and name.removeprefix("alpha.") not in absent
    )
