"""InfoNCE: of all pairs of a batch, those that belong together shall be the most similar.

Source: van den Oord et al., "Representation Learning with Contrastive Predictive Coding" (arXiv 1807.03748), equation
4, in both directions as Radford et al. (arXiv 2103.00020) have it; several positives as in Khosla et al., "Supervised
Contrastive Learning" (arXiv 2004.11362), equation 2.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def contrastive_loss(
    a: Tensor,  # [R, D]
    b: Tensor,  # [R, D], whose row i belongs to a's
    temperature: float = 0.07,
    positive: Tensor | None = None,  # bool [R, R], of a's rows and b's columns
) -> Tensor:
    """Symmetric cross-entropy of softmax(cosine / temperature) against the positives, each of equal weight, [].

    Args:
        a: codes of one modality; lengths do not matter.
        b: codes of another.
        temperature: of the softmax.
        positive: what belongs together; None for the same rows alone. A row without a positive is left out.
    """
    with torch.autocast(a.device.type, enabled=False):  # cosines that differ little decide
        logits = F.normalize(a.float(), dim=1) @ F.normalize(b.float(), dim=1).T / temperature
    same = torch.eye(len(a), dtype=torch.bool, device=a.device) if positive is None else positive
    return (_one_way(logits, same) + _one_way(logits.T, same.T)) / 2


def _one_way(
    logits: Tensor,  # [R, R]
    positive: Tensor,  # bool [R, R]
) -> Tensor:
    count = positive.sum(1)
    rows = -(logits.log_softmax(1) * positive).sum(1) / count.clamp(min=1)
    return rows.sum() / (count > 0).sum().clamp(min=1)
