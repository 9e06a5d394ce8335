"""Maps computed while loading, for data that come without them: HHA, normals and edges from colour or metric depth.

Those of the camera belong before all geometry: the intrinsics are those of the image as read. A crop, a resize and a
`HorizontalFlip` of the result stay valid afterwards. Where the source is marked as damaged (`{source}_corrupted`), the
map is too. Of a clip each frame is computed. `rgbx.maps` has the mathematics.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from rgbx.datasets.clip import frame_size
from rgbx.datasets.sample import Sample
from rgbx.maps import TIMES, MapSpec
from rgbx.maps.edges import edges
from rgbx.maps.hha import hha
from rgbx.maps.normals import facing_normals
from rgbx.transforms.spatial import each_frame

METHODS = ("canny", "sobel")
_LOW_HIGH = {"rgb": (12.5, 25.0), "depth": (0.03, 0.06)}


class _FromDepth:
    """Adds one map, `adds[0]`, that follows from metric depth and the camera."""

    adds: tuple[str, ...]

    def __init__(
        self, *, fx: float, fy: float, cx: float, cy: float, keep_depth: bool, maps: Mapping[str, MapSpec] | None
    ) -> None:
        if maps is not None and "depth" in maps:
            maps["depth"].check_metres(type(self).__name__)
        if not (fx > 0 and fy > 0):
            raise ValueError(f"{type(self).__name__} needs focal lengths > 0, found fx {fx}, fy {fy}")
        self.camera = {"fx": float(fx), "fy": float(fy), "cx": float(cx), "cy": float(cy)}
        self.keep_depth = keep_depth

    def compute(self, depth: np.ndarray) -> np.ndarray:
        """The map of a depth, float32 [H, W], metres."""
        raise NotImplementedError(f"{type(self).__name__} must define compute(depth)")

    @property
    def needs(self) -> tuple[str, ...]:
        """See `rgbx.datasets.sample.DenseDataset`."""
        return ("depth",)

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        self._check_depth(sample)
        added = each_frame(sample, "depth", lambda depth, _: self.compute(depth), rng)
        result = {**sample, self.adds[0]: added, **_beside(sample, "depth", self.adds[0])}
        if not self.keep_depth:
            for key in ("depth", "depth_corrupted", f"depth{TIMES}"):
                result.pop(key, None)
        return result

    def _check_depth(self, sample: Sample) -> None:
        """Refuses an image that does not hold the camera's principal point, and to replace a map."""
        who, sample_id = type(self).__name__, sample.get("sample_id")
        source_array(who, sample, "depth", self.adds[0])
        height, width = frame_size(sample, "depth")
        if not (0 <= self.camera["cx"] <= width and 0 <= self.camera["cy"] <= height):
            raise ValueError(
                f"{who}: the principal point ({self.camera['cx']:g}, {self.camera['cy']:g}) lies outside the "
                f"{width}x{height} image of sample {sample_id!r}; scale the intrinsics with the image, and put {who} "
                "before all geometry"
            )


