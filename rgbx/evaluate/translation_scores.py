"""What an evaluation of translation measures, image by image, and the scores of all images together."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from rgbx.maps import MapSpec
from rgbx.metrics import (
    depth_scores,
    depth_sums,
    error_scores,
    error_sums,
    frechet_distance,
    kernel_distance,
    normal_scores,
    normal_sums,
    psnr,
    ssim,
)
from rgbx.models.predictor import ENSEMBLE

TRUTH = "truth"
DATA_RANGES = {"rgb8": 255.0, "encoded": 255.0, "relative": 1.0}  # units whose maps are pictures
SCORED_UNITS = (*DATA_RANGES, "metre", "unit_vector")  # units with more scores than MAE and RMSE
_PUBLISHED_FACTORS = {"unit_vector": 10.0, "relative": 20.0}  # to tenths of the -1..1 that networks predict
_SUMS: dict[str, Callable[..., dict[str, Any]]] = {"metre": depth_sums, "unit_vector": normal_sums}
_SCORES: dict[str, Callable[..., dict[str, float]]] = {"metre": depth_scores, "unit_vector": normal_scores}


@dataclass
class ImageScores:
    """Measurements of one image.

    Attributes:
        sample_id: the dataset's name of the image.
        target: what the predicted map means.
        sums: per prediction what is added up over the images, see `rgbx.metrics`.
        means: per prediction what is averaged over the images: PSNR, SSIM, LPIPS.
        features: per prediction, and of the truth, float32 [D]; empty where not asked for.
        file_sizes: bytes of each file the image was read from.
    """

    sample_id: str
    target: MapSpec
    sums: dict[str, dict[str, Any]]
    means: dict[str, dict[str, float]]
    features: dict[str, Tensor] = field(default_factory=dict)
    file_sizes: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class TranslationEvaluation:
    """Measurements and scores of a dataset under one subset of modalities.

    Attributes:
        images: the measurements of each image, in the dataset's order.
        kernel: options of `rgbx.metrics.kernel_distance`.
        weights: the files of the networks that images were looked at through, and their SHA-256.
    """

    images: Sequence[ImageScores]
    kernel: Mapping[str, int] = field(default_factory=dict)
    weights: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    @property
    def target(self) -> MapSpec:
        """What the predicted map means."""
        return self.images[0].target

    @property
    def names(self) -> list[str]:
        """The predictions: branches first, the ensemble last."""
        names = list(dict.fromkeys(name for image in self.images for name in image.sums))
        return [name for name in names if name != ENSEMBLE] + [ENSEMBLE] * (ENSEMBLE in names)

    def scores(self, name: str) -> dict[str, float]:
        """All scores of one prediction, in the target's unit or as fractions of 1; see `docs/translation.md`."""
        images = [image for image in self.images if name in image.sums]
        found = image_set_scores(images, name, self.target.unit)
        if images and images[0].features:
            features, truth = (torch.stack([image.features[key] for image in images]) for key in (name, TRUTH))
            found["FID"] = frechet_distance(features, truth)
            found["KID"], found["KID_std"] = kernel_distance(features, truth, **self.kernel)
        return found


def measure(
    prediction: Tensor,  # [C, H, W], in the target's unit
    target: Tensor,  # [C, H, W]
    valid: Tensor | None,  # bool [1, H, W]
    unit: str,
) -> tuple[dict[str, Any], dict[str, float]]:
    """The `sums` and `means` of one prediction of an image."""
    sums = _SUMS.get(unit, error_sums)(prediction, target, valid)
    if unit not in DATA_RANGES:
        return sums, {}
    options: dict[str, Any] = {"data_range": DATA_RANGES[unit], "valid": valid}
    return sums, {"PSNR": psnr(prediction, target, **options), "SSIM": ssim(prediction, target, **options)}


def image_set_scores(images: Sequence[ImageScores], name: str, unit: str) -> dict[str, float]:
    """Scores of one prediction over some images, without those that need features."""
    keys = list(dict.fromkeys(key for image in images for key in image.means[name]))
    found = {key: _mean([image.means[name][key] for image in images]) for key in keys}
    found |= _SCORES.get(unit, error_scores)(_added([image.sums[name] for image in images]))
    if unit in _PUBLISHED_FACTORS:
        found |= {f"{key}_x10": _PUBLISHED_FACTORS[unit] * found[key] for key in ("MAE", "RMSE")}
    return found


def score_names(unit: str) -> tuple[str, ...]:
    """Names of the scores of a map of this unit, without those that need features."""
    channels = 3 if unit == "unit_vector" else 1
    blank = torch.zeros(channels, 16, 16)
    sums, means = measure(blank, blank, None, unit)
    image = ImageScores("", MapSpec("", channels, "float32", unit, "linear"), {ENSEMBLE: sums}, {ENSEMBLE: means})
    return tuple(image_set_scores([image], ENSEMBLE, unit))


def _added(sums: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Sums over images, numbers rounded once at the end, so that their order does not matter."""
    first = next(iter(sums))
    return {
        key: torch.stack([item[key] for item in sums]).sum(0)
        if isinstance(value, Tensor)
        else math.fsum(item[key] for item in sums)
        for key, value in first.items()
    }


def _mean(values: Sequence[float]) -> float:
    """Mean of what is a number: an image without measured pixels has no PSNR."""
    numbers = [value for value in values if not math.isnan(value)]
    if not numbers:
        return math.nan
    return math.inf if math.inf in numbers else math.fsum(numbers) / len(numbers)
