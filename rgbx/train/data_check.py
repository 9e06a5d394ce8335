"""Whether a dataset gives what a model takes, before the first step: its maps, their ranges, its classes, its sizes."""

from __future__ import annotations

import math
import shlex
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from rgbx._text import nearest
from rgbx._types import Batch
from rgbx.datasets import EveryKth, FolderDataset
from rgbx.datasets.collation import difference
from rgbx.layers import CLIP
from rgbx.models import MultimodalModel
from rgbx.models.clips import refuse_clips
from rgbx.models.multimodal import Range
from rgbx.tasks import Classes, Map
from rgbx.tasks.map_range import MapRange

MOST_FRAMES, PATIENCE = 32, 3.0  # frames that are looked at, and the seconds after which no other is
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
                f"{found} classes{_planned_anew(dataset)}"
            )


def _planned_anew(dataset: Dataset[Batch]) -> str:
    """What to do where the declaration of a folder has changed since its training was planned."""
    dataset = dataset.dataset if isinstance(dataset, EveryKth) else dataset
    if not isinstance(dataset, FolderDataset):
        return ""
    root = shlex.quote(str(dataset.root))
    return f": if its dataset.toml has changed, `rgbx init {root} --overwrite`, which keeps that file, plans anew"


def check_maps(model: MultimodalModel, dataset: Dataset[Batch]) -> list[str]:
    """Compares the first sample of a dataset that is trained on with a model, which learns what the maps are.

    Args:
        model: takes its modalities and the targets of its heads.
        dataset: gives packed samples.

    Returns:
        Warnings: maps of which more than a tenth lies outside the range that the model gives them.

    Raises:
        ValueError: the samples lack a map or a target of the model, or hold clips, which it does not read.
    """
    sample = dataset[0]
    maps = getattr(dataset, "metainfo", {}).get("maps", {})
    model.data_preprocessor.describe(maps)
    given = maps or sample
    for name in dict.fromkeys([*model.modalities, *(task.target for task in model.tasks.values() if task.target)]):
        if name not in sample:
            there = [other for other in given if other in sample]
            raise ValueError(
                f"the model takes {name!r}, but {type(dataset).__name__} gives {', '.join(there)}{nearest(name, there)}"
            )
    if not model.backbone.reads_clips:
        refuse_clips({name: sample[name][None] for name in model.modalities if sample[name].ndim == CLIP - 1})
    return list(_outside(_ranges(model), sample))


def _ranges(model: MultimodalModel) -> dict[str, MapRange]:
    inputs = {name: x.range for name, x in model.data_preprocessor.inputs.items() if isinstance(x, Range)}
    return inputs | {task.target: task.range for task in model.tasks.values() if isinstance(task, Map)}


def _outside(ranges: Mapping[str, MapRange], sample: Mapping[str, Tensor]) -> Iterator[str]:
    """What to say of a sample, name to [C, H, W], whose values lie outside their range, damage aside."""
    for name, span in ranges.items():
        values, valid, struck = sample[name], sample.get(f"{name}_valid"), sample.get(f"{name}_corrupted")
        if struck is not None:
            valid = ~struck if valid is None else valid & ~struck
        values = values if valid is None else values[valid.expand_as(values)]
        low, high = span.bounds.tolist()
        share = float(((values < low) | (values > high)).double().mean()) if values.numel() else 0.0
        if share > MOST_OUTSIDE:
            yield (
                f"{100 * share:.0f} % of {name} in the first sample lies outside {low:g}..{high:g}, from "
                f"{float(values.min()):g} to {float(values.max()):g}, and counts as the nearer end; `ranges` of the "
                "model says otherwise"
            )


