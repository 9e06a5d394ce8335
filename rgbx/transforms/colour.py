"""Changes of colour, of 8-bit maps alone: drawn here from the sample's generator, computed by one of three libraries.

OpenCV computes what albumentations 2.0.8 does, to the bit; torchvision turns the hue of floats (docs/dependencies.md).
"""

from __future__ import annotations

import random
from collections.abc import Callable
from importlib import import_module
from typing import NamedTuple

import cv2
import numpy as np

from rgbx._text import one_of
from rgbx.datasets.sample import Sample
from rgbx.transforms.spatial import each_frame

_HUES = 180  # of OpenCV's 8-bit images
_LEVELS = np.arange(256)

Change = Callable[[np.ndarray, float], np.ndarray]


class Colours(NamedTuple):
    """What a library does to an image uint8 [H, W, 3] of RGB order by one number, in the order in which they are drawn.

    Attributes:
        brightness: by a factor.
        contrast: by a factor, about the mean of the grey image.
        saturation: by a factor, about the grey image.
        hue: by a share of the circle, -0.5..0.5.
    """

    brightness: Change
    contrast: Change
    saturation: Change
    hue: Change


class Jitter(NamedTuple):
    """What one image draws.

    Attributes:
        amounts: brightness, contrast, saturation, hue; see `Colours`.
        order: in which they are applied, of 0..3.
    """

    amounts: tuple[float, float, float, float]
    order: tuple[int, ...]


class Photometry:
    """Changes one 8-bit colour map of a sample.

    Required and modified key: `key`, uint8 [H, W, 3], shape and dtype unchanged; of a clip [T, H, W, 3] each frame with
    the same draws.

    Args:
        key: the map, RGB order.
    """

    def __init__(self, *, key: str = "rgb") -> None:
        self.key = key

    @property
    def needs(self) -> tuple[str, ...]:
        """See `rgbx.datasets.sample.DenseDataset`."""
        return (self.key,)

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        if self.key not in sample:
            raise ValueError(
                f"{type(self).__name__} needs {self.key!r}, but sample "
                f"{sample.get('sample_id')!r} has only {sorted(sample)}"
            )
        return {**sample, self.key: each_frame(sample, self.key, self.changed, rng, alike=True)}

    def changed(
        self,
        image: np.ndarray,  # [H, W, 3]
        rng: np.random.Generator,
    ) -> np.ndarray:
        """uint8 [H, W, 3] of the same."""
        raise NotImplementedError(f"{type(self).__name__} must define changed(image, rng)")


class ColorJitter(Photometry):
    """Random brightness, contrast, saturation and hue of `rgb` (uint8 [H, W, 3], RGB order), in random order.

    Put it after the crop, where there are fewer pixels; padding is tinted with the rest, which no
    loss sees.

    Args:
        brightness: factor drawn from 1 - b .. 1 + b, not below 0.
        contrast: the same about the mean grey.
        saturation: the same about the grey image.
        hue: shift drawn from -h .. h of the full circle, h <= 0.5.
        probability: of changing a sample at all.
        backend: what computes them, a key of `BACKENDS`; the draws are the same for all.

    Raises:
        ValueError: a range below 0, a hue beyond 0.5, a probability beyond 0..1, or an unknown backend.
        ImportError: albumentations is asked for, and is not installed.
    """

    def __init__(
        self,
        brightness: float = 0.2,
        contrast: float = 0.2,
        saturation: float = 0.2,
        hue: float = 0.05,
        *,
        probability: float = 0.5,
        backend: str = "opencv",
    ) -> None:
        super().__init__()
        limits = {"brightness": np.inf, "contrast": np.inf, "saturation": np.inf, "hue": 0.5, "probability": 1.0}
        for (name, most), given in zip(
            limits.items(), (brightness, contrast, saturation, hue, probability), strict=True
        ):
            if not 0 <= given <= most:
                raise ValueError(f"{name} of ColorJitter must lie in 0..{most}, found {given!r}")
        self.factors, self.hue, self.probability = (brightness, contrast, saturation), hue, probability
        self._colours = colours_of(backend)

    def changed(
        self,
        image: np.ndarray,  # [H, W, 3]
        rng: np.random.Generator,
    ) -> np.ndarray:
        """See `Photometry.changed`."""
        drawn = self.draw(rng)
        return image if drawn is None else apply(image, drawn, self._colours)

    def draw(self, rng: np.random.Generator) -> Jitter | None:
        """What an image of this generator draws, in the way of albumentations 2.0.8; None where it stays as it is."""
        draws = random.Random(int(rng.integers(2**63)))
        draws.random()  # whether a Compose of probability 1 is applied
        if self.probability <= 0 or (self.probability < 1 and draws.random() >= self.probability):
            return None
        brightness, contrast, saturation = (draws.uniform(max(1 - span, 0), 1 + span) for span in self.factors)
        hue = draws.uniform(-self.hue, self.hue)
        order = [0, 1, 2, 3]
        rng.shuffle(order)
        return Jitter((brightness, contrast, saturation, hue), tuple(order))


def apply(
    image: np.ndarray,  # [H, W, 3]
    drawn: Jitter,
    colours: Colours,
) -> np.ndarray:
    """uint8 [H, W, 3]: the image after what was drawn, one change after the other."""
    for k in drawn.order:
        image = colours[k](image, drawn.amounts[k])
    return image


def colours_of(backend: str) -> Colours:
    """The changes as a library computes them, which is imported only now.

    Args:
        backend: a key of `BACKENDS`.

    Raises:
        ValueError: another name.
        ImportError: the library is not installed.
    """
    if backend not in BACKENDS:
        raise ValueError(f"found the backend {backend!r}; expected one of {one_of(sorted(BACKENDS), backend)}")
    colours: Colours = import_module(BACKENDS[backend]).COLOURS
    return colours


def _brightness(
    image: np.ndarray,  # [H, W, 3]
    factor: float,
) -> np.ndarray:
    """uint8 [H, W, 3]."""
    return cv2.LUT(image, _whole(_LEVELS.astype(np.float32) * np.float32(factor)))


def _contrast(
    image: np.ndarray,  # [H, W, 3]
    factor: float,
) -> np.ndarray:
    """uint8 [H, W, 3]."""
    mean = float(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).mean())
    return cv2.LUT(image, _whole(_LEVELS.astype(np.float32) * factor + mean * (1 - factor)))


def _saturation(
    image: np.ndarray,  # [H, W, 3]
    factor: float,
) -> np.ndarray:
    """uint8 [H, W, 3]."""
    grey = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    return cv2.addWeighted(image, factor, grey, 1 - factor, 0)


def _hue(
    image: np.ndarray,  # [H, W, 3]
    share: float,
) -> np.ndarray:
    """uint8 [H, W, 3]; a hue is one of 180 there."""
    if share == 0:
        return image
    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)
    turned = np.mod(_LEVELS + _HUES * share, _HUES).astype(np.uint8)
    cv2.insertChannel(cv2.LUT(cv2.extractChannel(hsv, 0), turned), hsv, 0)
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)


def _whole(levels: np.ndarray) -> np.ndarray:  # [256]
    """uint8 [256]: no value is rounded up, as in torchvision."""
    return np.clip(levels, 0, 255).astype(np.uint8)


COLOURS = Colours(_brightness, _contrast, _saturation, _hue)

BACKENDS = {  # where the `COLOURS` of each lie
    "opencv": __name__,
    "torchvision": "rgbx.transforms.colour_torchvision",
    "albumentations": "rgbx.transforms.compose",
}
