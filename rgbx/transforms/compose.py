"""Albumentations in the sample's terms: its geometry, made safe for depth and labels, and its colours, for rgb alone.

The one file that imports it, and only what is asked for by name imports this file: all else of rgbx does without.
Four of its habits are cured here: random numbers that ignore the sample (each call is reseeded
from the sample's generator), misspelt arguments that pass with a warning (strict), depth treated
as an image (only 8-bit linear maps are declared 'image', everything else 'mask'), and padding that
looks like data (a mask of ones travels along, and where it comes back 0 the fill is written).
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import Any

import cv2
import numpy as np

from rgbx.datasets.sample import Sample, build_from
from rgbx.transforms.colour import Colours, Photometry
from rgbx.transforms.spatial import Maps, Spatial, image_size

try:
    import albumentations
    from albumentations.augmentations.pixel import functional
    from albumentations.core.composition import BaseCompose
except ImportError as error:
    raise ImportError(
        f"AlbumentationsGeometry, AlbumentationsPhotometry and the backend albumentations need {error.name}: "
        "pip install albumentations==2.0.8"
    ) from error

_ONES = "rgbx_inside"

COLOURS = Colours(
    functional.adjust_brightness_torchvision,
    functional.adjust_contrast_torchvision,
    functional.adjust_saturation_torchvision,
    functional.adjust_hue_torchvision,
)


class AlbumentationsGeometry(Spatial):
    """Applies albumentations' geometry to all maps and the label with one draw.

    Required keys: at least one map. Modified keys: all maps and `label`, sizes as the transforms
    say, dtypes unchanged. 8-bit linear maps (rgb, hha) are interpolated linearly, all other maps
    and the label by nearest. Maps in metres keep their values.

    Args:
        transforms: geometric transforms, instances or dict(type=Class, **arguments); dicts are
            built with strict checks, so that a misspelt argument is an error.
        maps: specs of maps that are not standard.

    Raises:
        ValueError: a transform that changes colours, a misspelt argument, or (when called) a
            sample with vectors, which geometry in general would have to rotate.
    """

    def __init__(self, transforms: Sequence[Any], *, maps: Maps | None = None) -> None:
        super().__init__(maps=maps)
        self.transforms = build_transforms(transforms, albumentations.DualTransform)
        self._composes: dict[tuple[str, ...], albumentations.Compose] = {}

    def apply(self, sample: Sample, specs: Maps, rng: np.random.Generator) -> Sample:
        """See `Spatial.apply`."""
        vectors = [name for name, spec in specs.items() if spec.unit == "unit_vector"]
        if vectors:
            raise ValueError(
                f"AlbumentationsGeometry cannot turn the vectors of {vectors}; use HorizontalFlip and RandomScaleCrop"
            )
        size = image_size(sample, specs)
        compose = self._compose_for(specs)
        reseed(compose, rng)
        arrays = {name: sample[name] for name in specs}
        done = compose(image=np.zeros((*size, 1), np.uint8), **arrays, **{_ONES: np.ones(size, np.uint8)})
        outside = done[_ONES] == 0
        result = dict(sample)
        for name, spec in specs.items():
            result[name] = np.array(done[name], order="C")
            result[name][outside] = np.asarray(spec.fill, spec.dtype)
        return result

    def _compose_for(self, specs: Maps) -> albumentations.Compose:
        key = tuple(specs)
        if key not in self._composes:
            kinds = {
                name: "image" if spec.interpolation == "linear" and spec.dtype == "uint8" else "mask"
                for name, spec in specs.items()
            }
            self._composes[key] = albumentations.Compose(
                self.transforms,
                additional_targets={**kinds, _ONES: "mask"},
                strict=True,
                mask_interpolation=cv2.INTER_NEAREST,
            )
        return self._composes[key]


class AlbumentationsPhotometry(Photometry):
    """Applies albumentations' pixel transforms to one 8-bit colour map, see `Photometry`.

    Args:
        transforms: instances, or dict(type=Class, **arguments), built with strict checks so that
            a misspelt argument is an error.
        key: the map, RGB order.

    Raises:
        ValueError: a transform that moves pixels (use `AlbumentationsGeometry`), or a misspelt
            argument.
    """

    def __init__(self, transforms: Sequence[Any], *, key: str = "rgb") -> None:
        super().__init__(key=key)
        built = build_transforms(transforms, albumentations.ImageOnlyTransform)
        self._compose = albumentations.Compose(built, strict=True)

    def changed(
        self,
        image: np.ndarray,  # [H, W, 3]
        rng: np.random.Generator,
    ) -> np.ndarray:
        """See `Photometry.changed`."""
        reseed(self._compose, rng)
        changed: np.ndarray = self._compose(image=image)["image"]
        return changed


def build_transforms(transforms: Sequence[Any], kind: type) -> list[Any]:
    """Instances from instances or dict(type=Class, **arguments), checked to be of one kind.

    Args:
        transforms: what a config gives.
        kind: albumentations.DualTransform (geometry) or ImageOnlyTransform (colours); members of
            OneOf and the like are checked too.

    Raises:
        ValueError: an argument that the class does not know, or a transform of another kind.
    """
    built = []
    for item in transforms:
        if isinstance(item, dict):
            item = build_from({**item, "strict": True})
        wrong = [type(leaf).__name__ for leaf in _leaves(item) if not isinstance(leaf, kind)]
        if wrong:
            raise ValueError(f"expected albumentations transforms of kind {kind.__name__}, found {wrong}")
        built.append(item)
    return built


def reseed(compose: albumentations.Compose, rng: np.random.Generator) -> None:
    """Lets a Compose draw from the sample's generator instead of its own stream."""
    compose.set_random_state(rng, random.Random(int(rng.integers(2**63))))


def _leaves(item: Any) -> Iterator[Any]:
    if isinstance(item, BaseCompose):
        for child in item.transforms:
            yield from _leaves(child)
    else:
        yield item