def look_at(dataset: Dataset[Batch]) -> list[Batch]:
    """Samples of all parts of a dataset, the first among them: all of a small one, else up to 32, or what 3 s allow."""
    total, end = len(dataset), time.monotonic() + PATIENCE  # type: ignore[arg-type]
    count = min(MOST_FRAMES, total)
    found: list[Batch] = []
    for number in range(count):
        found.append(dataset[number * total // count])
        if time.monotonic() > end:
            break
    return found


def check_sizes(loader: DataLoader[Batch], samples: Sequence[Batch], what: str) -> None:
    """Whether the samples of a loader go into its batches.

    Args:
        loader: of any batch size.
        samples: of its dataset, as `look_at` gives them.
        what: the loader, for messages.

    Raises:
        ValueError: they differ in size or type, and do not come alone.
    """
    if (loader.batch_size or 1) > 1 and (differing := difference(samples)):
        raise ValueError(f"{what} has batch_size={loader.batch_size}, but its samples differ: {differing}")


def check_labels(model: MultimodalModel, dataset: Dataset[Batch], samples: Sequence[Batch]) -> list[str]:
    """Which classes the labels of training samples hold.

    Args:
        model: its heads for classes are asked for their targets.
        dataset: of the samples.
        samples: packed, as `look_at` gives them.

    Returns:
        Warnings: classes without a pixel, or no pixel with a class, in the samples looked at.

    Raises:
        ValueError: the whole dataset was looked at, and not one pixel has a class.
    """
    total: int = len(dataset)  # type: ignore[arg-type]
    frames = f"the {total}" if total == len(samples) else f"{len(samples)} of the {total}"
    warnings = []
    for name, task in model.tasks.items():
        labels = (
            [sample[task.target] for sample in samples if task.target in sample] if isinstance(task, Classes) else []
        )
        if not labels:
            continue
        ids = torch.cat([label.unique() for label in labels]).unique()
        found = set(ids[(ids >= 0) & (ids < task.channels)].tolist())
        if not found and total == len(samples):
            raise ValueError(
                f"head {name!r} has nothing to learn: of {frames} training samples no pixel of {task.target!r} has a "
                f"class of 0..{task.channels - 1}, they hold {ids.tolist()[:5]}; are ids or void declared wrongly?"
            )
        names = getattr(dataset, "metainfo", {}).get("classes") or [str(k) for k in range(task.channels)]
        absent = [names[k] for k in range(task.channels) if k not in found]
        if absent:
            which = ", ".join(absent[:5]) + (f" and {len(absent) - 5} more" if len(absent) > 5 else "")
            sure = "" if total == len(samples) else ", which may lie in others"
            warnings.append(
                f"{len(absent)} of {task.channels} classes have no pixel in {frames} training samples{sure}: {which}"
            )
    return warnings


def check_damage(model: MultimodalModel, samples: Sequence[Batch]) -> None:
    """Whether what was damaged is an input, and gates that learn from damage are told of some.

    Args:
        model: with gates or without.
        samples: that it is trained on, packed, as `look_at` gives them.

    Raises:
        ValueError: a map that a head predicts is damaged, or no sample says what was, for gates that learn from it.
    """
    told = {key.removesuffix("_corrupted") for sample in samples for key in sample if key.endswith("_corrupted")}
    for name, task in model.tasks.items():
        if task.target in told:
            raise ValueError(
                f"head {name!r} predicts {task.target!r}, whose truth the training transforms damage: leave it out of "
                "the keys of DamageBlocks"
            )
    gates = model.backbone.purification
    if gates is not None and gates.options.supervision == "synthetic" and not told & set(model.modalities):
        wanted = " or ".join(f"{name}_corrupted" for name in model.modalities)
        raise ValueError(
            f"model.purification learns from damage, but no training sample has {wanted}: put dict(type=DamageBlocks, "
            f"keys={model.modalities}) of rgbx.transforms first among the training transforms, or set "
            "model.purification.supervision='literal'"
        )


def check_norms(model: MultimodalModel, loader: DataLoader[Batch], samples: Sequence[Batch]) -> None:
    """Whether every batch of an epoch has more than one value per channel at the network's deepest stage.

    Raises:
        ValueError: it has one, which batch normalisation cannot train on.
    """
    norms = [m for m in model.backbone.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    if not norms or getattr(model.backbone, "norm_eval", False) or not samples:
        return
    size: Any = loader.batch_size or 1
    rest = len(loader.sampler) % size  # type: ignore[arg-type]
    smallest = rest if rest and not loader.drop_last else size
    deepest = max(getattr(model.backbone, "strides", ()), default=1)
    maps = [sample[name].shape[-2:] for sample in samples for name in model.modalities if name in sample]
    if maps and smallest * min(math.prod(-(-side // deepest) for side in shape) for shape in maps) == 1:
        kind = "the last batch of an epoch has one sample" if rest == 1 and size > 1 else "a batch has one sample"
        raise ValueError(
            f"{kind} of {'×'.join(map(str, maps[0]))}, of which stride {deepest} leaves one value per channel, and "
            "batch normalisation needs more: train_dataloader.drop_last=True or another batch_size, larger crops, or "
            "model.norm_eval=True"
        )
