"""HHA: horizontal disparity, height above ground and angle with gravity, from metric depth.

Gupta et al., "Learning Rich Features from RGB-D Images for Object Detection and Segmentation" (ECCV 2014), with the
gravity estimate of Gupta et al. (CVPR 2013): surface normals of wide windows vote, in two rounds, for the direction
that most of them are parallel to (floors) or perpendicular to (walls).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import cv2
import numpy as np

# Colour camera of NYU Depth V2 at 640x480, as its toolbox publishes it.
NYUDV2_CAMERA = {"fx": 518.857901, "fy": 519.469611, "cx": 325.582449, "cy": 253.736166}
# The camera that the HHA images passed around with NYU Depth V2 were evidently made with: their height channel is
# a linear function of depth that no camera with its principal point near the middle gives.
NYUDV2_HHA_FILES_CAMERA = {"fx": 1000.0, "fy": 1000.0, "cx": 0.0, "cy": 0.0}

_NORMAL_RADIUS, _GRAVITY_RADIUS = 3, 10  # pixels: windows of 7x7 and 21x21
_ROUNDS = ((45.0, 5), (15.0, 5))  # degrees within which a normal counts as floor or wall, iterations
_GRAVITY_STRIDE = 4  # every fourth wide-window normal per axis votes: 19,200 of a 640x480 frame
_DISPARITY_CM = 31000.0  # disparity channel = this / depth in centimetres
_NEAREST_CM = 100.0
_ANGLE_OFFSET = 38.0  # 128 - 90: a wall's angle of 90 degrees becomes 128
_CAMERA_HEIGHT_CM, _LOWEST_CM = 130.0, -90.0


def hha(
    depth: np.ndarray,
    *,
    fx: float,
    fy: float,
    cx: float,
    cy: float,
    gravity: Sequence[float] | None = None,
) -> np.ndarray:
    """HHA of one depth image, in the channel order of HHA files once read as RGB.

    Channel 0 is 31000 / depth in centimetres (depth below 1 m counts as 1 m), channel 1 the height in centimetres over
    the lowest point seen (where that lies less than 90 cm below the camera: over a floor 130 cm below it), channel 2
    the angle in degrees between the surface normal, pointing away from the camera, and gravity, plus 38: about 38 on
    floors, 128 on walls, 218 on ceilings. All are rounded and clipped to 0..255. Mirroring the image mirrors HHA.

    Args:
        depth: float32 [H, W], metres, 0 = no measurement.
        fx, fy, cx, cy: focal lengths and principal point, in pixels of this image.
        gravity: direction (x right, y down, z forward) where it is known; None estimates it, starting from (0, 1, 0):
            the camera must be roughly upright.

    Returns:
        uint8 [H, W, 3]; all three are 0 where depth is 0.

    Raises:
        ValueError: depth of another shape or dtype, focal lengths that are not positive, or a gravity without length.
    """
    if depth.ndim != 2 or depth.dtype != np.float32:
        raise ValueError(f"hha needs depth as float32 [H, W] in metres, found {depth.dtype} {depth.shape}")
    if not (fx > 0 and fy > 0):
        raise ValueError(f"hha needs focal lengths > 0, found fx {fx}, fy {fy}")
    valid = depth > 0
    camera = (float(fx), float(fy), float(cx), float(cy))
    if gravity is None:
        down = estimate_gravity(surface_normals(depth, camera, radius=_GRAVITY_RADIUS, stride=_GRAVITY_STRIDE))
    else:
        down = _unit(gravity)
    encoded = np.empty((*depth.shape, 3), np.float32)
    depth_cm = depth * np.float32(100)
    np.divide(np.float32(_DISPARITY_CM), np.maximum(depth_cm, np.float32(_NEAREST_CM)), out=encoded[..., 0])
    encoded[..., 1] = _height(depth_cm, valid, camera, down)
    encoded[..., 2] = _angle(surface_normals(depth, camera, radius=_NORMAL_RADIUS), down)
    result = cv2.convertScaleAbs(np.maximum(encoded, 0, out=encoded))
    result[~valid] = 0
    return result


def surface_normals(
    depth: np.ndarray, camera: tuple[float, float, float, float], *, radius: int = 3, stride: int = 1
) -> np.ndarray:
    """Unit normals, pointing away from the camera, of the planes that fit the measured pixels of a window best.

    A plane's inverse depth is linear in the pixel coordinates, so each window is one linear least-squares problem with
    three unknowns, solved from running sums. Beyond the border nothing is measured.

    Args:
        depth: float32 [H, W], metres, 0 = no measurement.
        camera: (fx, fy, cx, cy) in pixels.
        radius: windows have 2 radius + 1 pixels per side.
        stride: solve at every stride-th pixel only.

    Returns:
        float32 [ceil(H / stride), ceil(W / stride), 3]; 0 where fewer than three measurements span a plane.
    """
    fx, fy, cx, cy = camera
    height, width = depth.shape
    valid = depth > 0
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


def estimate_gravity(normals: np.ndarray, start: Sequence[float] = (0.0, 1.0, 0.0)) -> np.ndarray:
    """The direction that floor normals are parallel and wall normals perpendicular to.

    Each iteration takes the normals within the threshold of the present direction (floor) or of its plane (wall), and
    then the smallest eigenvector of Σ wall nnᵀ - Σ floor nnᵀ.

    Args:
        normals: [..., 3], unit length; zeros are ignored.
        start: the first direction.

    Returns:
        float32 [3], unit length, within 90 degrees of `start`.
    """
    vectors = normals.reshape(-1, 3)
    vectors = vectors[vectors.any(axis=1)]
    direction = _unit(start)
    for degrees, iterations in _ROUNDS:
        floor_limit, wall_limit = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
        for _ in range(iterations):
            along = np.abs(vectors @ direction)
            floor, wall = vectors[along > floor_limit], vectors[along < wall_limit]
            if len(floor) + len(wall) == 0:
                return direction
            smallest = np.linalg.eigh((wall.T @ wall - floor.T @ floor).astype(np.float64))[1][:, 0]
            direction = (smallest * (1.0 if smallest @ direction >= 0 else -1.0)).astype(np.float32)
    return direction


def _height(
    depth_cm: np.ndarray, valid: np.ndarray, camera: tuple[float, float, float, float], down: np.ndarray
) -> np.ndarray:
    """Centimetres above the lowest point, float32 [H, W]."""
    fx, fy, cx, cy = camera
    rows, columns = depth_cm.shape
    across = (np.arange(columns) - cx) * (down[0] / fx)
    below = (np.arange(rows) - cy) * (down[1] / fy) + down[2]
    rays = np.add.outer(below, across).astype(np.float32)  # how far one centimetre of depth goes down
    height = -depth_cm * rays
    lowest = float(height.min(where=valid, initial=np.inf))
    return height + np.float32(_CAMERA_HEIGHT_CM if lowest > _LOWEST_CM else -lowest)


def _angle(normals: np.ndarray, down: np.ndarray) -> np.ndarray:
    """Degrees between normals and gravity plus the offset, float32 [H, W]."""
    cosine = np.clip(normals @ down, -1, 1)
    return np.degrees(np.arccos(cosine)) + np.float32(_ANGLE_OFFSET)


def _unit(vector: Sequence[float]) -> np.ndarray:
    direction = np.asarray(vector, np.float32)
    length = float(np.linalg.norm(direction))
    if direction.shape != (3,) or not length > 0:
        raise ValueError(f"gravity must be three numbers that are not all 0, found {vector!r}")
    return direction / np.float32(length)


def _pixel_grid(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Column and row of each pixel, from the middle, as [1, W] and [H, 1]."""
    u = np.arange(width, dtype=np.float64) - (width - 1) / 2
    v = np.arange(height, dtype=np.float64) - (height - 1) / 2
    return u[None], v[:, None]


def _window_sum(values: np.ndarray, radius: int, stride: int) -> np.ndarray:
    side = 2 * radius + 1
    sums = cv2.boxFilter(values, -1, (side, side), normalize=False, borderType=cv2.BORDER_CONSTANT)
    return sums[::stride, ::stride]


@lru_cache(maxsize=8)
def _full_moments(height: int, width: int, radius: int, stride: int) -> tuple[np.ndarray, ...]:
    return _moments(np.ones((height, width)), radius, stride)


def _moments(weight: np.ndarray, radius: int, stride: int) -> tuple[np.ndarray, ...]:
    """Means, covariances and count of the measured pixels' coordinates in each window."""
    u, v = _pixel_grid(*weight.shape)
    maps = (weight, weight * u, weight * v, weight * (u * u), weight * (u * v), weight * (v * v))
    count, sum_u, sum_v, sum_uu, sum_uv, sum_vv = (_window_sum(values, radius, stride) for values in maps)
    count = np.maximum(count, 1)
    mean_u, mean_v = sum_u / count, sum_v / count
    uu, uv, vv = sum_uu / count - mean_u**2, sum_uv / count - mean_u * mean_v, sum_vv / count - mean_v**2
    return mean_u, mean_v, uu, uv, vv, count
