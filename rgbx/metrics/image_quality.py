"""How close images are to the true ones: MAE, RMSE, PSNR and SSIM."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

SSIM_SIDE, SSIM_SIGMA = 11, 1.5
_K1, _K2 = 0.01, 0.03


def error_sums(
    prediction: Tensor,  # [C, H, W] or [N, C, H, W]
    target: Tensor,  # [C, H, W] or [N, C, H, W]
    valid: Tensor | None = None,  # bool [1, H, W] or [N, 1, H, W]
) -> dict[str, float]:
    """What MAE and RMSE need, additive over images: ``values``, ``absolute`` and ``squared`` errors.

    Args:
        prediction: in the map's unit, on any device.
        target: moved to that of the prediction.
        valid: pixels that count; None counts all.

    Raises:
        ValueError: shapes differ.
    """
    a, b, mask = checked(prediction, target, valid)
    errors = (a - b) if mask is None else (a - b)[mask.expand_as(a)]
    return {
        "values": float(errors.numel()),
        "absolute": float(errors.abs().sum()),
        "squared": float(errors.square().sum()),
    }


def error_scores(sums: Mapping[str, float]) -> dict[str, float]:
    """``MAE`` and ``RMSE`` in the map's unit, over all values of all images; NaN where there are none."""
    count = sums["values"]
    if not count:
        return {"MAE": math.nan, "RMSE": math.nan}
    return {"MAE": sums["absolute"] / count, "RMSE": math.sqrt(sums["squared"] / count)}


def psnr(
    prediction: Tensor,  # [C, H, W]
    target: Tensor,  # [C, H, W]
    *,
    data_range: float,
    valid: Tensor | None = None,  # bool [1, H, W]
) -> float:
    """Peak signal-to-noise ratio of one image in dB: 10 log10(range² / MSE); infinite for equal images.

    Args:
        prediction: in the map's unit.
        target: likewise.
        data_range: largest minus smallest possible value, 255 for 8-bit colours.
        valid: pixels that count; None counts all.

    Raises:
        ValueError: shapes differ, or a range that is not positive.
    """
    _check_range(data_range)
    sums = error_sums(prediction, target, valid)
    if not sums["values"]:
        return math.nan
    mean = sums["squared"] / sums["values"]
    return math.inf if mean == 0 else 10 * math.log10(data_range**2 / mean)


def ssim(
    prediction: Tensor,  # [C, H, W]
    target: Tensor,  # [C, H, W]
    *,
    data_range: float,
    valid: Tensor | None = None,  # bool [1, H, W]
) -> float:
    """Structural similarity of one image, the mean over pixels and channels, in float64.

    Windows are Gaussian, 11x11 with σ = 1.5, and lie inside the image; K1 = 0.01, K2 = 0.03; variances are those of the
    window itself (divided by its weight, not by one less). The image is not scaled down first.

    Args:
        prediction: in the map's unit.
        target: likewise.
        data_range: largest minus smallest possible value, 255 for 8-bit colours.
        valid: windows with any other pixel do not count; None counts all.

    Returns:
        NaN where no window counts.

    Raises:
        ValueError: shapes differ, an image smaller than a window, or a range that is not positive.

    Source: Wang et al., "Image Quality Assessment: From Error Visibility to Structural Similarity", IEEE TIP 2004.
    """
    _check_range(data_range)
    a, b, mask = checked(prediction, target, valid)
    b = b if mask is None else b.where(mask, 0.0)
    if a.ndim != 3 or min(a.shape[-2:]) < SSIM_SIDE:
        raise ValueError(f"SSIM needs an image [C, H, W] of at least 11x11 pixels, found {tuple(a.shape)}")
    mean_a, mean_b, aa, bb, ab = _windows(torch.stack([a, b, a * a, b * b, a * b]))
    c1, c2 = (_K1 * data_range) ** 2, (_K2 * data_range) ** 2
    covariance = ab - mean_a * mean_b
    variances = aa - mean_a**2 + bb - mean_b**2
    quality = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
    quality = quality / ((mean_a**2 + mean_b**2 + c1) * (variances + c2))
    if mask is None:
        return float(quality.mean())
    holes = F.max_pool2d((~mask).double()[None], SSIM_SIDE, stride=1)[0] > 0
    return float(quality[(~holes).expand_as(quality)].mean())


def checked(
    prediction: Tensor,  # [..., C, H, W]
    target: Tensor,  # [..., C, H, W]
    valid: Tensor | None,  # bool [..., 1, H, W]
) -> tuple[Tensor, Tensor, Tensor | None]:
    """The two as float64 and the mask, on one device; targets that are NaN or infinite do not count.

    Raises:
        ValueError: shapes that do not fit, or a mask of another dtype.
    """
    if prediction.shape != target.shape or prediction.ndim < 3:
        raise ValueError(
            f"expected two maps [..., C, H, W] of one shape, found {tuple(prediction.shape)} and {tuple(target.shape)}"
        )
    if valid is not None:
        expected = (*prediction.shape[:-3], 1, *prediction.shape[-2:])
        if valid.shape != expected or valid.dtype != torch.bool:
            raise ValueError(f"expected a mask of bool {expected}, found {valid.dtype} {tuple(valid.shape)}")
        valid = valid.to(prediction.device)
    truth = target.to(prediction.device).double()
    if target.is_floating_point() and not (finite := truth.isfinite()).all():
        measured = finite.all(-3, keepdim=True)
        valid = measured if valid is None else valid & measured
    return prediction.double(), truth, valid


def _windows(
    maps: Tensor,  # [K, C, H, W]
) -> Tensor:
    """Gaussian means of all windows inside the maps: [K, C, H - 10, W - 10]."""
    offsets = torch.arange(SSIM_SIDE, dtype=maps.dtype, device=maps.device) - SSIM_SIDE // 2
    weights = torch.exp(-(offsets**2) / (2 * SSIM_SIGMA**2))
    weights = weights / weights.sum()
    flat = maps.flatten(0, 1)[:, None]
    flat = F.conv2d(F.conv2d(flat, weights.view(1, 1, -1, 1)), weights.view(1, 1, 1, -1))
    return flat.view(*maps.shape[:2], *flat.shape[-2:])


def _check_range(data_range: float) -> None:
    if not data_range > 0:
        raise ValueError(f"data_range must be > 0, found {data_range}")
