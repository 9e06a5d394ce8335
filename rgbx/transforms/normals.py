"""Surface normals computed while loading, for data that come with metric depth but without normals."""

from __future__ import annotations

import numpy as np

from rgbx.datasets.hha import surface_normals
from rgbx.datasets.sample import Sample
from rgbx.transforms.camera import camera_depth, check_camera


class ComputeNormals:
    """Adds the map `normal` from `depth`: at each measured pixel the normal of the plane that fits its window best.

    Normals are unit vectors in the camera's frame, x to the right, y down, z forward, that face the camera, as those of
    the synthetic rooms and of Taskonomy. It belongs before all geometry, as the intrinsics are those of the image as
    read; a crop, a resize and a `HorizontalFlip` of the result stay valid afterwards.

    Required key: `depth`, float32 [H, W], metres, 0 = no measurement. Added key: `normal`, float32 [H, W, 3], 0 where
    depth is 0 or too few pixels around are measured.

    Args:
        fx, fy, cx, cy: focal lengths and principal point in pixels of the image as read.
        radius: windows have 2 radius + 1 pixels per side. Wider ones are less noisy and blur more at edges.
        keep_depth: False removes `depth`.

    Raises:
        ValueError: focal lengths or a radius that are not positive; when called, a sample without metric depth, with
            normals of its own, or of a size that does not hold the principal point.
    """

    adds = ("normal",)

    def __init__(self, *, fx: float, fy: float, cx: float, cy: float, radius: int = 3, keep_depth: bool = True) -> None:
        self.camera = check_camera("ComputeNormals", fx, fy, cx, cy)
        if radius < 1:
            raise ValueError(f"ComputeNormals radius must be >= 1, found {radius}")
        self.radius, self.keep_depth = radius, keep_depth

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        depth = camera_depth("ComputeNormals", sample, self.camera, "normal")
        fx, fy, cx, cy = self.camera.values()
        normal = -surface_normals(depth, (fx, fy, cx, cy), radius=self.radius)
        normal[depth == 0] = 0
        result = {**sample, "normal": normal}
        if not self.keep_depth:
            del result["depth"]
        return result
