"""Objectives for tests of what all of them share: one without parameters, one with, one with an opponent."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from rgbx.objectives import OBJECTIVES, Objective, objective


class Gap(Objective):
    """How far the features of two modalities lie apart at each stage, and nothing where there are fewer."""

    name = "test_gap"

    def __init__(self, site, *, stages=None, power: float = 1.0):
        super().__init__()
        self.site, self.stages, self.power = site, stages, power

    def forward(self, step):
        if len(step.present) < 2:
            return {}
        a, b = step.present[:2]
        chosen = range(len(step.features)) if self.stages is None else self.stages
        return {f"stage{i}": (step.features[i][a] - step.features[i][b]).abs().mean() ** self.power for i in chosen}


class Scaled(Objective):
    """Has a parameter, a buffer and an option that must be given: the product of the first and a head's outputs."""

    name = "test_scaled"

    def __init__(self, site, *, start):
        super().__init__()
        self.scale = nn.Parameter(torch.full((site.channels[-1], 1), float(start)))
        self.register_buffer("steps", torch.zeros(()))

    def forward(self, step):
        if self.training:
            self.steps += 1
        return {"product": (step.features[-1][step.present[0]].mean((0, 2, 3)) @ self.scale).square().sum()}


class Judge(Objective):
    """An opponent tells modalities apart by the mean of their deepest features; `forward` wants it to be wrong."""

    name = "test_judge"

    def __init__(self, site, *, width: int = 4):
        super().__init__()
        self.modalities = site.modalities
        self.opponent = nn.Sequential(
            nn.Linear(site.channels[-1], width), nn.Tanh(), nn.Linear(width, len(site.modalities))
        )

    def forward(self, step):
        return {"fool": -self.told(step)}

    def opponent_losses(self, step):
        return {"tell": self.told(step)}

    def told(self, step):
        terms = []
        for name, x in step.features[-1].items():
            logits = self.opponent(x.mean((2, 3)))
            terms.append(F.cross_entropy(logits, torch.full((len(x),), self.modalities.index(name))))
        return torch.stack(terms).mean()


KINDS = (Gap, Scaled, Judge)


def enter():
    """Makes them known, as importing a file of one's own does."""
    for kind in KINDS:
        objective(kind.name)(kind)


def forget():
    """Makes them unknown, as where nobody imported the file."""
    for kind in KINDS:
        OBJECTIVES.pop(kind.name, None)


@pytest.fixture
def made_objectives():
    """They are known during a test."""
    enter()
    yield
    forget()
