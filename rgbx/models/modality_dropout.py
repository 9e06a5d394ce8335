"""Training on subsets of the modalities, so that one network serves when a sensor is missing."""

from __future__ import annotations

import itertools
import random
from collections.abc import Mapping, Sequence
from typing import Any

from rgbx._text import check_options, one_of
from rgbx._types import Options

MOST_MODALITIES = 16
UNIFORM = "uniform"
DEFAULTS: dict[str, Any] = {"probability": 0.5, "ramp": 0.0}

Probability = float | str | Mapping[str, float]


class ModalityDropout:
    """Draws one subset of the modalities per training step.

    The draws come from a generator of their own: set from the same seed in every process of a distributed run, all of
    them train on the same subset; set from seed and epoch, a resumed run goes on with the same draws.

    Args:
        modalities: names, in declared order.
        probability: a number is the share of the steps that see a proper subset, each equally likely, where the others
            see all modalities; ``"uniform"`` makes every subset equally likely, all modalities among them; by the name
            of a modality, with what probability it is left out, each on its own, and drawn again where none is left.
        ramp: the share of the training over which steps with a subset become as many as `probability` says, from none
            at its beginning, linearly; 0 begins with all of them.

    Attributes:
        progress: how far the training is, 0 to 1; who trains sets it before each step. Unless somebody does, `ramp` is
            over.

    Raises:
        ValueError: a probability outside [0, 1], or of a modality that there is not; 1 for every modality; or more than
            16 modalities, whose subsets are too many.

    Source: after Neverova et al., "ModDrop" (arXiv 1501.00102), here one draw per step rather than per sample; a
    growing rate is that of curriculum dropout (Morerio et al., arXiv 1703.06229) for modalities, and linear.
    """

    def __init__(self, modalities: Sequence[str], probability: Probability = 0.5, ramp: float = 0.0) -> None:
        self.modalities, self.probability, self.ramp = tuple(modalities), probability, ramp
        _check_share(ramp, "ramp")
        _check_probability(probability, self.modalities)
        if len(modalities) > MOST_MODALITIES:
            raise ValueError(
                f"modality dropout draws from all subsets, too many of {len(modalities)} modalities; expected at most "
                f"{MOST_MODALITIES} of them, or modality_dropout=None"
            )
        sizes = range(1, len(self.modalities))
        self.subsets = [s for size in sizes for s in itertools.combinations(self.modalities, size)]
        self.progress = 1.0
        self.set_seed(0)

    def set_seed(self, seed: int) -> None:
        """Restarts the draws."""
        self.generator = random.Random(seed)

    def draw(self) -> tuple[str, ...]:
        """The subset of the next step."""
        if self.progress < self.ramp and self.generator.random() * self.ramp >= self.progress:
            return self.modalities
        if isinstance(self.probability, Mapping):
            return self._kept(self.probability)
        if self.probability == UNIFORM:
            return self.generator.choice([*self.subsets, self.modalities])
        if not self.subsets or self.generator.random() >= float(self.probability):
            return self.modalities
        return self.generator.choice(self.subsets)

    def _kept(self, left_out: Mapping[str, float]) -> tuple[str, ...]:
        while True:
            kept = tuple(name for name in self.modalities if self.generator.random() >= left_out.get(name, 0.0))
            if kept:
                return kept


def complete_dropout(given: object) -> float | dict[str, Any] | None:
    """What a config says of modality dropout, a dict with every default.

    Args:
        given: None, a probability, or a dict of `probability` and `ramp`, see `ModalityDropout`.

    Raises:
        ValueError: something else, or an unknown option.
    """
    if isinstance(given, Mapping):
        check_options(given, DEFAULTS, "modality_dropout")
        return {**DEFAULTS, **given}
    if given is None or (isinstance(given, (int, float)) and not isinstance(given, bool)):
        return given
    raise ValueError(f"modality_dropout is {given!r}; expected None, a probability, or dict(probability=..., ramp=...)")


def build_dropout(given: Options | float | None, modalities: Sequence[str]) -> ModalityDropout | None:
    """Builds what `complete_dropout` gives."""
    if given is None:
        return None
    return ModalityDropout(modalities, **given) if isinstance(given, Mapping) else ModalityDropout(modalities, given)


def _check_probability(found: object, modalities: Sequence[str]) -> None:
    if isinstance(found, Mapping):
        for name, share in found.items():
            if name not in modalities:
                raise ValueError(f"modality dropout has a probability of {name!r}; expected {one_of(modalities, name)}")
            _check_share(share, f"probability of {name}")
        if all(found.get(name) == 1 for name in modalities):
            raise ValueError(
                "modality dropout leaves out every modality with probability 1; expected one that may stay"
            )
    elif found != UNIFORM:
        _check_share(found, "probability")


def _check_share(found: object, what: str) -> None:
    if not isinstance(found, (int, float)) or isinstance(found, bool) or not 0 <= found <= 1:
        also = f", {UNIFORM!r}, or probabilities by modality" if what == "probability" else ""
        raise ValueError(f"modality dropout has {what} {found!r}; expected a value in [0, 1]{also}")
