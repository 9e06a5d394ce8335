"""Photometry: colour changes of rgb alone; no other map ever sees them.

Albumentations computes the colours. Left to itself it draws the same numbers in every worker and
epoch, so each call here hands it the sample's own generator.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import albumentations
import numpy as np

from rgbx.datasets.sample import Sample
from rgbx.transforms.compose import build_transforms, reseed


class AlbumentationsPhotometry:
    """Applies albumentations' pixel transforms to one 8-bit colour map.

    Required and modified key: `key`, uint8 [H, W, 3], shape and dtype unchanged.

    Args:
        transforms: instances, or dict(type=Class, **arguments), built with strict checks so that
            a misspelt argument is an error.
        key: the map, RGB order.

    Raises:
        ValueError: a transform that moves pixels (use `AlbumentationsGeometry`), or a misspelt
            argument.
    """

    def __init__(self, transforms: Sequence[Any], *, key: str = "rgb") -> None:
        built = build_transforms(transforms, albumentations.ImageOnlyTransform)
        self.key = key
        self._compose = albumentations.Compose(built, strict=True)

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        if self.key not in sample:
            raise ValueError(
                f"{type(self).__name__} needs {self.key!r}, but sample "
                f"{sample.get('sample_id')!r} has only {sorted(sample)}"
            )
        reseed(self._compose, rng)
        image = self._compose(image=sample[self.key])["image"]
        return {**sample, self.key: image}


class ColorJitter(AlbumentationsPhotometry):
    """Random brightness, contrast, saturation and hue of `rgb` (uint8 [H, W, 3], RGB order).

    Put it after the crop, where there are fewer pixels; padding is tinted with the rest, which no
    loss sees.

    Args:
        brightness: factor drawn from 1 - b .. 1 + b.
        contrast: the same about the mean grey.
        saturation: the same about the grey image.
        hue: shift drawn from -h .. h of the full circle, h <= 0.5.
        probability: of changing a sample at all.
    """

    def __init__(
        self,
        brightness: float = 0.2,
        contrast: float = 0.2,
        saturation: float = 0.2,
        hue: float = 0.05,
        *,
        probability: float = 0.5,
    ) -> None:
        jitter = {
            "type": albumentations.ColorJitter,
            "brightness": brightness,
            "contrast": contrast,
            "saturation": saturation,
            "hue": hue,
            "p": probability,
        }
        super().__init__([jitter])