class ComputeHHA(_FromDepth):
    """Adds the map `hha` from `depth`; see `rgbx.maps.hha` for its channels and constants.

    Height and gravity need the whole of the image. Required key: `depth`, float32 [H, W], metres, 0 = no measurement.
    Added key: `hha`, uint8 [H, W, 3], 0 where depth is 0. `depth` stays unless `keep_depth` is False.

    Args:
        fx, fy, cx, cy: focal lengths and principal point in pixels of the image as read.
        gravity: direction (x right, y down, z forward) where it is known; None estimates it per image.
        keep_depth: False removes `depth`, for models that see hha in its place.
        maps: what the maps of the dataset are, which tells a config's transform of it.

    Raises:
        ValueError: depth that is not in metres; when called, a sample without depth, with depth of another dtype, with
            an hha of its own, or of a size that does not hold the principal point.
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
        maps: Mapping[str, MapSpec] | None = None,
    ) -> None:
        super().__init__(fx=fx, fy=fy, cx=cx, cy=cy, keep_depth=keep_depth, maps=maps)
        self.gravity = None if gravity is None else tuple(gravity)

    def compute(self, depth: np.ndarray) -> np.ndarray:
        """uint8 [H, W, 3] of float32 [H, W]."""
        return hha(depth, **self.camera, gravity=self.gravity)


class ComputeNormals(_FromDepth):
    """Adds the map `normal` from `depth`: at each measured pixel the normal of the plane that fits its window best.

    Normals are unit vectors in the camera's frame, x to the right, y down, z forward, that face the camera, as those of
    the synthetic rooms and of Taskonomy. Required key: `depth`, float32 [H, W], metres, 0 = no measurement. Added key:
    `normal`, float32 [H, W, 3], 0 where depth is 0 or too few pixels around are measured.

    Args:
        fx, fy, cx, cy: focal lengths and principal point in pixels of the image as read.
        radius: windows have 2 radius + 1 pixels per side. Wider ones are less noisy and blur more at edges.
        keep_depth: False removes `depth`.
        maps: what the maps of the dataset are, which tells a config's transform of it.

    Raises:
        ValueError: focal lengths or a radius that are not positive, or depth that is not in metres; when called, a
            sample without metric depth, with normals of its own, or of a size that does not hold the principal point.
    """

    adds = ("normal",)

    def __init__(
        self,
        *,
        fx: float,
        fy: float,
        cx: float,
        cy: float,
        radius: int = 3,
        keep_depth: bool = True,
        maps: Mapping[str, MapSpec] | None = None,
    ) -> None:
        super().__init__(fx=fx, fy=fy, cx=cx, cy=cy, keep_depth=keep_depth, maps=maps)
        if radius < 1:
            raise ValueError(f"ComputeNormals radius must be >= 1, found {radius}")
        self.radius = radius

    def compute(self, depth: np.ndarray) -> np.ndarray:
        """float32 [H, W, 3] of float32 [H, W]."""
        fx, fy, cx, cy = self.camera.values()
        return facing_normals(depth, (fx, fy, cx, cy), radius=self.radius)


class ComputeEdges:
    """Adds the map `edge` from `rgb` or `depth`, 0..1; see `rgbx.maps.edges` for slopes and methods.

    Required key: `rgb`, uint8 [H, W, 3], or `depth`, float32 [H, W], 0 = no measurement. Added key: `edge`, float32
    [H, W].

    Args:
        source: "rgb" or "depth".
        method: "canny" or "sobel".
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

    @property
    def needs(self) -> tuple[str, ...]:
        """See `rgbx.datasets.sample.DenseDataset`."""
        return (self.source,)

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        source_array("ComputeEdges", sample, self.source, "edge")
        found = each_frame(sample, self.source, lambda image, _: self._edges(image), rng)
        return {**sample, "edge": found, **_beside(sample, self.source, "edge")}

    def _edges(self, image: np.ndarray) -> np.ndarray:
        """float32 [H, W] of uint8 [H, W, 3] or float32 [H, W]."""
        return edges(image, source=self.source, method=self.method, low=self.low, high=self.high)


def _beside(sample: Sample, source: str, added: str) -> Sample:
    """What a computed map has of its source: where it is damaged, and the times of a clip."""
    endings = [ending for ending in ("_corrupted", TIMES) if f"{source}{ending}" in sample]
    return {f"{added}{ending}": sample[f"{source}{ending}"] for ending in endings}


def source_array(who: str, sample: Sample, source: str, added: str) -> np.ndarray:
    """The array [H, W, ...], or clip [T, H, W, ...], that a transform needs.

    Raises:
        ValueError: there is none, or a map called `added` would be replaced.
    """
    array = sample.get(source)
    if not isinstance(array, np.ndarray):
        raise ValueError(
            f"{who} needs the array {source!r}, but sample {sample.get('sample_id')!r} has {sorted(sample)}; "
            "it comes before PackSample"
        )
    if added in sample:
        raise ValueError(
            f"{who} would replace the stored {added!r} of sample {sample.get('sample_id')!r}; read one of the two"
        )
    return array
