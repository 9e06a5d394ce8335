"""Geometry: one draw for all modalities and the label.

Every transform is called as `transform(sample, rng)` and never writes to the arrays it got. All frames of a clip are
treated alike. Labels
and maps declared "nearest" (depth, normals) are never interpolated, so depth is never mixed across
holes or edges. Padding fills label with 255 and every map with its spec's fill (0 unless declared:
depth 0 = no measurement).
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from rgbx.datasets.sample import Sample
from rgbx.maps import MASKS
from rgbx.transforms.spatial import (
    Box,
    Fill,
    Maps,
    Spatial,
    check_fill,
    check_interpolation,
    check_size,
    crop,
    image_size,
    pad,
    resize_map,
)


class RandomScaleCrop(Spatial):
    """Rescales by a random factor, pads to the crop if needed, and crops at a random place.

    The window is cut *before* it is resized, so that no pixel is computed that the crop would
    discard: a crop of h x w at scale s reads round(h / s) x round(w / s) source pixels. Windows
    lie on whole source pixels, so the true scale differs from s by less than 1 / h. Where the
    scaled image is smaller than the crop it lies in the middle of the padding.

    Required keys: at least one map. Modified keys: all maps [H, W, ...] and `label` [H, W] become
    [h, w, ...], dtypes unchanged. Metric depth keeps its values; with `scale_depth` it is divided
    by s, as if the camera had moved closer.

    Args:
        size: (height, width) of the crop, or one side of a square.
        scale: (low, high), drawn uniformly.
        scales: a list of factors to draw from evenly, instead of `scale`.
        min_short_side: raises a drawn factor until the scaled shorter side has this many pixels.
        scale_depth: divide maps in metres by the factor.
        interpolation: "linear", "cubic" or "area" for maps declared linear.
        fill: padding values per map in its own unit, such as {"rgb": (124, 116, 104)}, the ImageNet mean; maps not
            named take their spec's fill, label 255.
        maps: specs of maps that are not standard.

    Raises:
        ValueError: sizes or factors that make no sense, unknown fill or interpolation.
    """

    def __init__(
        self,
        size: int | Sequence[int],
        *,
        scale: Sequence[float] = (0.5, 2.0),
        scales: Sequence[float] | None = None,
        min_short_side: int = 0,
        scale_depth: bool = False,
        interpolation: str = "linear",
        fill: Fill | None = None,
        maps: Maps | None = None,
    ) -> None:
        super().__init__(maps=maps)
        self.size = check_size("RandomScaleCrop size", size)
        factors = tuple(scale if scales is None else scales)
        if not factors or min(factors) <= 0 or (scales is None and (len(factors) != 2 or factors[0] > factors[1])):
            raise ValueError(
                "RandomScaleCrop needs scale=(low, high) with 0 < low <= high, or "
                f"scales=[...] > 0; found scale={scale!r}, scales={scales!r}"
            )
        self.scale, self.discrete = factors, scales is not None
        self.min_short_side = min_short_side
        self.scale_depth = scale_depth
        self.interpolation = check_interpolation(interpolation)
        self.fill = check_fill(fill, maps)

    def apply(self, sample: Sample, specs: Maps, rng: np.random.Generator) -> Sample:
        """See `Spatial.apply`."""
        size = image_size(sample, specs)
        factor = self._draw_factor(size, rng)
        rows = _axis_window(size[0], self.size[0], factor, rng)
        columns = _axis_window(size[1], self.size[1], factor, rng)
        source = Box(rows[0], columns[0], rows[1], columns[1])
        place = Box(rows[2], columns[2], *self.size)
        result = dict(sample)
        for name, spec in specs.items():
            piece = resize_map(sample, name, spec, (rows[3], columns[3]), self.interpolation, source)
            if self.scale_depth and spec.unit == "metre":
                piece = piece / np.float32(factor)
            result[name] = pad(piece, spec, place, self.fill)
        return result

    def _draw_factor(self, size: tuple[int, int], rng: np.random.Generator) -> float:
        low, high = min(self.scale), max(self.scale)
        drawn = rng.choice(self.scale) if self.discrete else rng.uniform(low, high)
        return max(float(drawn), self.min_short_side / min(size))


class OtherCamera(Spatial):
    """Shows some maps as a camera of its own would that stands beside the first: at another zoom, and shifted.

    The pair is registered no more: what search across cameras is trained and tested on where real pairs of such
    cameras are not at hand. What the second camera sees beyond the image was not measured, the spec's fill.

    Required keys: the maps. Modified keys: the maps and their masks (`MASKS`), shapes and dtypes unchanged; `label`
    stays that of the others.

    Args:
        keys: maps that the second camera takes.
        zoom: the factor is drawn evenly from 1 to 1 + zoom.
        shift: the middle is drawn evenly up to this share of a side away from the image's.
        interpolation: "linear", "cubic" or "area" for maps declared linear.
        maps: specs of maps that are not standard.

    Raises:
        ValueError: no keys, a zoom below 0, or a shift out of 0..0.5; when it is called, a sample without a key.
    """

    def __init__(
        self,
        keys: Sequence[str],
        *,
        zoom: float = 0.3,
        shift: float = 0.1,
        interpolation: str = "linear",
        maps: Maps | None = None,
    ) -> None:
        super().__init__(maps=maps)
        if isinstance(keys, str) or not keys:
            raise ValueError(f"OtherCamera needs keys such as ('depth',), found {keys!r}")
        if zoom < 0 or not 0 <= shift <= 0.5:
            raise ValueError(f"OtherCamera needs zoom >= 0 and shift in 0..0.5, found {zoom} and {shift}")
        self.keys, self.zoom, self.shift = tuple(keys), zoom, shift
        self.interpolation = check_interpolation(interpolation)

    def apply(self, sample: Sample, specs: Maps, rng: np.random.Generator) -> Sample:
        """See `Spatial.apply`."""
        there = list(dict.fromkeys(spec.name for spec in specs.values()))
        if absent := [key for key in self.keys if key not in there]:
            raise ValueError(
                f"OtherCamera: sample {sample.get('sample_id')!r} has no {absent[0]!r}; it has {there}"
            )
        size = image_size(sample, specs)
        factor = rng.uniform(1, 1 + self.zoom)
        rows, columns = (_seen(side, factor, rng.uniform(-self.shift, self.shift)) for side in size)
        source, place = Box(rows[0], columns[0], rows[1], columns[1]), Box(rows[2], columns[2], *size)
        result = dict(sample)
        taken = {each for key in self.keys for each in (key, *(key + ending for ending in MASKS))}
        for name, spec in specs.items():
            if spec.name in taken:
                piece = resize_map(sample, name, spec, (rows[3], columns[3]), self.interpolation, source)
                result[name] = pad(piece, spec, place)
        return result


def _seen(length: int, factor: float, shift: float) -> tuple[int, int, int, int]:
    """One axis of what another camera sees: source start and length, and where that lies in the image, and how long."""
    window = length / factor
    start = (length - window) / 2 + shift * length
    low, high = max(round(start), 0), min(round(start + window), length)
    first, last = (round((edge - start) * factor) for edge in (low, high))
    first, last = max(first, 0), min(last, length)
    return low, high - low, first, last - first


class HorizontalFlip(Spatial):
    """Mirrors left and right with a given probability.

    Required keys: at least one map. Modified keys: all maps and `label`, shapes and dtypes
    unchanged; the first component of maps with unit "unit_vector" (x to the right) is negated. HHA stays
    valid: disparity, height and the angle with gravity are the same in a mirror.

    Args:
        probability: of flipping, 0..1.
        maps: specs of maps that are not standard.
    """

    def __init__(self, probability: float = 0.5, *, maps: Maps | None = None) -> None:
        if not 0 <= probability <= 1:
            raise ValueError(f"probability must be in 0..1, found {probability}")
        super().__init__(maps=maps)
        self.probability = probability

    def apply(self, sample: Sample, specs: Maps, rng: np.random.Generator) -> Sample:
        """See `Spatial.apply`."""
        if rng.random() >= self.probability:
            return sample
        result = dict(sample)
        for name, spec in specs.items():
            result[name] = cv2.flip(sample[name], 1)
            if spec.unit == "unit_vector":
                result[name][..., 0] *= -1
        return result


class Resize(Spatial):
    """Resizes everything to one size, for evaluation or for maps that are too large.

    Required keys: at least one map. Modified keys: all maps become [h, w, ...], and `label`
    [h, w] unless `resize_label` is False (scores at the label's own size; then only samples with
    labels of one size can share a batch). Depth values are unchanged.

    Args:
        size: (height, width), or one side of a square.
        resize_label: also resize the label (nearest).
        interpolation: "linear", "cubic" or "area" for maps declared linear.
        maps: specs of maps that are not standard.
    """

    def __init__(
        self,
        size: int | Sequence[int],
        *,
        resize_label: bool = True,
        interpolation: str = "linear",
        maps: Maps | None = None,
    ) -> None:
        super().__init__(maps=maps)
        self.size = check_size("Resize size", size)
        self.resize_label = resize_label
        self.interpolation = check_interpolation(interpolation)

    def apply(self, sample: Sample, specs: Maps, rng: np.random.Generator) -> Sample:
        """See `Spatial.apply`."""
        result = dict(sample)
        for name, spec in specs.items():
            if name != "label" or self.resize_label:
                result[name] = resize_map(sample, name, spec, self.size, self.interpolation)
        return result


class _Crop(Spatial):
    """Cuts the same window of all maps and the label, at the place that a subclass gives."""

    def __init__(self, size: int | Sequence[int], *, maps: Maps | None = None) -> None:
        super().__init__(maps=maps)
        self.size = check_size(f"{type(self).__name__} size", size)

    def corner(self, rest: tuple[int, int], rng: np.random.Generator) -> tuple[int, int]:
        """First row and column of the window; `rest` is by how much the image is larger."""
        raise NotImplementedError(f"{type(self).__name__} must define corner(rest, rng)")

    def apply(self, sample: Sample, specs: Maps, rng: np.random.Generator) -> Sample:
        """See `Spatial.apply`."""
        (height, width), (rows, columns) = image_size(sample, specs), self.size
        if rows > height or columns > width:
            raise ValueError(
                f"{type(self).__name__} of {self.size} from sample {sample.get('sample_id')!r} of {(height, width)}: "
                "the image is smaller; use Resize or PadTo first"
            )
        box = Box(*self.corner((height - rows, width - columns), rng), rows, columns)
        return {**sample, **{name: np.ascontiguousarray(crop(sample[name], box)) for name in specs}}


class CenterCrop(_Crop):
    """Cuts the middle: from row (H - h) // 2 and column (W - w) // 2.

    Required keys: at least one map. Modified keys: all maps and `label` become [h, w, ...].

    Args:
        size: (height, width), or one side of a square.
        maps: specs of maps that are not standard.
    """

    def corner(self, rest: tuple[int, int], rng: np.random.Generator) -> tuple[int, int]:
        """The middle."""
        return rest[0] // 2, rest[1] // 2


class RandomCrop(_Crop):
    """Cuts a window at a random place, the same of all maps; after `Resize` (286, then 256), as pix2pix and CEN do.

    Keys and arguments are those of `CenterCrop`.
    """

    def corner(self, rest: tuple[int, int], rng: np.random.Generator) -> tuple[int, int]:
        """Anywhere."""
        return int(rng.integers(rest[0] + 1)), int(rng.integers(rest[1] + 1))


class PadTo(Spatial):
    """Pads up to a size or a multiple; sides that are long enough are left alone.

    Required keys: at least one map. Modified keys: all maps and `label` become at least
    [h, w, ...]; label is padded with 255.

    Args:
        size: least (height, width), or one side of a square.
        multiple: round both sides up to a multiple of this.
        centre: image in the middle; otherwise at the top left.
        fill: padding values per map, see `RandomScaleCrop`.
        maps: specs of maps that are not standard.

    Raises:
        ValueError: a size or multiple below 1, or a fill that does not fit.
    """

    def __init__(
        self,
        size: int | Sequence[int] = 1,
        *,
        multiple: int = 1,
        centre: bool = False,
        fill: Fill | None = None,
        maps: Maps | None = None,
    ) -> None:
        super().__init__(maps=maps)
        self.size = check_size("PadTo size", size)
        if multiple < 1:
            raise ValueError(f"PadTo multiple must be >= 1, found {multiple}")
        self.multiple, self.centre = multiple, centre
        self.fill = check_fill(fill, maps)

    def apply(self, sample: Sample, specs: Maps, rng: np.random.Generator) -> Sample:
        """See `Spatial.apply`."""
        height, width = image_size(sample, specs)
        rows, columns = (
            -(-max(side, least) // self.multiple) * self.multiple
            for side, least in zip((height, width), self.size, strict=True)
        )
        top, left = ((rows - height) // 2, (columns - width) // 2) if self.centre else (0, 0)
        box = Box(top, left, rows, columns)
        padded = {name: pad(sample[name], spec, box, self.fill) for name, spec in specs.items()}
        return {**sample, **padded}


def _axis_window(length: int, target: int, factor: float, rng: np.random.Generator) -> tuple[int, int, int, int]:
    """One axis of a scaled crop: (source start, source length, place in the crop, its length)."""
    needed = max(round(target / factor), 1)
    if needed <= length:
        return int(rng.integers(length - needed + 1)), needed, 0, target
    scaled = min(max(round(length * factor), 1), target)
    return 0, length, (target - scaled) // 2, scaled
