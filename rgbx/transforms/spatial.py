"""What geometry needs: the maps of a sample with their specs, and cutting, resizing, padding them; of clips each frame.

OpenCV is called directly here because a box of the source resized to a known size is one call per
map; the albumentations counterpart pads and resizes whole images before it crops.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import cv2
import numpy as np

from rgbx._text import one_of
from rgbx.datasets.clip import clips_of, with_masks
from rgbx.datasets.sample import Sample
from rgbx.maps import IGNORE_INDEX, MASKS, STANDARD_MAPS, TIMES, MapSpec
from rgbx.maps.normals import unit_length

LABEL = MapSpec("label", 1, "uint8", "train_id", "nearest", IGNORE_INDEX)

MASK = "mask"  # unit of what `MASKS` end beside a map `name`, 1 where its pixels count, or were damaged

Maps = Mapping[str, MapSpec]
Fill = Mapping[str, float | Sequence[float]]

_FRAME = re.compile(r"@\d+")  # in keys of what `unfold` makes

_LEAST_WEIGHT = 1e-3  # below, the nearest known pixel is taken
_LINEAR_KINDS = {"linear": cv2.INTER_LINEAR, "cubic": cv2.INTER_CUBIC, "area": cv2.INTER_AREA}


class Box(NamedTuple):
    """A window of an image in pixels; it may reach beyond the image."""

    top: int
    left: int
    height: int
    width: int


class Spatial:
    """Geometry of a sample, which is the same for all maps, the label, and all frames of clips.

    Args:
        maps: specs of maps that are not standard.
    """

    def __init__(self, *, maps: Maps | None = None) -> None:
        self.maps = maps

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        frames = unfold(sample)
        return fold(self.apply(frames, specs_of(frames, self.maps), rng), sample)

    def apply(self, sample: Sample, specs: Maps, rng: np.random.Generator) -> Sample:
        """The sample with other arrays in place of those that `specs` names; each is of one frame, [H, W, ...]."""
        raise NotImplementedError(f"{type(self).__name__} must define apply(sample, specs, rng)")


def unfold(sample: Sample) -> Sample:
    """A sample in which each frame of a clip, and of its masks, is a map of its own, `NAME@0`, `NAME@0_valid`, ..."""
    result = dict(sample)
    for name in clips_of(sample):
        for key in with_masks(sample, name):
            frames = result.pop(key)
            result |= {f"{name}@{k}{key.removeprefix(name)}": frame for k, frame in enumerate(frames)}
    return result


def fold(done: Sample, sample: Sample) -> Sample:
    """What became of an unfolded sample, with the clips that `sample` has."""
    result = {key: value for key, value in done.items() if not _FRAME.search(key)}
    for name in clips_of(sample):
        for key in with_masks(sample, name):
            ending = key.removeprefix(name)
            result[key] = np.stack([done[f"{name}@{k}{ending}"] for k in range(len(sample[key]))])
    return result


def each_frame(
    sample: Sample,
    name: str,
    change: Callable[[np.ndarray, np.random.Generator], np.ndarray],
    rng: np.random.Generator,
    *,
    alike: bool = False,
) -> np.ndarray:
    """A map [H, W, ...] changed, or a clip of it [T, H, W, ...] frame by frame.

    Args:
        sample: which has it.
        name: of the map.
        change: gives a frame for a frame and the sample's generator.
        rng: of this visit.
        alike: whether all frames of a clip have the same draws.
    """
    if name not in clips_of(sample):
        return change(sample[name], rng)
    frames = sample[name]
    draws = [copy.deepcopy(rng) for _ in frames[1:]] if alike else [rng] * (len(frames) - 1)
    return np.stack([change(frame, draw) for frame, draw in zip(frames, [*draws, rng], strict=True)])


def still(who: str, sample: Sample, name: str) -> None:
    """Refuses a map that is a clip.

    Raises:
        ValueError: naming transforms that make frames of clips.
    """
    if name in clips_of(sample):
        raise ValueError(
            f"{who} works on single frames, but {name} of sample {sample.get('sample_id')!r} is a clip of "
            f"{len(sample[name])}; NearestFrames or FramesAsMaps before it make frames of clips"
        )


def specs_of(sample: Sample, maps: Maps | None = None) -> dict[str, MapSpec]:
    """Specs of all arrays [H, W, ...] of a sample, `label` and masks of maps (`MASKS`) included; not of times.

    Args:
        sample: an unpacked sample.
        maps: specs of maps that are not standard.

    Raises:
        ValueError: an array that no spec describes, or no array at all.
    """
    known = {**STANDARD_MAPS, **(maps or {}), "label": LABEL}
    known |= {
        name: MapSpec(name, 1, "uint8", MASK, "nearest") for name in [key + ending for key in known for ending in MASKS]
    }
    arrays = {
        key: _FRAME.sub("", key)
        for key, value in sample.items()
        if isinstance(value, np.ndarray) and not key.endswith(TIMES)
    }
    unknown = [key for key, name in arrays.items() if name not in known]
    if unknown:
        raise ValueError(
            f"sample {sample.get('sample_id')!r}: no MapSpec for {unknown}; pass "
            "maps={name: MapSpec(...)} to the transform"
        )
    if not arrays:
        kinds = {key: type(value).__name__ for key, value in sample.items()}
        raise ValueError(
            f"sample {sample.get('sample_id')!r} holds no numpy array, found {kinds}; geometry comes before PackSample"
        )
    return {key: known[name] for key, name in arrays.items()}


def image_size(sample: Sample, specs: Maps) -> tuple[int, int]:
    """Height and width shared by all maps of the sample.

    Raises:
        ValueError: maps of different sizes, listed.
    """
    sizes = {key: sample[key].shape[:2] for key in specs}
    if len(set(sizes.values())) != 1:
        raise ValueError(f"sample {sample.get('sample_id')!r}: maps must share one size, found {sizes}")
    return next(iter(sizes.values()))


def crop(array: np.ndarray, box: Box) -> np.ndarray:
    """The part of the box inside [H, W, ...], a view [h, w, ...]."""
    bottom, right = box.top + box.height, box.left + box.width
    return array[max(box.top, 0) : max(bottom, 0), max(box.left, 0) : max(right, 0)]


def resize(
    array: np.ndarray,  # [H, W, ...]
    spec: MapSpec,
    size: tuple[int, int],
    interpolation: str = "linear",
    valid: np.ndarray | None = None,  # [H, W]
) -> np.ndarray:
    """Resizes a map to size = (height, width), pixel centres aligned.

    Nearest takes the pixel whose area holds the new pixel's centre (OpenCV's plain nearest rounds
    down and lies up to half a pixel beside the linear image), so no value is ever computed. Unit vectors that are
    interpolated are of unit length again; where the nearest pixel has none, there is none. Other maps of floats are
    interpolated between the pixels that were measured: those that `valid` names, or depth > 0; where the nearest pixel
    was not, the spec's fill is written.
    """
    if array.shape[:2] == size:
        return array
    kind = cv2.INTER_NEAREST_EXACT
    if spec.interpolation == "linear":
        kind = _LINEAR_KINDS[interpolation]
        known = array > 0 if valid is None and spec.zero_is_hole else valid
        measures = spec.channels == 1 or spec.has_bands
        if spec.dtype == "float32" and measures and known is not None and not known.all():
            return _resize_known(array, spec, size, kind, known > 0)
    result = _resized(array, size, kind)
    if spec.unit == "unit_vector" and spec.interpolation == "linear":
        result = unit_length(result)
        result[~resize_mask(np.asarray(array.any(axis=2)), size)] = 0
    return result


def _resize_known(
    array: np.ndarray,  # [H, W] or [H, W, C]
    spec: MapSpec,
    size: tuple[int, int],
    kind: int,
    known: np.ndarray,  # bool [H, W]
) -> np.ndarray:
    """The mean of the known pixels, each with its weight in the interpolation."""
    last = (..., *[None] * (array.ndim - 2))  # beside channels
    weight = _resized(known.astype(np.float32), size, kind)[last]
    total = _resized(np.where(known[last], array, np.float32(0)), size, kind)
    result = _resized(array, size, cv2.INTER_NEAREST_EXACT)
    np.divide(total, weight, out=result, where=weight > _LEAST_WEIGHT)
    result[~resize_mask(known, size)] = spec.fill
    return result


def _resized(
    array: np.ndarray,  # [H, W, ...]
    size: tuple[int, int],
    kind: int,
) -> np.ndarray:
    """By OpenCV, whose area interpolation takes at most four channels at once."""
    if kind != cv2.INTER_AREA or array.shape[2:] <= (4,):
        return cv2.resize(array, size[::-1], interpolation=kind)
    parts = np.array_split(array, -(-array.shape[2] // 4), axis=2)
    return np.dstack([cv2.resize(np.ascontiguousarray(part), size[::-1], interpolation=kind) for part in parts])


def resize_map(
    sample: Sample,
    name: str,
    spec: MapSpec,
    size: tuple[int, int],
    interpolation: str,
    box: Box | None = None,
) -> np.ndarray:
    """A map of a sample, or the part of it inside a box, at size = (height, width); see `resize`."""
    array, valid = sample[name], sample.get(f"{name}_valid")
    if box is not None:
        array, valid = crop(array, box), None if valid is None else crop(valid, box)
    return resize(array, spec, size, interpolation, valid)


def resize_mask(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A mask [H, W] of bool at size = (height, width), by the nearest pixel."""
    return cv2.resize(mask.astype(np.uint8), size[::-1], interpolation=cv2.INTER_NEAREST_EXACT) > 0


