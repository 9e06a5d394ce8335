"""What the surfaces of a synthetic room are painted with, and how warm they are."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass, replace

import numpy as np

from rgbx.datasets.rooms.classes import (
    BALL,
    BLUE_PANEL,
    BLUE_POSTER,
    BOWL,
    CEILING,
    FLOOR,
    HEATER,
    HOT_HEATER,
    RED_PANEL,
    RED_POSTER,
    WALL,
)

HUES = {"red": (0.0, 0.12), "blue": (0.52, 0.70), "green": (0.25, 0.42)}
CLASS_COLOURS = {
    FLOOR: (0.55, 0.42, 0.30),
    WALL: (0.80, 0.80, 0.70),
    CEILING: (0.70, 0.76, 0.86),
    **dict.fromkeys((RED_POSTER, BLUE_POSTER), (0.80, 0.22, 0.16)),
    **dict.fromkeys((RED_PANEL, BLUE_PANEL), (0.18, 0.42, 0.80)),
    BALL: (0.30, 0.62, 0.20),
    BOWL: (0.88, 0.74, 0.16),
    HEATER: (0.18, 0.18, 0.20),
    HOT_HEATER: (0.88, 0.44, 0.10),
}


@dataclass(frozen=True)
class Paint:
    """Two colours [2, 3] (linear 0..1) alternating `frequency` times per texture unit, and heat."""

    colours: np.ndarray
    frequency: tuple[float, float]
    celsius: float

    def by_class(self, label: int) -> Paint:
        """As warm, in the plain colour of a class; red and blue boards, alike but for their hue, have one."""
        return replace(self, colours=np.array([CLASS_COLOURS[label]] * 2), frequency=(0.0, 0.0))


def _colours(
    rng: np.random.Generator, hues: tuple[float, float], saturation: tuple[float, float], value: tuple[float, float]
) -> np.ndarray:
    """Two colours [2, 3] of one family."""
    low, high = zip(hues, saturation, value, strict=True)
    return np.array([colorsys.hsv_to_rgb(*rng.uniform(low, high)) for _ in range(2)])


def item_paint(rng: np.random.Generator, label: int, air: float) -> Paint:
    """Paint of an item in air of that many °C; classes of one colour family are drawn alike."""
    frequency = rng.uniform(0.8, 2.4, 2) * rng.integers(0, 2, 2)
    offset, hot = rng.uniform((-1.5, 45.0), (1.5, 75.0))
    celsius = hot if label == HOT_HEATER else air + offset
    if label in (HEATER, HOT_HEATER):
        colours = _colours(rng, (0.0, 1.0), (0.0, 0.2), (0.08, 0.28))
    else:
        family = "green" if label in (BALL, BOWL) else "red" if label < BLUE_POSTER else "blue"
        colours = _colours(rng, HUES[family], (0.5, 0.95), (0.45, 0.95))
    return Paint(colours, (frequency[0], frequency[1]), celsius)


def side_paints(rng: np.random.Generator, air: float) -> tuple[Paint, ...]:
    pale, wood = ((0.0, 1.0), (0.02, 0.18), (0.62, 0.95)), ((0.06, 0.13), (0.1, 0.35), (0.4, 0.8))
    wall, floor, ceiling = (_colours(rng, *family)[0] for family in (pale, wood, pale))
    paints = []
    for colour, patterned in ((wall, 0.2),) * 4 + ((floor, 0.7), (ceiling, 0.1)):
        frequency = rng.uniform(0.8, 3.0, 2) * (rng.uniform(size=2) < patterned)
        colours = np.array([colour, colour * rng.uniform(0.86, 0.96)])
        paints.append(Paint(colours, (frequency[0], frequency[1]), air + rng.uniform(-0.8, 0.8)))
    return tuple(paints)
