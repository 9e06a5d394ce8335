"""Edges: slopes of colour and of depth, and Canny's edges from them."""

from __future__ import annotations

import cv2
import numpy as np

_SOBEL = 8.0  # what OpenCV's 3x3 Sobel filter gives for a slope of 1
_STEPS = {"rgb": 1.0, "depth": 2**10 / _SOBEL}  # Canny takes whole numbers: slopes of depth are made larger


def edges(
    image: np.ndarray,  # uint8 [H, W, 3] or float32 [H, W]
    *,
    source: str,
    method: str,
    low: float,
    high: float,
) -> np.ndarray:
    """Edges of a colour or of a depth image.

    The slope of rgb is that of its grey value, in grey levels per pixel; that of depth is the relative change per
    pixel, the slope of its logarithm, so that near and far steps count alike, and 0 beside holes.

    Args:
        image: rgb, or depth with 0 = no measurement.
        source: "rgb" or "depth".
        method: "canny" (Canny, IEEE PAMI 1986) or "sobel".
        low: of Canny, the slope above which an edge goes on.
        high: the slope above which an edge begins, or of Sobel the one that counts as 1.

    Returns:
        float32 [H, W]: "canny" gives 1 on edges one pixel wide and 0 elsewhere, "sobel" the slope over `high`, at most
        1.
    """
    across, down = _slopes_of_grey(image) if source == "rgb" else _slopes_of_depth(image)
    if method == "sobel":
        return np.minimum(cv2.magnitude(across, down) / np.float32(high), 1)
    factor = _SOBEL * _STEPS[source]
    limits = np.iinfo(np.int16)
    whole = [np.clip(np.rint(x * factor), limits.min, limits.max).astype(np.int16) for x in (across, down)]
    found = cv2.Canny(whole[0], whole[1], low * factor, high * factor, L2gradient=True)
    return found.astype(np.float32) / np.float32(255)


def _slopes_of_grey(rgb: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Slopes of the grey values of uint8 [H, W, 3]."""
    return _slopes(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY).astype(np.float32))


def _slopes_of_depth(depth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Slopes of the logarithm of [H, W], 0 where a hole lies in the 3x3 window."""
    valid = (depth > 0) & np.isfinite(depth)
    across, down = _slopes(np.log(depth, out=np.zeros(depth.shape, np.float32), where=valid))
    whole = cv2.erode(valid.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    return np.where(whole, across, np.float32(0)), np.where(whole, down, np.float32(0))


def _slopes(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Change per pixel of [H, W] to the right and downwards, float32."""
    border = cv2.BORDER_REPLICATE
    across, down = (cv2.Sobel(image, cv2.CV_32F, *axis, ksize=3, borderType=border) for axis in ((1, 0), (0, 1)))
    return across / np.float32(_SOBEL), down / np.float32(_SOBEL)
