"""Whether a dataset gives what a model takes: its maps, in the ranges that the model gives them, and its classes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from torch import Tensor
from torch.utils.data import Dataset

from rgbx._text import nearest
from rgbx._types import Batch
from rgbx.models import MultimodalModel
from rgbx.models.multimodal import Range
from rgbx.tasks import Classes, Map
from rgbx.tasks.map_range import MapRange

MOST_OUTSIDE = 0.1  # share of a map's values; hot spots of a thermal image may lie beyond its range on purpose


def check_classes(model: MultimodalModel, dataset: Dataset[Batch]) -> None:
    """Compares class counts.

    Raises:
        ValueError: a head for another number of classes than the dataset has.
    """
    found = len(getattr(dataset, "metainfo", {}).get("classes", ()))
    for name, task in model.tasks.items():
        if isinstance(task, Classes) and found and found != task.channels:
            raise ValueError(
                f"the model has num_classes={task.channels} (head {name!r}), but {type(dataset).__name__} has "
                f"{found} classes"
            )


def check_maps(model: MultimodalModel, dataset: Dataset[Batch]) -> list[str]:
    """Compares the first sample of a dataset that is trained on with a model, which learns what the maps are.

    Args:
        model: takes its modalities and the targets of its heads.
        dataset: gives packed samples.

    Returns:
        Warnings: maps of which more than a tenth lies outside the range that the model gives them.

    Raises:
        ValueError: the samples lack a map or a target of the model.
    """
    sample = dataset[0]
    maps = getattr(dataset, "metainfo", {}).get("maps", {})
    model.data_preprocessor.describe(maps)
    given = maps or sample
    for name in dict.fromkeys([*model.modalities, *(task.target for task in model.tasks.values())]):
        if name not in sample:
            there = [other for other in given if other in sample]
            raise ValueError(
                f"the model takes {name!r}, but {type(dataset).__name__} gives {', '.join(there)}{nearest(name, there)}"
            )
    return list(_outside(_ranges(model), sample))


def _ranges(model: MultimodalModel) -> dict[str, MapRange]:
    inputs = {name: x.range for name, x in model.data_preprocessor.inputs.items() if isinstance(x, Range)}
    return inputs | {task.target: task.range for task in model.tasks.values() if isinstance(task, Map)}


def _outside(ranges: Mapping[str, MapRange], sample: Mapping[str, Tensor]) -> Iterator[str]:
    """What to say of a sample, name to [C, H, W], whose values lie outside their range."""
    for name, span in ranges.items():
        values, valid = sample[name], sample.get(f"{name}_valid")
        values = values if valid is None else values[valid.expand_as(values)]
        low, high = span.bounds.tolist()
        share = float(((values < low) | (values > high)).double().mean()) if values.numel() else 0.0
        if share > MOST_OUTSIDE:
            yield (
                f"{100 * share:.0f} % of {name} in the first sample lies outside {low:g}..{high:g}, from "
                f"{float(values.min()):g} to {float(values.max()):g}, and counts as the nearer end; `ranges` of the "
                "model says otherwise"
            )
