"""What scores of all subsets of the sensors come to, where each sensor may fail.

Source: Liao et al., "Benchmarking Multi-modal Semantic Segmentation under Sensor Failures", CVPR Workshops 2025, arXiv
2503.18445: the mean over all subsets but the empty one, and the expectation where each sensor fails by itself with
probability p, given that not all have failed.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

PROBABILITIES = (0.2, 0.1, 0.05)  # of a sensor's failure


def failures(modalities: Sequence[str]) -> list[tuple[str, ...]]:
    """What may be missing, from nothing to all but one, in declared order."""
    return [names for size in range(len(modalities)) for names in itertools.combinations(modalities, size)]


def over_failures(values: Sequence[float | None], missing: Sequence[int], sensors: int) -> dict[str, float | None]:
    """The mean, and the expectation at each of `PROBABILITIES`, by what they are called.

    Args:
        values: scores, one for each of `failures`.
        missing: how many sensors have failed in each.
        sensors: how many there are.

    Returns:
        None for all of them where a score is none.
    """
    names = ["mean", *(f"expected, p = {p:g}" for p in PROBABILITIES)]
    known = [value for value in values if value is not None and math.isfinite(value)]
    if len(known) < len(values) or not known:
        return dict.fromkeys(names)
    weights = [[1.0] * len(known), *([p**m * (1 - p) ** (sensors - m) for m in missing] for p in PROBABILITIES)]
    sums = [math.fsum(w * value for w, value in zip(each, known, strict=True)) / math.fsum(each) for each in weights]
    return dict(zip(names, sums, strict=True))
