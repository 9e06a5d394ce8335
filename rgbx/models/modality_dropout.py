"""Training on subsets of the modalities, so that one network serves when a sensor is missing."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence

MOST_MODALITIES = 16


class ModalityDropout:
    """Draws one subset of the modalities per training step.

    With the given probability the step sees a proper subset, each equally likely; otherwise all modalities. The draws
    come from a generator of their own: set from the same seed in every process of a distributed run, all of them
    train on the same subset; set from seed and epoch, a resumed run goes on with the same draws.

    Args:
        modalities: names, in declared order.
        probability: share of the steps that see a proper subset.

    Raises:
        ValueError: if the probability lies outside [0, 1], or for more than 16 modalities, whose subsets are too many.

    Source: after Neverova et al., "ModDrop" (arXiv 1501.00102), here one draw per step rather than per sample.
    """

    def __init__(self, modalities: Sequence[str], probability: float = 0.5) -> None:
        if not 0 <= probability <= 1:
            raise ValueError(f"modality dropout has probability {probability}; expected a value in [0, 1]")
        if len(modalities) > MOST_MODALITIES:
            raise ValueError(
                f"modality dropout draws from all subsets, too many of {len(modalities)} modalities; expected at most "
                f"{MOST_MODALITIES} of them, or modality_dropout=None"
            )
        self.modalities, self.probability = tuple(modalities), probability
        sizes = range(1, len(self.modalities))
        self.subsets = [s for size in sizes for s in itertools.combinations(self.modalities, size)]
        self.set_seed(0)

    def set_seed(self, seed: int) -> None:
        """Restarts the draws."""
        self.generator = random.Random(seed)

    def draw(self) -> tuple[str, ...]:
        """The subset of the next step."""
        if not self.subsets or self.generator.random() >= self.probability:
            return self.modalities
        return self.generator.choice(self.subsets)
