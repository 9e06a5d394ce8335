"""Damage of maps that are normalised already, as published benchmarks of failing sensors do it.

What is drawn follows from the name of the sample and of the map alone, so that every network, and every combination of
damaged maps, sees the same.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

Inputs = Mapping[str, Tensor]  # modality: normalised [N, c, H, W] or [N, T, c, H, W]


def draws(sample_id: str, name: str) -> np.random.Generator:
    """The random numbers of a sample's map."""
    return np.random.default_rng((zlib.crc32(sample_id.encode()), zlib.crc32(name.encode())))


@dataclass(frozen=True)
class Zeros:
    """Some maps are 0 everywhere, which is their mean where they are normalised by statistics.

    Attributes:
        names: of the maps.
    """

    names: Sequence[str]

    def __call__(self, inputs: Inputs, sample_ids: Sequence[str]) -> dict[str, Tensor]:
        return {name: torch.zeros_like(x) if name in self.names else x for name, x in inputs.items()}


@dataclass(frozen=True)
class RandomZeros:
    """Some maps are 0 at random places, each channel of a pixel by itself; a larger share has the places of a smaller.

    Attributes:
        names: of the maps.
        share: of their values that are 0.
    """

    names: Sequence[str]
    share: float

    def __call__(self, inputs: Inputs, sample_ids: Sequence[str]) -> dict[str, Tensor]:
        return {name: self._holed(name, x, sample_ids) if name in self.names else x for name, x in inputs.items()}

    def _holed(
        self,
        name: str,
        x: Tensor,  # [N, ..., c, H, W]
        sample_ids: Sequence[str],
    ) -> Tensor:
        drawn = [draws(each, name).random(tuple(x.shape[1:]), np.float32) for each in sample_ids]
        return x.where(torch.from_numpy(np.stack(drawn)).to(x.device) >= self.share, 0)


@dataclass(frozen=True)
class Noise:
    """Salt and pepper on all maps, then Gaussian noise.

    Salt is a map's largest value and pepper its smallest, each at half of `density` times as many values as it has;
    places are drawn with replacement, pepper after salt.

    Attributes:
        density: of salt and pepper together, 0 to 1.
        deviation: of the Gaussian noise, in standard deviations of the map.
        without: maps without Gaussian noise.
    """

    density: float
    deviation: float
    without: Sequence[str] = ()

    def __call__(self, inputs: Inputs, sample_ids: Sequence[str]) -> dict[str, Tensor]:
        return {
            name: torch.stack([self._noisy(name, part, each) for part, each in zip(x, sample_ids, strict=True)])
            for name, x in inputs.items()
        }

    def _noisy(
        self,
        name: str,
        x: Tensor,  # [..., c, H, W]
        sample_id: str,
    ) -> Tensor:
        rng, found, size = draws(sample_id, name), x.flatten().clone(), x.numel()
        count = math.ceil(self.density * size * 0.5)
        for value in (x.max(), x.min()):
            found[torch.from_numpy(rng.integers(0, size, count)).to(x.device)] = value
        if name not in self.without:
            noise = torch.from_numpy(rng.standard_normal(size, np.float32)).to(x.device)
            found = found + self.deviation * noise
        return found.view_as(x)
