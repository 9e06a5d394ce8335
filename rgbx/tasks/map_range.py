"""How the values of a map, in its own units, lie in the -1..1 that translation networks read and write."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from rgbx._text import one_of
from rgbx._types import Options

SCALES = ("linear", "log")
DEFAULT_RANGES: dict[str, Mapping[str, Any]] = {
    "rgb": {"low": 0.0, "high": 255.0},
    "hha": {"low": 0.0, "high": 255.0},
    "normal": {"low": -1.0, "high": 1.0},  # unit vectors
    "depth": {"low": 0.0, "high": 10.0},  # metres
    "edge": {"low": 0.0, "high": 1.0},
}

_NAMESAKES = {"rgb8": "rgb", "encoded": "hha", "unit_vector": "normal", "metre": "depth", "relative": "edge"}


class MapRange(nn.Module):
    """An invertible map between the values low..high of a map and -1..1; values beyond count as the bound.

    Args:
        low: the value that becomes -1, in the map's unit.
        high: the value that becomes 1.
        scale: ``"linear"``, or ``"log"``: linear in log(1 + x), for maps whose small values matter more.

    Raises:
        ValueError: an unknown scale, an empty range, or a log scale below 0.
    """

    bounds: Tensor

    def __init__(self, low: float, high: float, scale: str = "linear") -> None:
        super().__init__()
        if scale not in SCALES:
            raise ValueError(f"scale is {scale!r}; expected one of {one_of(SCALES, scale)}")
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise ValueError(f"a range needs finite low < high, found {low} and {high}")
        if scale == "log" and low < 0:
            raise ValueError(f"a log range starts at 0 or above, found {low}")
        self.scale = scale
        self.register_buffer("bounds", torch.tensor([low, high], dtype=torch.float64))

    def normalise(
        self,
        x: Tensor,  # [...]
    ) -> Tensor:
        """Values in the map's unit, of any dtype and shape, to float32 in -1..1."""
        low, high = self._ends()
        scaled = x.double().clamp(self.bounds[0], self.bounds[1])
        scaled = torch.log1p(scaled) if self.scale == "log" else scaled
        return (2 * (scaled - low) / (high - low) - 1).float()

    def denormalise(
        self,
        y: Tensor,  # [...]
    ) -> Tensor:
        """The inverse of `normalise`: float32 in the map's unit."""
        low, high = self._ends()
        scaled = (y.double().clamp(-1, 1) + 1) / 2 * (high - low) + low
        return (torch.expm1(scaled) if self.scale == "log" else scaled).float()

    def negate(
        self,
        y: Tensor,  # [...], normalised by a linear scale
    ) -> Tensor:
        """What -x becomes, of y that x became."""
        low, high = self._ends()
        return -y - (2 * (low + high) / (high - low)).to(y.dtype)

    def _ends(self) -> tuple[Tensor, Tensor]:
        """Of the scaled values, on the device: reading them there would make it wait."""
        ends = torch.log1p(self.bounds) if self.scale == "log" else self.bounds
        return ends[0], ends[1]

    def extra_repr(self) -> str:
        return f"{self.bounds[0]:g} to {self.bounds[1]:g}, {self.scale}"


def range_options(name: str, given: Options | None = None, *, unit: str | None = None) -> dict[str, Any]:
    """What is given over the default of a map's name, or else of its unit."""
    default = DEFAULT_RANGES.get(name) or DEFAULT_RANGES.get(_NAMESAKES.get(unit or "", ""), {})
    return {"scale": "linear", **default, **(given or {})}


def build_range(name: str, given: Options | None = None, *, unit: str | None = None) -> MapRange:
    """The range of a map: what is given over the default of that name.

    Args:
        name: of the map.
        given: ``low`` and ``high`` in the map's unit, and ``scale``; None for the default.
        unit: whose default serves a map of a name that has none.

    Raises:
        ValueError: an unknown option, or a map without a default of which no bounds are given.
    """
    options = range_options(name, given, unit=unit)
    if unknown := sorted(set(options) - {"low", "high", "scale"}):
        raise ValueError(f"the range of {name!r} has unknown options {unknown}; known are low, high and scale")
    if not {"low", "high"} <= set(options):
        raise ValueError(
            f"no range for map {name!r}, unlike {', '.join(DEFAULT_RANGES)}: pass ranges={{{name!r}: {{'low': ..., "
            "'high': ...}} in its own unit"
        )
    return MapRange(**options)
