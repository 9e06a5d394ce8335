"""How often each id occurs, or the sum of weights per id: what every count of pixels comes down to."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

MOST_COPIES = 64
MOST_ENTRIES = 2**20


def add_by_id(
    ids: Tensor,  # [P] int64, 0..num_ids-1 (on a CPU any integer dtype)
    num_ids: int,
    weights: Tensor | None = None,  # [P]
) -> Tensor:
    """Counts ids, or adds up the weights of each.

    Returns:
        [num_ids] on the device of `ids`: int64 counts, or sums in float64.
    """
    weights = None if weights is None else weights.double()
    if ids.device.type == "cuda":
        return add_in_copies(ids, num_ids, weights)
    sums = torch.bincount(ids, weights, minlength=num_ids)
    return sums if weights is None else sums.double()  # int64 where there are no ids


def add_in_copies(
    ids: Tensor,  # [P]
    num_ids: int,
    weights: Tensor | None = None,  # [P]
) -> Tensor:
    """`add_by_id` for a device with thousands of threads, without waiting for it.

    Neighbouring pixels mostly have the same id. Each of up to 64 neighbours adds to its own copy of the table, so that
    they do not queue for one address; the copies are summed at the end.
    """
    copies = max(1, min(MOST_COPIES, MOST_ENTRIES // (num_ids + 1)))
    copies = 1 << (copies.bit_length() - 1)  # a power of two divides most image sizes
    missing = -ids.numel() % copies
    added = ids.new_ones(()).expand(ids.numel()) if weights is None else weights
    if missing:
        ids, added = F.pad(ids, (0, missing), value=num_ids), F.pad(added, (0, missing))
    table = torch.zeros(num_ids + 1, copies, dtype=added.dtype, device=ids.device)
    table.scatter_add_(0, ids.view(-1, copies), added.reshape(-1, copies))
    return table.sum(1)[:num_ids]
