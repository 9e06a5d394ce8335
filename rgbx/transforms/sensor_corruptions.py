"""What befalls event cameras and lidars, on their maps: values where there were events or points, 0 elsewhere.

Each takes a map, [H, W, ...] of any dtype, a strength, random numbers and the map's spec. No measured value is changed:
some are lost, moved, or come where there were none.
"""

from __future__ import annotations

import numpy as np

from rgbx.maps import MapSpec

_BANDS = 64  # of rows, as beams of a lidar


def _there(array: np.ndarray) -> np.ndarray:
    """bool [H, W], where a map [H, W, ...] has events or points."""
    finite = np.nan_to_num(array)
    return finite != 0 if array.ndim == 2 else finite.any(axis=2)


def _without(
    array: np.ndarray,  # [H, W, ...]
    lost: np.ndarray,  # bool [H, W]
    empty: float,
) -> np.ndarray:
    """[H, W, ...] with another value at the pixels of a mask."""
    return np.where(lost if array.ndim == 2 else lost[..., None], np.asarray(empty, array.dtype), array)


def _nothing(spec: MapSpec) -> float:
    """Where a lidar has no point: no measurement, if the map can tell it from 0."""
    return spec.fill if np.isnan(spec.fill) else 0.0


def events_lost(array: np.ndarray, strength: float, rng: np.random.Generator, spec: MapSpec) -> np.ndarray:
    """[H, W, ...] without a share of its events: that there is none was measured too."""
    return _without(array, (rng.random(array.shape[:2], np.float32) < strength) & _there(array), 0.0)


def points_lost(array: np.ndarray, strength: float, rng: np.random.Generator, spec: MapSpec) -> np.ndarray:
    """[H, W, ...] without a share of its points."""
    return _without(array, (rng.random(array.shape[:2], np.float32) < strength) & _there(array), _nothing(spec))


def spurious(array: np.ndarray, strength: float, rng: np.random.Generator, spec: MapSpec) -> np.ndarray:
    """[H, W, ...] with values of its own events at a share of the pixels that have none."""
    there, drawn = _there(array), rng.random(array.shape[:2], np.float32)
    known = array[there]
    known_empty = np.isfinite(array) if array.ndim == 2 else np.isfinite(array).all(axis=2)
    places = ~there & known_empty & (drawn < strength)
    if not len(known) or not places.any():
        return array
    found = array.copy()
    found[places] = known[rng.integers(0, len(known), int(places.sum()))]
    return found


def low_resolution(array: np.ndarray, strength: float, rng: np.random.Generator, spec: MapSpec) -> np.ndarray:
    """[H, W, ...] of a sensor with fewer pixels, by a factor on each side."""

    def seen(length: int) -> np.ndarray:
        """Which pixel of the fine sensor stands for each, the one in the middle of the coarse."""
        cells = np.floor(np.arange(length) / strength)
        return np.minimum(((cells + 0.5) * strength).astype(int), length - 1)

    return array[np.ix_(seen(array.shape[0]), seen(array.shape[1]))]


def jitter(array: np.ndarray, strength: float, rng: np.random.Generator, spec: MapSpec) -> np.ndarray:
    """[H, W, ...] whose points have moved, each by itself, by a deviation in pixels of an image of 480 rows."""
    there = _there(array)
    rows, columns = np.nonzero(there)
    moved = rng.standard_normal((2, *array.shape[:2]), np.float32)[:, there] * np.float32(strength * len(array) / 480)
    down = np.clip(np.rint(rows + moved[0]).astype(int), 0, array.shape[0] - 1)
    right = np.clip(np.rint(columns + moved[1]).astype(int), 0, array.shape[1] - 1)
    found = _without(array, there, _nothing(spec))
    found[down, right] = array[rows, columns]
    return found


def beams(array: np.ndarray, strength: float, rng: np.random.Generator, spec: MapSpec) -> np.ndarray:
    """[H, W, ...] without a share of its beams, bands of rows."""
    bands = min(_BANDS, len(array))
    lost = rng.permutation(bands) < round(strength * bands)
    rows = lost[np.arange(len(array)) * bands // len(array)]
    return _without(array, rows[:, None] & _there(array), _nothing(spec))
