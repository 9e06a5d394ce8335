"""Parameters and floating-point operations of a model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

from rgbx.backbones import count_private_parameters
from rgbx.models.segmentor import Segmentor


@dataclass(frozen=True)
class Complexity:
    """Size and cost of a model at one input size.

    Attributes:
        parameters: number of parameters by part: ``backbone``, ``decoder``, and ``total``.
        private: how many of them belong to a single modality.
        flops: floating-point operations for one sample with all modalities, two per multiply-add.
        size: image height and width the operations were counted at.
    """

    parameters: Mapping[str, int]
    private: int
    flops: int
    size: tuple[int, int]

    def __str__(self) -> str:
        total = self.parameters["total"]
        return (
            f"{total / 1e6:.2f} M parameters (backbone {self.parameters['backbone'] / 1e6:.2f}, "
            f"decoder {self.parameters['decoder'] / 1e6:.2f}; {self.private / 1e6:.3f} M = "
            f"{100 * self.private / total:.2f} % private to a modality), "
            f"{self.flops / 1e9:.2f} GFLOP at {self.size[0]}×{self.size[1]}"
        )


def measure_complexity(model: Segmentor, size: tuple[int, int] = (480, 640)) -> Complexity:
    """Counts parameters, and the operations of one forward pass over all modalities (convolutions and products).

    Args:
        model: runs once in evaluation mode and is left in the mode it was in.
        size: image height and width.
    """
    total = sum(p.numel() for p in model.parameters())
    backbone = sum(p.numel() for p in model.backbone.parameters())
    device = next(model.parameters()).device
    inputs = {name: torch.zeros(1, 1, *size, device=device) for name in model.modalities}
    training = model.training
    model.eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(inputs, mode="tensor")
    model.train(training)
    counts = {"backbone": backbone, "decoder": total - backbone, "total": total}
    return Complexity(counts, count_private_parameters(model), counter.get_total_flops(), size)
