"""Pixels of each class in a data set's labels, and weights for classes of unequal size.

The methods of `CLASS_WEIGHTS` turn counts into K weights, plain numbers that a loss, a config and a checkpoint can
hold. A class without pixels gets the weight 1: no label ever uses it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rgbx._files import read_json
from rgbx.datasets.cache import CachedFrames
from rgbx.datasets.files import FileDataset
from rgbx.datasets.fingerprint import FileStamps, dataset_fingerprint, file_stamps
from rgbx.datasets.sample import Config, DenseDataset, Sample, build_from
from rgbx.datasets.shards.dataset import ShardedDataset
from rgbx.maps import replace_file


@dataclass(frozen=True)
class LabelCounts:
    """What a data set's labels hold.

    Attributes:
        pixels: of each class, [K].
        image_pixels: all pixels, unlabelled ones too, of the images in which the class occurs, [K].
    """

    pixels: tuple[int, ...]
    image_pixels: tuple[int, ...]


def count_labels(dataset: DenseDataset, *, cache: str | Path | None = None) -> LabelCounts:
    """Counts the pixels of each class over all labels.

    Args:
        dataset: frames without a label are passed over; transforms do not run.
        cache: a JSON file for the counts; used as long as the dataset's fingerprint and the label files' sizes and
            times are the same, written anew otherwise. None keeps nothing.

    Raises:
        ValueError: no labelled pixel at all.
    """
    if isinstance(dataset, CachedFrames):
        dataset = dataset.dataset
    fingerprint = dataset_fingerprint(dataset)
    if cache is not None and (kept := _kept(Path(cache), fingerprint, dataset.num_classes)) is not None:
        return kept
    pixels, images = (np.zeros(dataset.num_classes, np.int64) for _ in range(2))
    paths = []
    for index in range(len(dataset)):
        sample = read_alone(dataset, index, "label")
        if "label" not in sample:
            continue
        found = np.bincount(sample["label"].reshape(-1), minlength=256)[: dataset.num_classes]
        pixels += found
        images += (found > 0) * sample["label"].size
        paths.append(sample["paths"].get("label"))
    if not pixels.any():
        raise ValueError(f"{type(dataset).__name__}: no labelled pixel in {len(dataset)} frames")
    counts = LabelCounts(tuple(pixels.tolist()), tuple(images.tolist()))
    if cache is not None:
        _keep(Path(cache), fingerprint, file_stamps(path for path in paths if path), counts)
    return counts


def kept_counts(dataset: DenseDataset, cache: str | Path) -> LabelCounts | None:
    """What `count_labels` has kept of a data set in a file, where that still holds; else None."""
    dataset = dataset.dataset if isinstance(dataset, CachedFrames) else dataset
    return _kept(Path(cache), dataset_fingerprint(dataset), dataset.num_classes) if Path(cache).is_file() else None


def read_alone(dataset: DenseDataset, index: int, name: str) -> Sample:
    """One map of a frame, or its label, as it is read, if possible without opening the others; {} where it has none."""
    dataset = dataset.dataset if isinstance(dataset, CachedFrames) else dataset
    if isinstance(dataset, FileDataset):
        frame = dataset.frames[index]
        if name not in dataset.files_of(frame):
            return {}
        return {"paths": {name: str(frame.files[name])}, **dataset.read_frame(frame, [name])}
    if isinstance(dataset, ShardedDataset):
        return dataset.read_alone(index, name)
    sample = dataset.read(index)
    return sample if name in sample else {}


def _kept(path: Path, fingerprint: str, num_classes: int) -> LabelCounts | None:
    try:
        record: Any = read_json(path)
        stamps = {name: list(stamp) for name, stamp in file_stamps(record["files"]).items()}
        if record["fingerprint"] != fingerprint or record["files"] != stamps:
            return None
        counts = LabelCounts(tuple(record["pixels"]), tuple(record["image_pixels"]))
        whole = all(type(count) is int and 0 <= count < 2**63 for count in (*counts.pixels, *counts.image_pixels))
        right = whole and len(counts.pixels) == len(counts.image_pixels) == num_classes and any(counts.pixels)
        return counts if right else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _keep(path: Path, fingerprint: str, stamps: FileStamps, counts: LabelCounts) -> None:
    record = {"fingerprint": fingerprint, **asdict(counts), "files": stamps}
    replace_file(path, json.dumps(record).encode())


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


def inverse_root(counts: LabelCounts, least: float = 0.5, most: float = 4.0) -> list[float]:
    """1 / sqrt(share of the labelled pixels), scaled to 1 for the mean pixel and then kept within least..most.

    Mild: a class of a hundredth of the pixels weighs ten times one that has all of them, where `inverse_frequency`
    would weigh it a hundred times.

    Raises:
        ValueError: not 0 < least <= 1 <= most.
    """
    if not 0 < least <= 1 <= most:
        raise ValueError(f"inverse_root needs 0 < least <= 1 <= most, found {least} and {most}")
    pixels, _ = _arrays(counts)
    share = pixels / pixels.sum()
    return _weights(pixels, lambda: np.clip(1 / (np.sqrt(share) * np.sqrt(share).sum()), least, most))


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
    "inverse_root": inverse_root,
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
    """Replaces a method's name by numbers, in place, in the losses of a model's config.

    Args:
        model: its `loss`, or that of any of its `heads`, may say `class_weights="median_frequency"`, or
            `class_weights=dict(method="enet", c=1.1)`. Anything else is left as it is.
        dataset: the training data, or their config.
        cache: see `count_labels`.
    """
    for part, wanted in _named_weights(model):
        part["loss"]["class_weights"] = compute_class_weights(dataset, cache=cache, **wanted)


def equal_class_weights(model: Config) -> None:
    """Replaces a method's name by K ones, in place, for a model whose checkpoint brings the counted weights."""
    for part, _ in _named_weights(model):
        part["loss"]["class_weights"] = [1.0] * part["num_classes"]


def _named_weights(model: Config) -> Iterator[tuple[Config, dict[str, Any]]]:
    """The model or those of its heads whose loss names a method for its class weights, and that with its options."""
    for part in (model, *(model.get("heads") or {}).values()):
        loss = part.get("loss") if isinstance(part, dict) else None
        wanted = loss.get("class_weights") if isinstance(loss, dict) else None
        if isinstance(wanted, (str, dict)):
            yield part, {"method": wanted} if isinstance(wanted, str) else wanted


def _arrays(counts: LabelCounts) -> tuple[np.ndarray, np.ndarray]:
    return np.array(counts.pixels, np.float64), np.array(counts.image_pixels, np.float64)


def _weights(
    pixels: np.ndarray,  # [K]
    compute: Callable[[], np.ndarray],  # to [K]
) -> list[float]:
    """Six digits of each weight; 1 for classes without pixels."""
    with np.errstate(divide="ignore", invalid="ignore"):
        weights = np.where(pixels > 0, compute(), 1.0)
    return [float(f"{weight:.6g}") for weight in weights]
