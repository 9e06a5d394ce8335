"""What transforms that need the camera check: its intrinsics, and depth that still is as the camera saw it."""

from __future__ import annotations

import numpy as np

from rgbx.datasets.sample import Sample


def check_camera(who: str, fx: float, fy: float, cx: float, cy: float) -> dict[str, float]:
    """The intrinsics by name, or ValueError where the focal lengths are not positive."""
    if not (fx > 0 and fy > 0):
        raise ValueError(f"{who} needs focal lengths > 0, found fx {fx}, fy {fy}")
    return {"fx": float(fx), "fy": float(fy), "cx": float(cx), "cy": float(cy)}


def camera_depth(who: str, sample: Sample, camera: dict[str, float], added: str) -> np.ndarray:
    """The sample's depth.

    Raises:
        ValueError: no array of depth, a map called `added` that would be replaced, or an image that does not hold the
            camera's principal point.
    """
    if not isinstance(sample.get("depth"), np.ndarray):
        raise ValueError(
            f"{who} needs the array 'depth', but sample {sample.get('sample_id')!r} has {sorted(sample)}; "
            "it comes before PackSample"
        )
    if added in sample:
        raise ValueError(
            f"{who} would replace the stored {added!r} of sample {sample.get('sample_id')!r}; read one of the two"
        )
    height, width = sample["depth"].shape[:2]
    if not (0 <= camera["cx"] <= width and 0 <= camera["cy"] <= height):
        raise ValueError(
            f"{who}: the principal point ({camera['cx']:g}, {camera['cy']:g}) lies outside the {width}x{height} image "
            f"of sample {sample.get('sample_id')!r}; scale the intrinsics with the image, and put {who} before all "
            "geometry"
        )
    depth: np.ndarray = sample["depth"]
    return depth
