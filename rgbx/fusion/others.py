"""What each modality receives from all others."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from functools import reduce

from torch import Tensor


def sum_of_others(parts: Sequence[Tensor]) -> list[Tensor]:
    """For each of at least two modalities' features, the sum of the others': y_m = Σ_{k≠m} x_k."""
    return [reduce(operator.add, [x for k, x in enumerate(parts) if k != m]) for m in range(len(parts))]


def mean_of_others(parts: Sequence[Tensor]) -> list[Tensor]:
    """The mean in place of the sum of `sum_of_others`; between two modalities an exact swap."""
    sums = sum_of_others(parts)
    return sums if len(parts) == 2 else [total / (len(parts) - 1) for total in sums]
