"""Values of a config that follow from its data: where they say "dataset", they become numbers before a run is built.

`model.modalities`, `model.num_classes` (also of a head) and `model.statistics` may say so, and the `size` of any
transform of the training data. The numbers stand in the run's config and in every checkpoint, which evaluating asks.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rgbx._types import Options
from rgbx.cli.config import Config
from rgbx.cli.errors import ConfigError, building
from rgbx.datasets.own import measure
from rgbx.datasets.sample import DenseDataset, build_from
from rgbx.models.checkpoint import read_checkpoint

DATASET = "dataset"


def derive_from_data(config: Config, *, model_only: bool = False) -> str:
    """Replaces "dataset" in a config, in place, by what its training data say.

    Args:
        config: with a `model` and a `train_dataloader`.
        model_only: leave the transforms of the training data alone.

    Returns:
        What was found, for a log; "" where nothing asks for it.

    Raises:
        ConfigError: no training data, or nothing that can be read.
        FileNotFoundError, ValueError: see the dataset, and `rgbx.datasets.own.measure`.
    """
    parts = list(_asking(config.get("model")))
    transforms = [] if model_only else list(_sized(config))
    if not parts and not transforms:
        return ""
    loader = config.get("train_dataloader")
    if not isinstance(loader, dict) or not loader.get("dataset"):
        raise ConfigError(f"{config.filename}: values say {DATASET!r}, but there is no train_dataloader.dataset")
    with building(str(config.filename)):
        dataset = build_from({key: value for key, value in loader["dataset"].items() if key != "transforms"})
    if not isinstance(dataset, DenseDataset):
        raise ConfigError(f"{config.filename}: values say {DATASET!r}, but the dataset is a {type(dataset).__name__}")
    found: dict[str, Any] = {"modalities": list(dataset.sources), "num_classes": dataset.num_classes}
    if not dataset.num_classes and any(key == "num_classes" for _, key in parts):
        raise ConfigError(
            f"{config.filename}: num_classes is that of the dataset, but the {type(dataset).__name__} has no labels; "
            "declare [classes] and [label] in its dataset.toml, or train a translation between its maps "
            "(docs/datasets.md)"
        )
    told = ""
    if transforms or any(key == "statistics" for _, key in parts):
        measured = measure(dataset)
        found["statistics"] = measured.statistics
        told = f"; over {measured.frames} frames " + ", ".join(
            f"{name} has mean {values['mean']} and standard deviation {values['std']}"
            for name, values in measured.statistics.items()
        )
        for transform in transforms:
            transform["size"] = measured.crop
            told += f"; crops of {measured.crop[0]}x{measured.crop[1]}"
    for part, key in parts:
        part[key] = found[key]
    return f"From the data: {', '.join(found['modalities'])}, {found['num_classes']} classes{told}"


def derive_from_checkpoint(model: Options, checkpoint: str | Path, *, trust: bool = False) -> None:
    """Replaces "dataset" in a config's model, in place, by what a checkpoint's recipe says.

    Args:
        model: of a config; where it asks for nothing, no file is opened.
        checkpoint: the file.
        trust: see `rgbx.models.load`.

    Raises:
        FileNotFoundError, ValueError: no such checkpoint, or one that cannot be read.
    """
    parts = list(_asking(model))
    recipe = read_checkpoint(Path(checkpoint), trust=trust).get("model") if parts else None
    parameters = (recipe or {}).get("parameters", {})
    heads = parameters.get("heads", {})
    for part, key in parts:
        name = next((name for name, head in (model.get("heads") or {}).items() if head is part), "labels")
        value = heads.get(name, {}).get(key) if key == "num_classes" else parameters.get(key)
        if value is not None:
            part[key] = value


def _asking(model: object) -> Iterator[tuple[dict[str, Any], str]]:
    """The model or those of its heads that say "dataset", with the key."""
    if isinstance(model, dict):
        for part in (model, *(model.get("heads") or {}).values()):
            for key in ("modalities", "num_classes", "statistics"):
                if isinstance(part, dict) and part.get(key) == DATASET:
                    yield part, key


def _sized(config: Config) -> Iterator[dict[str, Any]]:
    dataset = (config.get("train_dataloader") or {}).get("dataset") or {}
    for transform in dataset.get("transforms") or ():
        if isinstance(transform, dict) and transform.get("size") == DATASET:
            yield transform
