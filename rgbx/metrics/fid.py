"""Distances between two sets of features: the Fréchet distance (FID) and the kernel distance (KID).

Heusel et al., "GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash Equilibrium", NeurIPS 2017;
Bińkowski et al., "Demystifying MMD GANs", ICLR 2018. Which network the features come from is the caller's business:
with those of Inception-v3's last pooling (2048 dimensions) these are the published FID and KID.
"""

from __future__ import annotations

import warnings

import numpy as np
import torch
from torch import Tensor


def frechet_distance(
    features: Tensor,  # [n, D]
    reference: Tensor,  # [m, D]
) -> float:
    """|μ_a - μ_b|² + tr(Σ_a + Σ_b - 2 (Σ_a Σ_b)^½) of Gaussians fitted to the two sets, in float64.

    With X and Y the centred features over √(n - 1) and √(m - 1), Σ_a = XᵀX and Σ_b = YᵀY, and the trace of (Σ_a Σ_b)^½
    is the sum of the singular values of XYᵀ. So no matrix square root is taken, and rank-deficient covariances need
    nothing added to them.

    Args:
        features: one row per image, on any device.
        reference: the same of the true images.

    Returns:
        At least 0, and 0 for equal sets.

    Raises:
        ValueError: no matrices of one width, or fewer than two rows.

    Warns:
        UserWarning: fewer rows than D + 1: the covariances cannot have full rank, and the distance is biased upwards.
    """
    a, b = _checked(features, reference)
    if min(len(a), len(b)) <= a.shape[1]:
        warnings.warn(
            f"the Fréchet distance of {len(a)} and {len(b)} images in {a.shape[1]} dimensions is biased upwards, as "
            "covariances lack rank: compare it only with that of as many images, and look at the kernel distance",
            stacklevel=2,
        )
    between = (a.mean(0) - b.mean(0)).square().sum()
    x, y = ((rows - rows.mean(0)) / (len(rows) - 1) ** 0.5 for rows in (a, b))
    spread = x.square().sum() + y.square().sum()
    common = torch.linalg.svdvals(_reduced(x) @ _reduced(y).T).sum()
    return max(float(between + spread - 2 * common), 0.0)


def kernel_distance(
    features: Tensor,  # [n, D]
    reference: Tensor,  # [m, D]
    *,
    subsets: int = 100,
    subset_size: int = 1000,
    degree: int = 3,
    seed: int = 0,
) -> tuple[float, float]:
    """Mean and standard deviation over random subsets of the unbiased squared MMD with the kernel (x·y / D + 1)^degree.

    Unbiased, so 0 on average for two sets of one distribution, and sometimes below it. Published tables show it times
    100 or 1000; this is the plain value.

    Args:
        features: one row per image, on any device.
        reference: the same of the true images.
        subsets: how many are drawn.
        subset_size: rows of each; all rows where a set has fewer. Where that is all of both, one subset says it all and
            the deviation is 0.
        degree: of the polynomial.
        seed: of the draws.

    Returns:
        Mean and population standard deviation, computed in float64.

    Raises:
        ValueError: no matrices of one width, fewer than two rows, or numbers below 1.
    """
    a, b = _checked(features, reference)
    if subsets < 1 or degree < 1 or subset_size < 2:
        raise ValueError(
            f"expected subsets and degree >= 1, subset_size >= 2; found {subsets}, {degree}, {subset_size}"
        )
    size = min(subset_size, len(a), len(b))
    if size == len(a) == len(b):
        return squared_mmd(a, b, degree=degree), 0.0
    rng = np.random.default_rng(seed)
    draw = lambda rows: rows[torch.from_numpy(rng.permutation(len(rows))[:size]).to(rows.device)]  # noqa: E731
    found = np.array([squared_mmd(draw(a), draw(b), degree=degree) for _ in range(subsets)])
    return float(found.mean()), float(found.std())


def squared_mmd(
    x: Tensor,  # [n, D]
    y: Tensor,  # [m, D]
    *,
    degree: int = 3,
) -> float:
    """Unbiased estimate of the squared maximum mean discrepancy with the kernel (x·y / D + 1)^degree, in float64.

    Source: Gretton et al., JMLR 2012, equation 3.
    """
    x, y = x.double(), y.double()
    kernel = lambda p, q: (p @ q.T / p.shape[1] + 1) ** degree  # noqa: E731
    n, m = len(x), len(y)
    own, other = kernel(x, x), kernel(y, y)
    within = (own.sum() - own.trace()) / (n * (n - 1)) + (other.sum() - other.trace()) / (m * (m - 1))
    return float(within - 2 * kernel(x, y).mean())


def _checked(
    features: Tensor,  # [n, D]
    reference: Tensor,  # [m, D]
) -> tuple[Tensor, Tensor]:
    if features.ndim != 2 or reference.ndim != 2 or features.shape[1] != reference.shape[1]:
        raise ValueError(
            f"expected features [n, D] and [m, D], found {tuple(features.shape)} and {tuple(reference.shape)}"
        )
    if min(len(features), len(reference)) < 2:
        raise ValueError(f"a distance needs two images of each kind, found {len(features)} and {len(reference)}")
    return features.double(), reference.to(features.device).double()


def _reduced(
    rows: Tensor,  # [n, D]
) -> Tensor:
    """A matrix R of at most D rows with RᵀR = XᵀX."""
    return torch.linalg.qr(rows, mode="r").R if len(rows) > rows.shape[1] else rows