def pad(array: np.ndarray, spec: MapSpec, box: Box, fill: Fill | None = None) -> np.ndarray:
    """Places [h, w, ...] at (box.top, box.left) of a canvas of box.height x box.width."""
    if array.shape[:2] == (box.height, box.width):
        return np.ascontiguousarray(array)
    canvas = np.empty((box.height, box.width, *array.shape[2:]), array.dtype)
    canvas[...] = np.asarray((fill or {}).get(spec.name, spec.fill), array.dtype)
    rows, columns = array.shape[:2]
    canvas[box.top : box.top + rows, box.left : box.left + columns] = array
    return canvas


def check_fill(fill: Fill | None, maps: Maps | None = None) -> Fill | None:
    """Returns the padding values, or raises ValueError where they name no map or do not fit its channels and dtype."""
    known = {**STANDARD_MAPS, **(maps or {}), "label": LABEL}
    for name, value in (fill or {}).items():
        if name not in known:
            raise ValueError(f"fill names the map {name!r}; expected one of {one_of(sorted(known), name)}")
        values = np.asarray(value, np.float64)
        if values.shape not in ((), (known[name].channels,)):
            raise ValueError(f"fill of {name!r} must be one number or {known[name].channels}, found {value!r}")
        if known[name].dtype == "uint8" and not ((values >= 0) & (values <= 255) & (values % 1 == 0)).all():
            raise ValueError(f"fill of {name!r} must be whole numbers 0..255, found {value!r}")
    return fill


def check_interpolation(interpolation: str) -> str:
    """Returns the name, or raises ValueError with the known ones."""
    if interpolation not in _LINEAR_KINDS:
        raise ValueError(
            f"found interpolation {interpolation!r}; expected one of "
            f"{one_of(sorted(_LINEAR_KINDS), interpolation)}; nearest is a property of the MapSpec"
        )
    return interpolation


def check_size(name: str, size: int | Sequence[int]) -> tuple[int, int]:
    """(height, width) from a pair or one side of a square.

    Raises:
        ValueError: anything but positive whole numbers.
    """
    pair = (size, size) if isinstance(size, int) else tuple(size)
    if len(pair) != 2 or any(not isinstance(side, int) or side < 1 for side in pair):
        raise ValueError(f"{name} must be (height, width) in positive whole pixels, found {size!r}")
    return pair[0], pair[1]
