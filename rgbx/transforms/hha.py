"""HHA computed while loading, for data that come with metric depth but without HHA files."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rgbx.datasets.hha import hha
from rgbx.datasets.sample import Sample
from rgbx.transforms.camera import camera_depth, check_camera


class ComputeHHA:
    """Adds the map `hha` from `depth`; see `rgbx.datasets.hha` for its channels and constants.

    It belongs before all geometry: the intrinsics are those of the image as read, and height and gravity need the
    whole of it. A crop, a resize and a flip of the result stay valid afterwards.

    Required key: `depth`, float32 [H, W], metres, 0 = no measurement. Added key: `hha`, uint8 [H, W, 3], 0 where depth
    is 0. `depth` stays unless `keep_depth` is False.

    Args:
        fx, fy, cx, cy: focal lengths and principal point in pixels of the image as read.
        gravity: direction (x right, y down, z forward) where it is known; None estimates it per image.
        keep_depth: False removes `depth`, for models that see hha in its place.

    Raises:
        ValueError: when called, a sample without depth, with depth of another dtype, with an hha of its own, or of a
            size that does not hold the principal point.
    """

    adds = ("hha",)

    def __init__(
        self,
        *,
        fx: float,
        fy: float,
        cx: float,
        cy: float,
        gravity: Sequence[float] | None = None,
        keep_depth: bool = True,
    ) -> None:
        self.camera = check_camera("ComputeHHA", fx, fy, cx, cy)
        self.gravity = None if gravity is None else tuple(gravity)
        self.keep_depth = keep_depth

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        depth = camera_depth("ComputeHHA", sample, self.camera, "hha")
        result = {**sample, "hha": hha(depth, **self.camera, gravity=self.gravity)}
        if not self.keep_depth:
            del result["depth"]
        return result
