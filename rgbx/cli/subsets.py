"""Subsets of modalities on the command line."""

from __future__ import annotations

import itertools
from collections.abc import Sequence


def all_subsets(modalities: Sequence[str]) -> list[tuple[str, ...]]:
    """All non-empty subsets in declared order, the largest first."""
    sizes = range(len(modalities), 0, -1)
    return [subset for size in sizes for subset in itertools.combinations(modalities, size)]


def usual_subsets(modalities: Sequence[str]) -> list[tuple[str, ...]]:
    """All subsets of up to three modalities; of more, all together and each alone."""
    return all_subsets(modalities) if len(modalities) <= 3 else [tuple(modalities), *((name,) for name in modalities)]
