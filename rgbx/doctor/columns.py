"""Files that stand in each other's place: rgb, depth and label told apart by what they hold."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import permutations

import numpy as np

from rgbx.maps import MapSpec

_FITS = {"rgb": ("colour",), "depth": ("deep", "ids"), "label": ("ids",)}
_MANY_LEVELS = 50  # a frame's labels seldom have as many ids, its depth mostly has


def mixed_up(raw: Mapping[str, np.ndarray], maps: Mapping[str, MapSpec]) -> tuple[str, ...]:
    """Names among rgb, the metric map and the label whose files seem swapped; () where all seem right.

    Colours belong to rgb, 16 bits with values above 255 to depth, one channel of 8 bits to the label or depth. A frame
    is mixed up if its files do not fit their places but would in another order; also if depth and label have 8 bits
    both and the label has by far the more levels and the less even areas.
    """
    metric = next((name for name, spec in maps.items() if spec.unit == "metre"), "")
    places = {"rgb": "rgb", metric: "depth", "label": "label"}
    names = [name for name in places if name in raw]
    kinds = {name: _kind(raw[name]) for name in names}
    fitting = [
        order
        for order in permutations(names)
        if all(kinds[b] in _FITS[places[a]] for a, b in zip(names, order, strict=True))
    ]
    if fitting and tuple(names) not in fitting:
        moved = [tuple(a for a, b in zip(names, order, strict=True) if a != b) for order in fitting]
        return min(moved, key=len)
    if kinds.get(metric) == kinds.get("label") == "ids" and _looks_swapped(raw[metric], raw["label"]):
        return (metric, "label")
    return ()


def _kind(array: np.ndarray) -> str:  # [H, W] or [H, W, C]
    if array.ndim == 3 and array.shape[2] >= 3:
        few = array[::7, ::7]
        return "colour" if np.any(few[..., 0] != few[..., 1]) else "grey"
    if array.dtype == np.uint16 and array.max() > 255:
        return "deep"
    return "ids" if array.dtype in (np.uint8, np.uint16) else "other"


def _looks_swapped(depth: np.ndarray, label: np.ndarray) -> bool:  # [H, W] each
    levels = [int(np.count_nonzero(np.bincount(array.ravel(), minlength=256))) for array in (depth, label)]
    even = [float((array[:, 1:] == array[:, :-1]).mean()) for array in (depth, label)]
    return levels[1] > _MANY_LEVELS and levels[0] < levels[1] / 2 and even[0] > even[1]
