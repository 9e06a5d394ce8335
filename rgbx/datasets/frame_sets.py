"""Frames that differ in what they have: which modalities each of a dataset has, as numbers, and their counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from rgbx._text import modality_title

Sets = Mapping[tuple[str, ...], np.ndarray]  # names of modalities: positions of the frames that have just these


def sets_of_frames(
    has: Sequence[np.ndarray],  # bool [N] of each modality
) -> np.ndarray | None:
    """Of each frame a number whose bit i says whether it has the i-th modality, int64 [N]; None where all have all."""
    found = np.zeros(len(has[0]), np.int64)
    for bit, each in enumerate(has):
        found |= each.astype(np.int64) << bit
    return None if (found == (1 << len(has)) - 1).all() else found


def names_of(number: int, modalities: Sequence[str]) -> tuple[str, ...]:
    """The modalities that a number of `sets_of_frames` stands for."""
    return tuple(name for bit, name in enumerate(modalities) if number >> bit & 1)


def by_set(
    sets: np.ndarray,  # int64 [N]
    modalities: Sequence[str],
) -> Sets:
    """The positions of the frames of each set, int64 [n]; the sets with more modalities first."""
    numbers = sorted(np.unique(sets).tolist(), key=lambda number: (-int(number).bit_count(), number))
    return {names_of(number, modalities): np.flatnonzero(sets == number) for number in numbers}


def told_by_set(sets: Sets) -> str:
    """ "RGB + depth 90, RGB 10": how many frames have what."""
    return ", ".join(f"{' + '.join(map(modality_title, names))} {len(at)}" for names, at in sets.items())
