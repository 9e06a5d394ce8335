"""HHA computed while loading, for data that come with metric depth but without HHA files."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rgbx.datasets.hha import hha
from rgbx.datasets.sample import Sample


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
        if not (fx > 0 and fy > 0):
            raise ValueError(f"ComputeHHA needs focal lengths > 0, found fx {fx}, fy {fy}")
        self.camera = {"fx": float(fx), "fy": float(fy), "cx": float(cx), "cy": float(cy)}
        self.gravity = None if gravity is None else tuple(gravity)
        self.keep_depth = keep_depth

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        if not isinstance(sample.get("depth"), np.ndarray):
            raise ValueError(
                f"ComputeHHA needs the array 'depth', but sample {sample.get('sample_id')!r} has {sorted(sample)}; "
                "it comes before PackSample"
            )
        if "hha" in sample:
            raise ValueError(
                f"ComputeHHA would replace the stored 'hha' of sample {sample.get('sample_id')!r}; read one of the two"
            )
        height, width = sample["depth"].shape[:2]
        if not (0 <= self.camera["cx"] <= width and 0 <= self.camera["cy"] <= height):
            raise ValueError(
                f"ComputeHHA: the principal point ({self.camera['cx']:g}, {self.camera['cy']:g}) lies outside the "
                f"{width}x{height} image of sample {sample.get('sample_id')!r}; scale the intrinsics with the image, "
                "and put ComputeHHA before all geometry"
            )
        result = {**sample, "hha": hha(sample["depth"], **self.camera, gravity=self.gravity)}
        if not self.keep_depth:
            del result["depth"]
        return result
