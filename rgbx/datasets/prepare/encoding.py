"""Arrays as the bytes of PNG files, without loss."""

from __future__ import annotations

import cv2
import numpy as np


def encode_png(array: np.ndarray) -> bytes:
    """A PNG of uint8 or uint16 [H, W] or uint8 [H, W, 3] in RGB order.

    Raises:
        ValueError: an array that PNG cannot hold.
    """
    if array.dtype not in (np.uint8, np.uint16) or not (array.ndim == 2 or array.shape[2:] == (3,)):
        raise ValueError(f"expected 8 or 16 bits and one or three channels, found {array.dtype} of {array.shape}")
    _, content = cv2.imencode(".png", array if array.ndim == 2 else cv2.cvtColor(array, cv2.COLOR_RGB2BGR))
    return content.tobytes()


class DepthEncoder:
    """Depth in metres to 16-bit PNGs of a fixed scale.

    0 stays 0 = no measurement, and a measurement never becomes 0. Depths that 16 bits cannot hold are written as the
    largest value, 65535, which so means "that far or farther".

    Args:
        scale: raw units per metre.

    Attributes:
        saturated: pixels that were too far, over all calls.
    """

    def __init__(self, scale: float) -> None:
        self.scale = scale
        self.saturated = 0

    @property
    def limit(self) -> float:
        """The largest depth in metres."""
        return 65535 / self.scale

    def __call__(self, metres: np.ndarray) -> bytes:
        """A PNG of float32 [H, W], finite and not negative."""
        raw = np.rint(metres.astype(np.float64) * self.scale)
        self.saturated += int((raw > 65535).sum())
        return encode_png(np.where(metres > 0, raw.clip(1, 65535), 0).astype(np.uint16))
