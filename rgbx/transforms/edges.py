"""Edges computed while loading, from colour or from depth."""

from __future__ import annotations

import cv2
import numpy as np

from rgbx.datasets.sample import Sample

METHODS = ("canny", "sobel")
_SOBEL = 8.0  # what OpenCV's 3x3 Sobel filter gives for a slope of 1
_STEPS = {"rgb": 1.0, "depth": 2**10 / _SOBEL}  # Canny takes whole numbers: slopes of depth are made larger
_LOW_HIGH = {"rgb": (12.5, 25.0), "depth": (0.03, 0.06)}


class ComputeEdges:
    """Adds the map `edge` from `rgb` or `depth`, 0..1.

    The slope of rgb is that of its grey value, in grey levels per pixel; that of depth is the relative change per
    pixel, the slope of its logarithm, so that near and far steps count alike, and 0 beside holes.

    Required key: `rgb`, uint8 [H, W, 3], or `depth`, float32 [H, W], 0 = no measurement. Added key: `edge`, float32
    [H, W]: "canny" gives 1 on edges one pixel wide and 0 elsewhere, "sobel" the slope over `high`, at most 1.

    Args:
        source: "rgb" or "depth".
        method: "canny" (Canny, IEEE PAMI 1986) or "sobel".
        low: of Canny, the slope above which an edge goes on; by default 12.5 for rgb, 0.03 for depth.
        high: the slope above which an edge begins, or of Sobel the one that counts as 1; by default 25 for rgb, 0.06
            for depth.

    Raises:
        ValueError: another source or method, or thresholds out of order; when called, a sample without the source or
            with edges of its own.
    """

    adds = ("edge",)

    def __init__(
        self, *, source: str = "rgb", method: str = "canny", low: float | None = None, high: float | None = None
    ) -> None:
        if source not in _LOW_HIGH or method not in METHODS:
            raise ValueError(
                f"ComputeEdges has the sources {sorted(_LOW_HIGH)} and the methods {METHODS}, "
                f"found {source!r} and {method!r}"
            )
        default = _LOW_HIGH[source]
        self.source, self.method = source, method
        self.low, self.high = default[0] if low is None else low, default[1] if high is None else high
        if not 0 <= self.low <= self.high or not self.high > 0:
            raise ValueError(f"ComputeEdges needs 0 <= low <= high and high > 0, found {self.low} and {self.high}")

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        source = sample.get(self.source)
        if not isinstance(source, np.ndarray):
            raise ValueError(
                f"ComputeEdges needs the array {self.source!r}, but sample {sample.get('sample_id')!r} has "
                f"{sorted(sample)}; it comes before PackSample"
            )
        if "edge" in sample:
            raise ValueError(f"ComputeEdges would replace the stored 'edge' of sample {sample.get('sample_id')!r}")
        across, down = _slopes_of_grey(source) if self.source == "rgb" else _slopes_of_depth(source)
        if self.method == "sobel":
            edge = np.minimum(cv2.magnitude(across, down) / np.float32(self.high), 1)
        else:
            edge = self._canny(across, down)
        return {**sample, "edge": edge}

    def _canny(self, across: np.ndarray, down: np.ndarray) -> np.ndarray:
        factor = _SOBEL * _STEPS[self.source]
        limits = np.iinfo(np.int16)
        whole = [np.clip(np.rint(x * factor), limits.min, limits.max).astype(np.int16) for x in (across, down)]
        found = cv2.Canny(whole[0], whole[1], self.low * factor, self.high * factor, L2gradient=True)
        return found.astype(np.float32) / np.float32(255)


def _slopes_of_grey(rgb: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return _slopes(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY).astype(np.float32))


def _slopes_of_depth(depth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Slopes of the logarithm, 0 where a hole lies in the 3x3 window."""
    valid = depth > 0
    across, down = _slopes(np.log(depth, out=np.zeros(depth.shape, np.float32), where=valid))
    whole = cv2.erode(valid.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    return across * whole, down * whole


def _slopes(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Change per pixel to the right and downwards, float32."""
    border = cv2.BORDER_REPLICATE
    across, down = (cv2.Sobel(image, cv2.CV_32F, *axis, ksize=3, borderType=border) for axis in ((1, 0), (0, 1)))
    return across / np.float32(_SOBEL), down / np.float32(_SOBEL)
