"""Weights for classes of unequal size, from the labels of a data set.

The methods of `CLASS_WEIGHTS` turn counts (`rgbx.datasets.label_counts`) into K weights, plain numbers that a loss, a
config and a checkpoint can hold. A class without pixels gets the weight 1: no label ever uses it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from rgbx.datasets.label_counts import LabelCounts, count_labels
from rgbx.datasets.sample import Config, DenseDataset, build_from


def median_frequency(counts: LabelCounts) -> list[float]:
    """median(f) / f with f = pixels of a class / pixels of the images that show it.

    Eigen & Fergus, "Predicting Depth, Surface Normals and Semantic Labels" (ICCV 2015).
    """
    pixels, images = _arrays(counts)
    frequency = pixels / np.maximum(images, 1)
    return _weights(pixels, lambda: np.median(frequency[pixels > 0]) / frequency)


def inverse_frequency(counts: LabelCounts) -> list[float]:
    """Labelled pixels / (K · pixels of a class): the mean weight of a labelled pixel is 1."""
    pixels, _ = _arrays(counts)
    return _weights(pixels, lambda: pixels.sum() / (np.count_nonzero(pixels) * pixels))


def enet(counts: LabelCounts, c: float = 1.02) -> list[float]:
    """1 / ln(c + p) with p = share of the labelled pixels; between about 1.4 and 50.5 at c = 1.02.

    Paszke et al., "ENet" (arXiv 1606.02147).
    """
    if not c > 1:
        raise ValueError(f"enet needs c > 1, found {c}")
    pixels, _ = _arrays(counts)
    return _weights(pixels, lambda: 1 / np.log(c + pixels / pixels.sum()))


def effective_number(counts: LabelCounts, beta: float | None = None) -> list[float]:
    """(1 - β) / (1 - βⁿ), scaled to a mean of 1 over the classes that occur; n = pixels of a class.

    Cui et al., "Class-Balanced Loss Based on Effective Number of Samples" (CVPR 2019). β = 0 weighs all alike, β → 1 by
    inverse frequency. Counts of pixels are large, so β below about 1 - 1e-7 weighs all alike too; None takes
    (N - 1) / N with N = labelled pixels, as the paper relates β to the number of distinct samples.
    """
    if beta is not None and not 0 <= beta < 1:
        raise ValueError(f"effective_number needs 0 <= beta < 1, found {beta}")
    pixels, _ = _arrays(counts)
    log_beta = math.log1p(-1 / pixels.sum()) if beta is None else math.log(beta) if beta > 0 else -math.inf
    inverse = 1 / -np.expm1(np.maximum(pixels, 1) * log_beta)
    return _weights(pixels, lambda: inverse / inverse[pixels > 0].mean())


CLASS_WEIGHTS: dict[str, Callable[..., list[float]]] = {
    "median_frequency": median_frequency,
    "inverse_frequency": inverse_frequency,
    "enet": enet,
    "effective_number": effective_number,
}


def compute_class_weights(
    dataset: DenseDataset | Config,
    method: str = "median_frequency",
    *,
    cache: str | Path | None = None,
    **options: float,
) -> list[float]:
    """K weights by a method of `CLASS_WEIGHTS`.

    Args:
        dataset: instance or dict(type=Class, **arguments): the training split.
        method: its name.
        cache: see `count_labels`.
        options: of the method.

    Raises:
        ValueError: an unknown method, or a data set without labels.
    """
    if method not in CLASS_WEIGHTS:
        raise ValueError(f"class weights are {method!r}; expected numbers or one of {sorted(CLASS_WEIGHTS)}")
    built = build_from(dataset) if isinstance(dataset, dict) else dataset
    return CLASS_WEIGHTS[method](count_labels(built, cache=cache), **options)


def resolve_class_weights(model: Config, dataset: DenseDataset | Config, *, cache: str | Path | None = None) -> None:
    """Replaces a method's name by numbers, in place, in `model["loss"]["class_weights"]` of a config.

    Args:
        model: a model's config; its loss may say `class_weights="median_frequency"`, or
            `class_weights=dict(method="enet", c=1.1)`. Anything else is left as it is.
        dataset: the training data, or their config.
        cache: see `count_labels`.
    """
    loss, wanted = _named_weights(model)
    if wanted is not None:
        loss["class_weights"] = compute_class_weights(dataset, cache=cache, **wanted)


def equal_class_weights(model: Config) -> None:
    """Replaces a method's name by K ones, in place, for a model whose checkpoint brings the counted weights."""
    loss, wanted = _named_weights(model)
    if wanted is not None:
        loss["class_weights"] = [1.0] * model["num_classes"]


def _named_weights(model: Config) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """The config of a model's loss, and the method that it names with its options."""
    loss = model.get("loss")
    wanted = loss.get("class_weights") if isinstance(loss, dict) else None
    if isinstance(wanted, str):
        wanted = {"method": wanted}
    return (loss, wanted) if isinstance(loss, dict) and isinstance(wanted, dict) else ({}, None)


def _arrays(counts: LabelCounts) -> tuple[np.ndarray, np.ndarray]:
    return np.array(counts.pixels, np.float64), np.array(counts.image_pixels, np.float64)


def _weights(pixels: np.ndarray, compute: Callable[[], np.ndarray]) -> list[float]:  # [K]
    """Six digits of each weight; 1 for classes without pixels."""
    with np.errstate(divide="ignore", invalid="ignore"):
        weights = np.where(pixels > 0, compute(), 1.0)
    return [float(f"{weight:.6g}") for weight in weights]
