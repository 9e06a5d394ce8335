"""A gate that is 0 or 1 and still has a gradient: the hard-concrete mask of logits, its penalty and its belief.

With a = logit + 3 and u uniform in (0, 1), t = σ((ln u − ln(1 − u) + a) / β)(ζ − γ) + γ with β = 1/3, γ = −0.2, ζ = 1,
c = clip(t, 0, 1), and the mask is 1 where c > 0.6. Its gradient is that of c. The 3 that is added lets it start open.

Sources: the distribution, Louizos, Welling and Kingma, "Learning Sparse Neural Networks through L0 Regularization"
(ICLR 2018); its constants and the threshold, the unimodal purification of MIM (IEEE TMM 2023). The authors draw u at
test too; u = 1/2 there, by which a mask depends on the logits alone, is ours.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

BETA, GAMMA, ZETA = 1 / 3, -0.2, 1.0
START = 3.0
THRESHOLD = 0.6
OPENS = (THRESHOLD - GAMMA) / (ZETA - GAMMA)  # what σ(a / β) must exceed: 2/3, so a > β ln 2 at u = 1/2
OPENS_AT = BETA * math.log(OPENS / (1 - OPENS)) - START  # the logit


def hard_concrete(
    logits: Tensor,  # [...]
    noise: Tensor | None = None,  # [...]
) -> Tensor:
    """The mask, 0 or 1, float32 [...]; computed in float32 whatever the logits are.

    Args:
        logits: without the 3.
        noise: u in 0..1; None for 1/2, which opens where the logit exceeds `OPENS_AT`.
    """
    a = logits.float() + START
    if noise is not None:
        a = a + noise.float().logit()
    c = ((a / BETA).sigmoid() * (ZETA - GAMMA) + GAMMA).clamp(0, 1)
    return (c > THRESHOLD).float() + (c - c.detach())  # exactly 0 or 1, as the difference is exactly 0


def openness(
    logits: Tensor,  # [...]
) -> Tensor:
    """The penalty of each logit before the mean is taken, float32 [...]: the probability that c is not 0.

    σ(a − β ln(−γ / ζ)).
    """
    return (logits.float() + START - BETA * math.log(-GAMMA / ZETA)).sigmoid()


def margin(
    logits: Tensor,  # [...]
) -> Tensor:
    """How far the logits are above the one at which the mask opens, float32 [...].

    Its sigmoid σ(a − β ln 2) is the probability that a mask with noise is 1, as that is where ln u − ln(1 − u) + a
    exceeds β ln 2.
    """
    return logits.float() - OPENS_AT


def drawn(
    logits: Tensor,  # [...]
) -> Tensor:
    """Noise for `hard_concrete`, float32 [...], uniform in 0..1."""
    return torch.rand_like(logits, dtype=torch.float32)
