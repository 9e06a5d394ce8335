"""Corruptions of one modality at five severities, to measure how a model degrades.

After Hendrycks & Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions and Perturbations" (ICLR
2019), with constants of our own, listed in `CORRUPTIONS`. Lengths in pixels are those of an image of 480 rows and scale
with the height; colours are fractions of 255; thermal strengths are fractions of the image's own spread (1st to 99th
percentile), since its scale is the sensor's. Depth holes stay holes, and only `depth_holes`, `shift` and `missing` make
new ones. Images of fewer than about 200 rows are too small for the mildest blurs and shifts to differ.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import cv2
import numpy as np

from rgbx._text import one_of
from rgbx.datasets.clip import clips_of, with_masks
from rgbx.datasets.sample import Sample
from rgbx.maps import STANDARD_MAPS, MapSpec
from rgbx.transforms import sensor_corruptions as sensors
from rgbx.transforms.common_corruptions import ROBODEPTH
from rgbx.transforms.spatial import Maps

_REFERENCE_HEIGHT = 480
_FOG = 0.8 * 255
NEAREST_M = 1e-3  # what noise makes of a measured depth stays a measurement

Apply = Callable[[np.ndarray, float, np.random.Generator, MapSpec], np.ndarray]


@dataclass(frozen=True)
class Corruption:
    """One way to spoil a map.

    Attributes:
        modality: the map it is made for; None for those that suit any.
        strengths: one per severity 1..5, in the unit of `meaning`.
        meaning: what a strength says.
        apply: (array, strength, rng, spec) to an array of the same shape, float or of the map's own dtype; NaN is no
            measurement before and after, and where the map has none, the spec's fill.
        metres: whether its strengths are of metres, so that it means nothing for relative depth.
        suite: "rgbx" for those that `--robustness` measures by itself, or the name of a published list.
    """

    modality: str | None
    strengths: tuple[float, float, float, float, float]
    meaning: str
    apply: Apply
    suite: str = "rgbx"
    metres: bool = False


class Corrupt:
    """Applies one of `CORRUPTIONS` to one map and leaves the rest of the sample alone.

    It belongs before PackSample, and before or after geometry. Frames of a clip draw anew, but all are shifted alike.
    Required and modified key: the map, shape and dtype
    unchanged, and its mask `{map}_valid` where the sample has one; what was not measured stays so. All randomness comes
    from the sample's generator; severities use the same draws, so that with one key the stronger severity is the same
    corruption, stronger.

    Args:
        name: of `CORRUPTIONS`.
        severity: 1 to 5; 0 leaves the sample as it is.
        key: the map; None takes the one that the corruption is made for.
        maps: specs of maps that are not standard.

    Raises:
        ValueError: an unknown name, severity or map; when called, a sample without that map as an array.
    """

    def __init__(self, name: str, severity: int, *, key: str | None = None, maps: Maps | None = None) -> None:
        if name not in CORRUPTIONS:
            raise ValueError(f"corruption {name!r} is not known; expected one of {one_of(sorted(CORRUPTIONS), name)}")
        if isinstance(severity, bool) or severity not in range(6):
            raise ValueError(f"severity of {name!r} must be 0 (none) to 5, found {severity!r}")
        self.name, self.severity, self.corruption = name, severity, CORRUPTIONS[name]
        found = key or self.corruption.modality
        if found is None:
            raise ValueError(f"corruption {name!r} suits any map: say which with key=")
        self.key = found
        known = {**STANDARD_MAPS, **(maps or {})}
        if self.key not in known:
            names = one_of(sorted(known), self.key)
            raise ValueError(f"no MapSpec for {self.key!r}; known: {names}. Pass maps={{name: MapSpec(...)}}")
        self.spec = known[self.key]
        if self.corruption.metres and self.spec.unit == "relative":
            self.spec.check_metres(f"corruption {name!r}")

    @property
    def needs(self) -> tuple[str, ...]:
        """See `rgbx.datasets.sample.DenseDataset`."""
        return (self.key,)

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        array = sample.get(self.key)
        if not isinstance(array, np.ndarray):
            raise ValueError(
                f"corruption {self.name!r} needs the array {self.key!r}, but sample {sample.get('sample_id')!r} has "
                f"{sorted(sample)}; it comes before PackSample"
            )
        if self.severity == 0:
            return sample
        if self.key not in clips_of(sample):
            return {**sample, **self._corrupted(sample, rng)}
        keys = [key for key in with_masks(sample, self.key) if not key.endswith("_corrupted")]
        frames = range(len(array))
        draws = [copy.deepcopy(rng) for _ in frames] if self.name == "shift" else [rng] * len(frames)
        done = [self._corrupted({key: sample[key][k] for key in keys}, draws[k]) for k in frames]
        return {**sample, **{key: np.stack([frame[key] for frame in done]) for key in done[0]}}

    def _corrupted(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """The map and, where the sample has one, its mask."""
        array, valid = sample[self.key], sample.get(f"{self.key}_valid")
        strength = self.corruption.strengths[self.severity - 1]
        measures = array.ndim == 2 or self.spec.has_bands
        if array.dtype == np.float32 and measures and (valid is not None or self.spec.zero_is_hole):
            filled, left = self._measured(array, array > 0 if valid is None else valid > 0, strength, rng)
            masks = {} if valid is None else {f"{self.key}_valid": left.astype(np.uint8)}
            return {self.key: filled, **masks}
        result: np.ndarray = self.corruption.apply(array, strength, rng, self.spec)
        if result.dtype != array.dtype:
            whole = np.clip(np.rint(result), 0, 255) if array.dtype == np.uint8 else result
            result = whole.astype(array.dtype)
        return {self.key: result}

    def _measured(
        self,
        array: np.ndarray,  # float32 [H, W] or [H, W, C]
        valid: np.ndarray,  # bool [H, W]
        strength: float,
        rng: np.random.Generator,
    ) -> tuple[np.ndarray, np.ndarray]:
        """The map and where it is measured: corruptions see NaN where it was not, and leave it where it is no more."""
        last = (..., *[None] * (array.ndim - 2))  # beside channels
        holed = np.where(valid[last], array, np.float32(np.nan))
        result = self.corruption.apply(holed, strength, rng, replace(self.spec, fill=np.nan)).astype(np.float32)
        finite = np.isfinite(result)
        left: np.ndarray = finite if array.ndim == 2 else np.asarray(finite.all(axis=2))
        if self.spec.zero_is_hole:
            left &= result != 0
        if self.spec.unit == "metre":
            result = np.maximum(result, np.float32(NEAREST_M))
        return np.where(left[last], result, np.float32(self.spec.fill)), left


def _pixels(length: float, array: np.ndarray) -> float:
    """A length in an image [H, W, ...]."""
    return length * array.shape[0] / _REFERENCE_HEIGHT


def extent(
    values: np.ndarray,  # [K, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """The 1st and the 99th percentile of K values, [...] each; 0 of none."""
    low, high = np.percentile(values, (1, 99), axis=0) if len(values) else np.zeros((2, *values.shape[1:]))
    return low, high


def _spread(array: np.ndarray) -> float:
    """From the 1st to the 99th percentile of what is measured of [H, W, ...]."""
    low, high = extent(array[np.isfinite(array)])
    return float(high - low)


def _noise(array: np.ndarray, strength: float, rng: np.random.Generator, spec: MapSpec) -> np.ndarray:
    """Gaussian noise on [H, W, ...]."""
    unit = 255.0 if array.dtype == np.uint8 else _spread(array)
    return array + rng.standard_normal(array.shape, np.float32) * np.float32(strength * unit)


def _blur(array: np.ndarray, strength: float, rng: np.random.Generator, spec: MapSpec) -> np.ndarray:
    """A Gaussian blur of [H, W, ...], between the pixels that are measured."""
    sigma = max(_pixels(strength, array), 0.3)

    def blurred(
        image: np.ndarray,  # [H, W, ...]
    ) -> np.ndarray:
        return cv2.GaussianBlur(np.ascontiguousarray(image), (0, 0), sigma, borderType=cv2.BORDER_REFLECT_101)

    known = np.isfinite(array)
    if known.all():
        return blurred(array)
    weight = blurred(known.astype(np.float32))
    mean = blurred(np.where(known, array, np.float32(0))) / np.maximum(weight, np.float32(1e-6))
    return np.where(known, mean, array)


def _brightness(array: np.ndarray, strength: float, rng: np.random.Generator, spec: MapSpec) -> np.ndarray:
    """[H, W, 3], brighter."""
    return array + np.float32(strength * 255)


def _darkness(array: np.ndarray, strength: float, rng: np.random.Generator, spec: MapSpec) -> np.ndarray:
    """[H, W, 3], darker."""
    return array * np.float32(strength)


def _fog(array: np.ndarray, strength: float, rng: np.random.Generator, spec: MapSpec) -> np.ndarray:
    """[H, W, 3] mixed with a light grey."""
    return array * np.float32(1 - strength) + np.float32(strength * _FOG)


def _low_contrast(array: np.ndarray, strength: float, rng: np.random.Generator, spec: MapSpec) -> np.ndarray:
    """[H, W, ...] nearer to the mean of what is measured."""
    known = array[np.isfinite(array)]
    mean = known.mean(dtype=np.float64) if known.size else 0.0
    return (array - np.float32(mean)) * np.float32(strength) + np.float32(mean)


def _depth_holes(depth: np.ndarray, strength: float, rng: np.random.Generator, spec: MapSpec) -> np.ndarray:
    """Blobs of about 20 pixels in [H, W] where a smooth random field is lowest."""
    rows, columns = depth.shape[:2]
    cell = max(_pixels(20, depth), 1)
    coarse = rng.standard_normal((max(round(rows / cell), 2), max(round(columns / cell), 2)), np.float32)
    field = cv2.resize(coarse, (columns, rows), interpolation=cv2.INTER_CUBIC)
    return np.where(field < np.quantile(field, strength), np.float32(spec.fill), depth)


def _depth_noise(depth: np.ndarray, strength: float, rng: np.random.Generator, spec: MapSpec) -> np.ndarray:
    """Noise that grows with the squared depth [H, W]."""
    noise = rng.standard_normal(depth.shape, np.float32) * np.float32(strength) * depth**2
    return np.where(depth > 0, np.maximum(depth + noise, np.float32(NEAREST_M)), depth)


def _depth_steps(depth: np.ndarray, strength: float, rng: np.random.Generator, spec: MapSpec) -> np.ndarray:
    """Depth [H, W] in even steps."""
    levels = np.maximum(np.rint(depth / np.float32(strength)), 1)
    return np.where(depth > 0, levels * np.float32(strength), depth)


def _shift(array: np.ndarray, strength: float, rng: np.random.Generator, spec: MapSpec) -> np.ndarray:
    """[H, W, ...] moved by a length in a random direction."""
    angle, length = rng.uniform(0, 2 * np.pi), max(_pixels(strength, array), 1.0)
    down, right = round(length * np.sin(angle)), round(length * np.cos(angle))
    shifted = _missing(array, strength, rng, spec)
    target = shifted[max(down, 0) :, max(right, 0) :]
    source = array[max(-down, 0) :, max(-right, 0) :]
    rows, columns = min(target.shape[0], source.shape[0]), min(target.shape[1], source.shape[1])
    target[:rows, :columns] = source[:rows, :columns]
    return shifted


def _missing(array: np.ndarray, strength: float, rng: np.random.Generator, spec: MapSpec) -> np.ndarray:
    """No measurement in [H, W, ...]."""
    return np.full_like(array, spec.fill)


_SHARE = "share of the pixels that have some"
_SIGMA = "standard deviation, fraction of the range"
_SIGMA_PIXELS = "standard deviation in pixels"
_thermal, _depth, _rgb, _any = (partial(Corruption, modality) for modality in ("thermal", "depth", "rgb", None))
_event, _lidar = (partial(Corruption, modality) for modality in ("event", "lidar"))

CORRUPTIONS: dict[str, Corruption] = {
    "rgb_noise": _rgb((0.04, 0.08, 0.12, 0.18, 0.26), _SIGMA, _noise),
    "rgb_blur": _rgb((1, 2, 3, 4.5, 7), _SIGMA_PIXELS, _blur),
    "rgb_brightness": _rgb((0.1, 0.2, 0.3, 0.4, 0.5), "added, fraction of 255", _brightness),
    "rgb_darkness": _rgb((0.7, 0.5, 0.35, 0.2, 0.1), "factor", _darkness),
    "rgb_fog": _rgb((0.2, 0.35, 0.5, 0.65, 0.8), "share of grey 204 in the mixture", _fog),
    "depth_holes": _depth((0.05, 0.1, 0.2, 0.4, 0.6), "share of the pixels without a measurement", _depth_holes),
    # 0.0014 / m is the structured-light camera of Khoshelham & Elberink (Sensors 2012)
    "depth_noise": _depth(
        (0.0014, 0.003, 0.006, 0.012, 0.024), "standard deviation / depth² in 1/m", _depth_noise, metres=True
    ),
    "depth_steps": _depth(
        (0.05, 0.1, 0.2, 0.4, 0.8), "distance of the depth levels in metres", _depth_steps, metres=True
    ),
    "thermal_noise": _thermal((0.03, 0.06, 0.12, 0.2, 0.35), _SIGMA, _noise),
    "thermal_blur": _thermal((1, 2, 4, 7, 12), _SIGMA_PIXELS, _blur),
    "thermal_contrast": _thermal((0.75, 0.5, 0.3, 0.15, 0.05), "factor about the mean", _low_contrast),
    "event_loss": _event((0.1, 0.25, 0.5, 0.75, 0.9), f"{_SHARE}, lost", sensors.events_lost),
    "event_noise": _event(
        (0.01, 0.02, 0.05, 0.1, 0.2), "share of the pixels without, that have some", sensors.spurious
    ),
    "event_low_resolution": _event((1.5, 2, 3, 4, 6), "factor on each side", sensors.low_resolution),
    "lidar_loss": _lidar((0.1, 0.25, 0.5, 0.75, 0.9), f"{_SHARE}, lost", sensors.points_lost),
    "lidar_beams": _lidar((0.125, 0.25, 0.5, 0.75, 0.875), "share of 64 bands of rows, lost", sensors.beams),
    "lidar_jitter": _lidar((1, 2, 4, 8, 16), _SIGMA_PIXELS, sensors.jitter),
    "shift": _any((2, 4, 8, 16, 32), "pixels against the other maps, in a random direction", _shift),
    "missing": _any((1, 1, 1, 1, 1), "no measurement anywhere, at any severity", _missing),
} | {
    name: _rgb((1, 2, 3, 4, 5), "row of the published constants", function, "robodepth")
    for name, function in ROBODEPTH.items()
}
