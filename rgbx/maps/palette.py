"""Colours for classes that have none, also for those who see fewer colours."""

from __future__ import annotations

from functools import cache

import numpy as np

from rgbx.maps.colour import HOLE, IGNORED

OKABE_ITO = (  # Okabe and Ito, Color Universal Design, 2008, without black, which is what was not measured
    (0, 114, 178), (230, 159, 0), (0, 158, 115), (204, 121, 167),
    (86, 180, 233), (213, 94, 0), (240, 228, 66),
)  # fmt: skip
MOST = 255  # classes that 8 bits can tell
LEVELS = 16  # per channel, of the colours to choose from
LIGHTNESS = 20.0, 95.0  # of the same, CIELAB
CONFUSED = 2.0  # by which distances count that the colour-blind see, smaller ones as a rule
SEEN = np.array(  # linear RGB as it is, and as it is seen without M cones and without L cones: Machado et al., 2009
    [
        [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    ]
)
_TO_XYZ = np.array(  # IEC 61966-2-1, of linear RGB, white D65
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)


def default_palette(count: int) -> list[list[int]]:
    """Colours of classes without any of their own; those of the first classes do not depend on how many follow.

    The first seven are those of Okabe and Ito but black. Each further one is the colour that is farthest from all
    before it (and from the grey of what is ignored and the black of what was not measured), by the least of its CIELAB
    distances as they are seen with all cones, without M and without L cones.

    Args:
        count: of classes, at most 255.

    Returns:
        One [r, g, b], 0 to 255, a class.

    Source: the choice, Glasbey et al., Color Research & Application, 2007; the simulation, Machado et al., IEEE TVCG,
        2009.
    """
    return [list(colour) for colour in _palette()[:count]]


@cache
def _palette() -> tuple[tuple[int, int, int], ...]:
    grid = np.stack(np.meshgrid(*[np.linspace(0, 255, LEVELS)] * 3, indexing="ij"), -1).reshape(-1, 3)
    lightness = seen_lab(grid)[:, 0, 0]
    grid = grid[(lightness > LIGHTNESS[0]) & (lightness < LIGHTNESS[1])]
    colours = seen_lab(grid)
    chosen = [(int(red), int(green), int(blue)) for red, green, blue in OKABE_ITO]
    nearest = np.min([_distances(colours, np.array(colour, float)) for colour in (*chosen, IGNORED, HOLE)], axis=0)
    while len(chosen) < MOST:
        best = int(nearest.argmax())
        red, green, blue = (int(value) for value in grid[best])
        chosen.append((red, green, blue))
        nearest = np.minimum(nearest, _distances(colours, grid[best]))
    return tuple(chosen)


def _distances(
    colours: np.ndarray,  # [n, 3, 3]
    colour: np.ndarray,  # [3], 0..255
) -> np.ndarray:
    """How far colours are from one, [n]."""
    apart = np.linalg.norm(colours - seen_lab(colour[None]), axis=2)
    least: np.ndarray = (apart * [1, CONFUSED, CONFUSED]).min(axis=1)
    return least


def seen_lab(
    colours: np.ndarray,  # [n, 3], sRGB 0..255
) -> np.ndarray:
    """CIELAB [n, 3, 3] of colours as they are seen with all cones, without M cones and without L cones."""
    share = colours / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    seen = np.einsum("kij,nj->nki", SEEN, linear).clip(0, 1)
    xyz = seen @ _TO_XYZ.T / _TO_XYZ.sum(axis=1)
    root = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    x, y, z = np.moveaxis(root, -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], -1)
