"""Surface normals: from metric depth, and what vectors need everywhere."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

Camera = tuple[float, float, float, float]  # fx, fy, cx, cy in pixels


def unit_length(vectors: np.ndarray) -> np.ndarray:
    """The directions of vectors [H, W, 3] as unit vectors of the same dtype; 0 stays 0."""
    length = np.linalg.norm(vectors, axis=2, keepdims=True)
    return np.divide(vectors, length, out=np.zeros_like(vectors), where=length > 0)


def facing_normals(depth: np.ndarray, camera: Camera, *, radius: int = 3) -> np.ndarray:
    """Unit normals that face the camera, x to the right, y down, z forward, as those of Taskonomy.

    Args:
        depth: float32 [H, W], metres; 0, NaN and the infinities = no measurement.
        camera: (fx, fy, cx, cy) in pixels.
        radius: see `surface_normals`.

    Returns:
        float32 [H, W, 3], 0 where depth is 0 or too few pixels around are measured.
    """
    normals = -surface_normals(depth, camera, radius=radius)
    normals[~((depth > 0) & np.isfinite(depth))] = 0
    return normals


def surface_normals(depth: np.ndarray, camera: Camera, *, radius: int = 3, stride: int = 1) -> np.ndarray:
    """Unit normals, pointing away from the camera, of the planes that fit the measured pixels of a window best.

    A plane's inverse depth is linear in the pixel coordinates, so each window is one linear least-squares problem with
    three unknowns, solved from running sums. Beyond the border nothing is measured.

    Args:
        depth: float32 [H, W], metres; 0, NaN and the infinities = no measurement.
        camera: (fx, fy, cx, cy) in pixels.
        radius: windows have 2 radius + 1 pixels per side.
        stride: solve at every stride-th pixel only.

    Returns:
        float32 [ceil(H / stride), ceil(W / stride), 3]; 0 where fewer than three measurements span a plane.
    """
    fx, fy, cx, cy = camera
    height, width = depth.shape
    valid = (depth > 0) & np.isfinite(depth)
    full = bool(valid.all())
    inverse = np.divide(1.0, depth, out=np.zeros(depth.shape), where=valid)
    if full:
        moments = _full_moments(height, width, radius, stride)
    else:
        moments = _moments(valid.astype(np.float64), radius, stride)
    mean_u, mean_v, uu, uv, vv, count = moments
    u, v = _pixel_grid(height, width)
    total, total_u, total_v = (_window_sum(values, radius, stride) for values in (inverse, inverse * u, inverse * v))
    covariance_u = total_u / count - mean_u * (total / count)
    covariance_v = total_v / count - mean_v * (total / count)
    determinant = uu * vv - uv * uv
    solvable = determinant > 1e-6
    scale = np.divide(1.0, determinant, out=np.zeros(determinant.shape), where=solvable)
    slope_u = (vv * covariance_u - uv * covariance_v) * scale
    slope_v = (uu * covariance_v - uv * covariance_u) * scale
    # inverse depth = slope_u u + slope_v v + rest, and u = (x + cx) - centre with x = fx X / Z
    rest = total / count + slope_u * (cx - (width - 1) / 2 - mean_u) + slope_v * (cy - (height - 1) / 2 - mean_v)
    normals = np.stack([slope_u * fx, slope_v * fy, np.where(solvable, rest, 0)], axis=-1).astype(np.float32)
    length = np.sqrt(np.einsum("hwc,hwc->hw", normals, normals))
    return normals / np.maximum(length, np.float32(1e-12))[..., None]


def _pixel_grid(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Column and row of each pixel, from the middle, as [1, W] and [H, 1]."""
    u = np.arange(width, dtype=np.float64) - (width - 1) / 2
    v = np.arange(height, dtype=np.float64) - (height - 1) / 2
    return u[None], v[:, None]


def _window_sum(values: np.ndarray, radius: int, stride: int) -> np.ndarray:
    """Sums of [H, W] in windows of 2 radius + 1 around every stride-th pixel."""
    side = 2 * radius + 1
    sums = cv2.boxFilter(values, -1, (side, side), normalize=False, borderType=cv2.BORDER_CONSTANT)
    return sums[::stride, ::stride]


@lru_cache(maxsize=8)
def _full_moments(height: int, width: int, radius: int, stride: int) -> tuple[np.ndarray, ...]:
    return _moments(np.ones((height, width)), radius, stride)


def _moments(weight: np.ndarray, radius: int, stride: int) -> tuple[np.ndarray, ...]:
    """Means, covariances and count of the measured pixels' coordinates in each window; weight [H, W]."""
    u, v = _pixel_grid(*weight.shape)
    maps = (weight, weight * u, weight * v, weight * (u * u), weight * (u * v), weight * (v * v))
    count, sum_u, sum_v, sum_uu, sum_uv, sum_vv = (_window_sum(values, radius, stride) for values in maps)
    count = np.maximum(count, 1)
    mean_u, mean_v = sum_u / count, sum_v / count
    uu, uv, vv = sum_uu / count - mean_u**2, sum_uv / count - mean_u * mean_v, sum_vv / count - mean_v**2
    return mean_u, mean_v, uu, uv, vv, count
