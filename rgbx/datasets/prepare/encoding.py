"""Depth as the bytes of PNG files of one scale."""

from __future__ import annotations

import numpy as np

from rgbx.maps.files import encode_png


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

    def __call__(self, metres: np.ndarray) -> bytes:  # float32 [H, W]
        """A PNG of finite depths that are not negative."""
        raw = np.rint(metres.astype(np.float64) * self.scale)
        self.saturated += int((raw > 65535).sum())
        return encode_png(np.where(metres > 0, raw.clip(1, 65535), 0).astype(np.uint16))
