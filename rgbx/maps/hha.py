"""HHA: horizontal disparity, height above ground and angle with gravity, from metric depth.

Gupta et al., "Learning Rich Features from RGB-D Images for Object Detection and Segmentation" (ECCV 2014), with the
gravity estimate of Gupta et al. (CVPR 2013): surface normals of wide windows vote, in two rounds, for the direction
that most of them are parallel to (floors) or perpendicular to (walls).
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from rgbx.maps.normals import Camera, surface_normals

# Colour camera of NYU Depth V2 at 640x480, as its toolbox publishes it. HHA files by SA-Gate's authors fit it: with the
# depth beside them, the three channels differ by 0.86, 0.59 and 2.6 levels on average.
NYUDV2_CAMERA_SIZE = (480, 640)  # rows, columns
NYUDV2_CAMERA = {"fx": 518.857901, "fy": 519.469611, "cx": 325.582449, "cy": 253.736166}
# What the copies passed around with FCN and CMX were evidently made with: their height channel is a linear function of
# depth that no camera with its principal point near the middle gives. The doctor tells which of the two files have.
NYUDV2_HHA_FILES_CAMERA = {"fx": 1000.0, "fy": 1000.0, "cx": 0.0, "cy": 0.0}

_NORMAL_RADIUS, _GRAVITY_RADIUS = 3, 10  # pixels: windows of 7x7 and 21x21
_ROUNDS = ((45.0, 5), (15.0, 5))  # degrees within which a normal counts as floor or wall, iterations
_GRAVITY_STRIDE = 4  # every fourth wide-window normal per axis votes: 19,200 of a 640x480 frame
_DISPARITY_CM = 31000.0  # disparity channel = this / depth in centimetres
_NEAREST_CM = 100.0
_ANGLE_OFFSET = 38.0  # 128 - 90: a wall's angle of 90 degrees becomes 128
_CAMERA_HEIGHT_CM, _LOWEST_CM = 130.0, -90.0


def hha(
    depth: np.ndarray,  # [H, W]
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
        depth: float32 [H, W], metres; 0, NaN and the infinities = no measurement.
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
    depth = np.where(np.isfinite(depth), depth, np.float32(0))
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
    depth_cm: np.ndarray,  # [H, W]
    valid: np.ndarray,  # [H, W] bool
    camera: Camera,
    down: np.ndarray,  # [3]
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


def _angle(
    normals: np.ndarray,  # [H, W, 3]
    down: np.ndarray,  # [3]
) -> np.ndarray:
    """Degrees between normals and gravity plus the offset, float32 [H, W]."""
    cosine = np.clip(normals @ down, -1, 1)
    return np.degrees(np.arccos(cosine)) + np.float32(_ANGLE_OFFSET)


def _unit(vector: Sequence[float]) -> np.ndarray:
    direction = np.asarray(vector, np.float32)
    length = float(np.linalg.norm(direction))
    if direction.shape != (3,) or not length > 0:
        raise ValueError(f"gravity must be three numbers that are not all 0, found {vector!r}")
    return direction / np.float32(length)
