"""Training on subsets of the modalities, so that one network serves when a sensor is missing."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence

from torch import nn


class ModalityDropout(nn.Module):
    """Draws one subset of the modalities per training step.

    With the given probability the step sees a proper subset, each equally likely; otherwise all modalities. The draw
    is a function of the seed and the number of steps taken, so all processes of a distributed run agree, and the
    count is kept in the checkpoint, so a resumed run goes on with the same draws.

    Source: after Neverova et al., "ModDrop" (arXiv 1501.00102), here one draw per step rather than per sample.
    """

    def __init__(self, modalities: Sequence[str], probability: float = 0.5, seed: int = 0) -> None:
        super().__init__()
        if not 0 <= probability <= 1:
            raise ValueError(f"modality dropout has probability {probability}; expected a value in [0, 1]")
        self.modalities, self.probability, self.seed = tuple(modalities), probability, seed
        sizes = range(1, len(self.modalities))
        self.subsets = [s for size in sizes for s in itertools.combinations(self.modalities, size)]
        self.steps = 0

    def draw(self) -> tuple[str, ...]:
        """The subset of the next step."""
        generator = random.Random(f"{self.seed}/{self.steps}")
        self.steps += 1
        if not self.subsets or generator.random() >= self.probability:
            return self.modalities
        return generator.choice(self.subsets)

    def get_extra_state(self) -> int:
        return self.steps

    def set_extra_state(self, state: int) -> None:
        self.steps = int(state)
