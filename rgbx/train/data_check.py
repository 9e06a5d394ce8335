"""Whether a dataset gives what a model takes, before the first step: its maps, their ranges, its classes, its sizes."""

from __future__ import annotations

import math
import shlex
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.data import DataLoader, Dataset

from rgbx._text import nearest
from rgbx._types import Batch
from rgbx.datasets import DenseDataset, EpochSampler, EveryKth, FolderDataset
from rgbx.datasets.class_weights import kept_counts, read_alone
from rgbx.datasets.collation import difference
from rgbx.layers import CLIP, ModalityNorm
from rgbx.layers.synchronised import SynchronisedNorm
from rgbx.models import MultimodalModel
from rgbx.models.clips import refuse_clips
from rgbx.models.multimodal import Range, measured
from rgbx.tasks import Classes, Map
from rgbx.tasks.map_range import MapRange

MOST_FRAMES, PATIENCE = 32, 3.0  # frames that are looked at, and the seconds after which no other is
FEW_IMAGES = 8  # of a modality in a batch, below which batch norm's statistics are noisy
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
        ValueError: the samples lack a map or a target of the model, or hold clips, which it does not read, or relative
            depth, which it would take for metres.
    """
    sample = _of_all_maps(dataset)
    maps = getattr(dataset, "metainfo", {}).get("maps", {})
    model.data_preprocessor.describe(maps)
    given = maps or sample
    wanted = dict.fromkeys([*model.modalities, *(task.target for task in model.tasks.values() if task.target)])
    for name in wanted:
        if name not in sample:
            there = [other for other in given if other in sample]
            raise ValueError(
                f"the model takes {name!r}, but {type(dataset).__name__} gives {', '.join(there)}{nearest(name, there)}"
            )
    if not model.backbone.reads_clips:
        refuse_clips({name: sample[name][None] for name in model.modalities if sample[name].ndim == CLIP - 1})
    return list(_outside(_ranges(model), sample))


def _of_all_maps(dataset: Dataset[Batch]) -> dict[str, Any]:
    """The first sample of a dataset; of frames that differ in what they have, with the maps that others add."""
    sets = getattr(dataset, "frame_sets", None)
    firsts = [0] if sets is None else np.sort(np.unique(sets, return_index=True)[1]).tolist()
    found: dict[str, Any] = {}
    for index in firsts:
        found = {**dataset[index], **found}
    return found


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


def check_sampler(loader: DataLoader[Batch]) -> None:
    """Whether frames that differ in what they have come in batches of those that have the same.

    Raises:
        ValueError: they do not.
    """
    right = isinstance(loader.sampler, EpochSampler) and loader.sampler.shuffle
    if getattr(loader.dataset, "frame_sets", None) is not None and loader.batch_size != 1 and not right:
        raise ValueError(
            f"{type(loader.dataset).__name__} has frames that differ in what they have, whose batches "
            "train_dataloader.sampler=dict(type=EpochSampler, shuffle=True) of rgbx.datasets makes; found "
            f"{type(loader.sampler).__name__}"
        )


class Look(NamedTuple):
    """Over how many training samples a statement holds.

    Attributes:
        seen: that were looked at.
        total: that there are.
        exact: whether no draw of a transform could show more of those that were looked at.
        enough: whether they showed what was looked for.
    """

    seen: int
    total: int
    exact: bool
    enough: bool

    @property
    def certain(self) -> bool:
        return self.exact and self.seen == self.total

    def __str__(self) -> str:
        part = f"the {self.seen} of {self.total} training samples looked at"
        return f"the {self.total} training samples" if self.certain else part


def look_for(dataset: Dataset[Batch], samples: Sequence[Batch], name: str, enough: Callable[[Batch], bool]) -> Look:
    """Shows samples until they are enough: those that were looked at already, then all as they are read, for 3 s.

    As they are read a label or map is opened alone where the dataset can do that, and no transform crops it.

    Args:
        dataset: that is trained on.
        samples: packed, as `look_at` gives them.
        name: of the label or map; samples without it are passed over.
        enough: is shown a sample, packed or as it is read; whether no other is needed.
    """
    base, every = (dataset.dataset, dataset.every) if isinstance(dataset, EveryKth) else (dataset, 1)
    total: int = len(dataset)  # type: ignore[arg-type]
    done = [enough(sample) for sample in samples if name in sample]
    packed = Look(len(done), total, isinstance(dataset, Sequence), any(done))
    if packed.enough or not isinstance(base, DenseDataset):
        return packed
    end, there = time.monotonic() + PATIENCE, False
    for seen, index in enumerate(_spread(total), 1):
        sample = read_alone(base, index * every, name)
        there |= name in sample
        if name in sample and enough(sample):
            return Look(seen, total, True, True)
        if time.monotonic() > end or (not there and seen == MOST_FRAMES):
            break
    return Look(seen, total, True, False) if there else packed  # a transform makes the others


def _spread(total: int) -> Iterator[int]:
    """All of 0..total-1, any beginning of which lies all over them: steps by the golden ratio."""
    step = max(1, round(0.618034 * total))
    while math.gcd(step, total) > 1:
        step += 1
    return (number * step % total for number in range(total))


def check_labels(
    model: MultimodalModel, dataset: Dataset[Batch], samples: Sequence[Batch], *, cache: str | Path | None = None
) -> list[str]:
    """Which classes the labels of training samples hold.

    Args:
        model: its heads for classes are asked for their targets.
        dataset: of the samples.
        samples: packed, as `look_at` gives them.
        cache: the file of `count_labels`, whose count of all labels is taken where there is one.

    Returns:
        Warnings: classes without a pixel, or no pixel with a class, in the samples looked at.

    Raises:
        ValueError: the whole dataset was looked at, and not one pixel has a class.
    """
    heads = {name: task for name, task in model.tasks.items() if isinstance(task, Classes)}
    return [told for name, task in heads.items() for told in _absent(name, task, dataset, samples, cache)]


def _absent(
    head: str, task: Classes, dataset: Dataset[Batch], samples: Sequence[Batch], cache: str | Path | None
) -> Iterator[str]:
    """Of one head, see `check_labels`."""
    ids: set[int] = set()

    def enough(sample: Batch) -> bool:
        ids.update(np.unique(np.asarray(sample[task.target])).tolist())
        return ids.issuperset(range(task.channels))

    counted = kept_counts(dataset, cache) if cache is not None and isinstance(dataset, DenseDataset) else None
    if counted is not None and task.target == "label":
        ids.update(k for k, pixels in enumerate(counted.pixels) if pixels)
        look = Look(len(dataset), len(dataset), True, False)  # type: ignore[arg-type]
    else:
        look = look_for(dataset, samples, task.target, enough)
    absent = [k for k in range(task.channels) if k not in ids]
    if not look.seen or not absent:
        return
    if len(absent) < task.channels:
        names = getattr(dataset, "metainfo", {}).get("classes") or list(map(str, range(task.channels)))
        which = ", ".join(str(names[k]) for k in absent)
        yield f"{len(absent)} of {task.channels} classes have no pixel in {look}: {which}"
        return
    told = (
        f"head {head!r} has nothing to learn: in {look} no pixel of {task.target!r} has a class of "
        f"0..{task.channels - 1}, they hold {sorted(ids)[:5]}; are ids or void declared wrongly?"
    )
    if look.certain:
        raise ValueError(told)
    yield told


def check_measured(model: MultimodalModel, dataset: Dataset[Batch], samples: Sequence[Batch]) -> list[str]:
    """Whether the maps that heads are to predict were measured anywhere.

    Args:
        model: its heads for maps are asked for their targets.
        dataset: of the samples.
        samples: packed, as `look_at` gives them.

    Returns:
        Warnings: maps without a measured value in the samples looked at.

    Raises:
        ValueError: the whole dataset was looked at, and not one value of a map was measured.
    """
    heads = {name: task for name, task in model.tasks.items() if isinstance(task, Map)}
    return [told for name, task in heads.items() for told in _unmeasured(name, task, model, dataset, samples)]


def _unmeasured(
    head: str, task: Map, model: MultimodalModel, dataset: Dataset[Batch], samples: Sequence[Batch]
) -> Iterator[str]:
    """Of one head, see `check_measured`."""
    meaning = model.data_preprocessor.meaning(task.target)

    def enough(sample: Batch) -> bool:
        valid = sample.get(f"{task.target}_valid")
        mask = measured(_packed(sample[task.target]), None if valid is None else _packed(valid), meaning)
        return mask is None or bool(mask.any())

    look = look_for(dataset, samples, task.target, enough)
    if not look.seen or look.enough:
        return
    told = f"head {head!r} has nothing to learn: in {look} no value of {task.target!r} was measured"
    if look.certain:
        raise ValueError(told)
    yield told


def _packed(
    x: np.ndarray | Tensor,  # [H, W] or [H, W, C], or packed [C, H, W]
) -> Tensor:
    """A map as it is read, or packed, as a batch of one, [1, C, H, W]."""
    return x[None] if isinstance(x, Tensor) else torch.from_numpy(np.atleast_3d(x)).movedim(-1, 0)[None]


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


def check_synchronised(model: MultimodalModel, batch_size: int, processes: int) -> list[str]:
    """Whether each of several processes normalises by few images of its own.

    Args:
        model: as it is trained, see `rgbx.layers.synchronise_norms`.
        batch_size: images of a process, which are those of each modality.
        processes: how many there are.

    Returns:
        A warning where there are few, and batch norms are trained on them.
    """
    kinds = (SynchronisedNorm, nn.SyncBatchNorm)
    modules = [] if getattr(model.backbone, "norm_eval", False) else list(model.backbone.modules())
    modules += [module for _, head in model.named_heads() for module in head.decoder.modules()]
    own = [module for module in modules if isinstance(module, _BatchNorm) and not isinstance(module, kinds)]
    if processes == 1 or batch_size >= FEW_IMAGES or not own:
        return []
    return [
        f"each of {processes} processes trains {len(own)} batch norms on {batch_size} images of a modality, its own: "
        "so few give noisy statistics, and the same training in one process would come to another model. What may "
        f"help: sync_norm=True, a train_dataloader.batch_size of {FEW_IMAGES} or more, model.norm_eval=True where the "
        "backbone is pretrained, or a decoder and backbone without batch norm"
    ]


def check_norms(model: MultimodalModel, loader: DataLoader[Batch], samples: Sequence[Batch]) -> None:
    """Whether every batch of an epoch has more than one value per channel wherever batch norm is trained.

    Raises:
        ValueError: it has one, which batch normalisation cannot train on.
    """
    norms = [m for m in model.backbone.modules() if isinstance(m, _BatchNorm)]
    trained = norms and not getattr(model.backbone, "norm_eval", False)
    pooled = [name for name, head in model.named_heads() if _pools_private(head.decoder)]
    if not samples or not (trained or pooled):
        return
    size: Any = loader.batch_size or 1
    rest = len(loader.sampler) % size  # type: ignore[arg-type]
    smallest = rest if rest and not loader.drop_last else size
    kind = "the last batch of an epoch has one sample" if rest == 1 and size > 1 else "a batch has one sample"
    if pooled and smallest == 1:
        raise ValueError(
            f"{kind}, and the decoder of head {pooled[0]!r} normalises averages over whole images by the batch, which "
            "needs two: train_dataloader.drop_last=True or another batch_size, or another decoder"
        )
    deepest = max(getattr(model.backbone, "strides", ()), default=1)
    maps = [sample[name].shape[-2:] for sample in samples for name in model.modalities if name in sample]
    if trained and maps and smallest * min(math.prod(-(-side // deepest) for side in shape) for shape in maps) == 1:
        raise ValueError(
            f"{kind} of {'×'.join(map(str, maps[0]))}, of which stride {deepest} leaves one value per channel, and "
            "batch normalisation needs more: train_dataloader.drop_last=True or another batch_size, larger crops, or "
            "model.norm_eval=True"
        )


def _pools_private(decoder: nn.Module) -> bool:
    """Whether batch norms, each of one modality, read averages over whole images."""
    return getattr(decoder, "pooled", False) and any(isinstance(each, ModalityNorm) for each in decoder.modules())
