"""Evaluations of one model on one dataset: the one loop, subset after subset of the modalities."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, Protocol

import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from rgbx._protocol import Protocol as Rules
from rgbx._text import modality_title
from rgbx._types import Batch
from rgbx.datasets import EpochSampler, EveryKth
from rgbx.datasets.collation import Runs
from rgbx.datasets.frame_sets import by_set
from rgbx.datasets.sample import Sample, SampleKey
from rgbx.evaluate.metric import Evaluations, Metrics, file_sizes, frame_key, gather_images, metrics_of
from rgbx.evaluate.parts import Counts, Parts
from rgbx.evaluate.result import shown, titled
from rgbx.models.multimodal import MultimodalModel
from rgbx.models.predict import Predictor, Spoil
from rgbx.tasks import ENSEMBLE, Classes, Counter, Evaluation, Map

Subset = tuple[str, ...]
Outputs = Sequence[Mapping[str, Any]]  # what `Predictor` gives, one per sample


class Observer(Protocol):
    """Sees the predictions of an evaluation, such as to draw or to write them."""

    def start(self, size: int, modalities: Subset) -> None:
        """A run over so many samples of this process begins, with these modalities present."""

    def see(self, batch: Batch, outputs: Outputs) -> None:
        """A collated batch and its predictions."""


class Session:
    """Evaluates a model on the samples of a loader.

    Args:
        model: with weights; it is put in evaluation mode.
        loader: gives collated batches; its dataset has ``metainfo``.
        protocol: by whose rules, see `PROTOCOLS`.
        dtype: of autocast; None for full precision.
        heads: those evaluated; None for all that the protocol is for.
        metrics: what is counted; the networks that it needs are read here.
        watch: called around each batch, such as by the progress bar of a runner.

    Attributes:
        evaluations: "rgb+depth" to head to its counts and scores, in the order evaluated.
        speed: of the first evaluation: `images_per_second`, of this process from the first batch's loading to the
            scores, and `metric_share`, the part of that time spent on counting and scoring.

    Raises:
        ValueError: see `Predictor`, `Metrics.check` and the tasks' counters.
        OSError: a file of a network that a counter needs.
    """

    def __init__(
        self,
        model: MultimodalModel,
        loader: DataLoader[Batch],
        *,
        protocol: str | Rules = "rgbx",
        dtype: torch.dtype | None = None,
        heads: Sequence[str] | None = None,
        metrics: Metrics | None = None,
        watch: Callable[[Iterable[Batch]], Iterable[Batch]] = iter,
    ) -> None:
        self.model, self.loader, self.dtype, self.heads, self.watch = model, loader, dtype, heads, watch
        if getattr(loader.dataset, "frame_sets", None) is not None and loader.batch_size is not None:
            plain: Any = getattr(loader.collate_fn, "collate", loader.collate_fn)
            loader.collate_fn = Runs(plain)
        self.metrics = Metrics(table=False) if metrics is None else metrics
        predictor = Predictor(model, protocol, heads=heads)
        self.tasks, self.protocol = predictor.tasks, predictor.protocol
        self.metrics.check(self.tasks)
        model.data_preprocessor.describe(self.whole_dataset.metainfo.get("maps", {}))
        self.counters = self.counters_of(self.metrics)
        self.evaluations: dict[str, Evaluations] = {}
        self.speed: dict[str, float] = {}

    @property
    def dataset(self) -> Any:
        """The dataset as it is evaluated."""
        return self.loader.dataset

    @property
    def whole_dataset(self) -> Any:
        """The dataset, of which `EveryKth` takes a part."""
        return self.dataset.dataset if isinstance(self.dataset, EveryKth) else self.dataset

    @property
    def headline(self) -> Subset:
        """The subset that was evaluated first."""
        return tuple(next(iter(self.evaluations)).split("+"))

    @property
    def joint(self) -> list[str] | None:
        """The names to predict where the ensemble's scores are all that counts; None for all, which others may need."""
        return [ENSEMBLE] if all(isinstance(task, (Classes, Map)) for task in self.tasks.values()) else None

    def counters_of(self, metrics: Metrics) -> dict[str, Counter]:
        """What counts the predictions of each head on this dataset."""
        return metrics.counters(self.tasks, self.protocol, self.whole_dataset.metainfo)

    def frames(self) -> list[str]:
        """See `frame_key`: of each image, in the dataset's order; equal in every session, wherever the files lie."""
        head, evaluation = next(iter(next(iter(self.evaluations.values())).items()))
        return [frame_key(image, self.counters[head]) for image in evaluation.images]

    def check_subsets(self, subsets: Sequence[Subset]) -> None:
        """Refuses modalities before an hour of evaluation.

        Raises:
            ValueError: one that the model does not know, or that neither the dataset nor its transforms have.
        """
        for subset in subsets:
            self.predictor(subset)
            missing = set(subset) - set(self.whole_dataset.metainfo["modalities"])
            if missing and not missing <= set(self.dataset[0]):
                raise ValueError(f"the test dataset does not have the modalities {sorted(missing)}")

    def predictor(
        self,
        modalities: Sequence[str] | None = None,
        spoil: Spoil | None = None,
        names: Sequence[str] | None = None,
    ) -> Predictor:
        """What predicts from these modalities, by default all, which `spoil` may damage; `names` see `Predictor`."""
        rules: dict[str, Any] = {"dtype": self.dtype, "heads": self.heads, "names": names, "spoil": spoil}
        return Predictor(self.model, self.protocol, modalities=modalities, **rules)

    def evaluate(self, modalities: Sequence[str] | None = None, observers: Sequence[Observer] = ()) -> Evaluations:
        """Evaluates one subset of the modalities, by default all, and keeps what was counted."""
        names = tuple(self.model.modalities if modalities is None else modalities)
        found, speed = self.count(self.loader, names, self.counters, observers)
        self.evaluations["+".join(names)] = found
        self.speed = self.speed or speed
        return found

    @property
    def hallucinated(self) -> dict[str, list[str]]:
        """What the model filled in itself, by the subset of modalities that it was given; only where it did."""
        found = {subset: list(self.model.hallucinated(subset.split("+"))) for subset in self.evaluations}
        return {subset: names for subset, names in found.items() if names}

    @cached_property
    def _sets(self) -> dict[str, str]:
        """What each frame has, "rgb+depth", by its `sample_id`; nothing where all have all."""
        whole = self.whole_dataset
        if getattr(whole, "frame_sets", None) is None:
            return {}
        found = by_set(whole.frame_sets, whole.modalities)
        return {whole.name_of(at): "+".join(names) for names, positions in found.items() for at in positions.tolist()}

    def by_set(self, head: str) -> dict[str, Evaluation]:
        """The first evaluation of a head, split by what the frames have, "rgb+depth"; nothing where all have all."""
        images = next(iter(self.evaluations.values()))[head].images if self._sets else ()
        parts: dict[str, list[Any]] = {name: [] for name in dict.fromkeys(self._sets.values())}
        for image in images:
            parts[self._sets[image.sample_id]].append(image)
        return {name: self.counters[head].evaluation(part) for name, part in parts.items() if part}

    def reports(self) -> dict[str, str]:
        """Head to a table for the terminal of what was evaluated, see `titled`."""
        subsets = {
            head: {
                subset: {name: found[head].scores(name) for name in found[head].names}
                for subset, found in self.evaluations.items()
            }
            for head in self.counters
        }
        told = {head: self.counters[head].report(titled(found, self.hallucinated)) for head, found in subsets.items()}
        return {head: "\n".join(filter(None, [text, self._told_by_set(head)])) for head, text in told.items()}

    def _told_by_set(self, head: str) -> str:
        """The first score of the frames of each set, a line each, and which subsets were not given all frames."""
        lines = []
        for name, found in self.by_set(head).items():
            score = found.table[0]
            value = shown(score, found.scores(ENSEMBLE)[score.name])
            title = " + ".join(map(modality_title, name.split("+")))
            count = len(found.images)
            lines.append(f"{score.name} of the {count} frame{'s' * (count > 1)} with {title}: {value}")
        total = len(self.dataset)
        for subset, evaluations in self.evaluations.items() if self._sets else ():
            if (count := len(evaluations[head].images)) < total:
                names = " nor ".join(map(modality_title, subset.split("+")))
                lines.append(f"{total - count} of {total} frames have no {names} and do not count there")
        return "\n".join(lines)

    def count(
        self,
        loader: DataLoader[Batch],
        modalities: Subset,
        counters: Mapping[str, Counter],
        observers: Sequence[Observer] = (),
        spoil: Spoil | None = None,
        names: Sequence[str] | None = None,
    ) -> tuple[Evaluations, dict[str, float]]:
        """Evaluates another loader's samples, whose order and number are this one's; returns also the speed."""
        records: dict[str, list[Any]] = {head: [] for head in counters}
        start, scoring, count, dataset = _now(), 0.0, 0, loader.dataset
        for found, spent in self.counted(loader, modalities, counters, observers, spoil, names):
            for head, own in found.items():
                records[head].extend(own)
            scoring += spent
            count += len(next(iter(found.values())))
        before = _now()
        size = len(dataset)  # type: ignore[arg-type]
        gathered = {head: gather_images(own, size) for head, own in records.items()}
        if not all(gathered.values()):
            raise ValueError("nothing was evaluated: the dataset is empty")
        evaluations = {head: counters[head].evaluation(images) for head, images in gathered.items()}
        metrics_of(evaluations)
        end = _now()
        return evaluations, speed_of(count, end - start, scoring + end - before)

    def counted(
        self,
        loader: DataLoader[Batch],
        modalities: Subset,
        counters: Mapping[str, Counter],
        observers: Sequence[Observer] = (),
        spoil: Spoil | None = None,
        names: Sequence[str] | None = None,
    ) -> Iterator[tuple[dict[str, list[Any]], float]]:
        """What is counted of each batch of a loader, head by head, and the seconds of the counting."""
        predictor = self.predictor(modalities, spoil, names)
        keep = counters is self.counters and bool(self.metrics.options.get("calibration"))
        self.model.eval()
        for observer in observers:
            observer.start(len(loader.sampler), modalities)  # type: ignore[arg-type]  # of several processes, its share
        for batch in self._batches(loader, modalities):
            outputs = predictor(batch, keep_confidence=keep)
            before = _now()
            found: dict[str, list[Any]] = {head: [] for head in counters}
            for position, output in enumerate(outputs):
                sizes = file_sizes(batch, position)
                for head, counter in counters.items():
                    found[head].append(counter.count(output["sample_id"], output["heads"][head], sizes))
            yield found, _now() - before
            for observer in observers:
                observer.see(batch, outputs)

    def _batches(self, loader: DataLoader[Batch], modalities: Subset) -> Iterator[Batch]:
        """The batches of a loader; of frames that differ in what they have, those with some of the modalities."""
        for given in self.watch(loader):
            for batch in given if isinstance(given, list) else [given]:
                if not isinstance(given, list) or any(name in batch for name in modalities):
                    yield batch

    def count_share(self, parts: Parts, subsets: Sequence[Subset]) -> None:
        """Counts the images of one of several jobs that this one has not yet counted.

        Raises:
            ValueError: a loader with a sampler of its own, of which no share can be taken, or frames that differ in
                what they have.
        """
        if self._sets:
            raise ValueError("--shard needs frames that all have the same; these differ in what they have")
        if not isinstance(self.loader.sampler, EpochSampler) or self.loader.batch_size is None:
            raise ValueError(
                f"--shard needs test_dataloader.sampler=dict(type=EpochSampler, shuffle=False) and a batch_size, found "
                f"{type(self.loader.sampler).__name__}"
            )
        every = self.dataset.every if isinstance(self.dataset, EveryKth) else 1
        for number, subset in enumerate(subsets):
            done = parts.done(number)
            if done < parts.share(parts.number):
                first = parts.number - 1 + done * parts.shards
                share = EveryKth(self.whole_dataset, every * parts.shards, every * first)
                sampler = copy.copy(self.loader.sampler)
                sampler.dataset = share
                parts.write(number, done, self._counts(loader_like(self.loader, share, sampler), subset))

    def _counts(self, loader: DataLoader[Batch], subset: Subset) -> Iterator[Counts]:
        start = _now()
        for found, spent in self.counted(loader, subset, self.counters):
            end = _now()
            yield Counts(found, end - start, spent)
            start = end

    def merge(self, parts: Parts, subsets: Sequence[Subset]) -> None:
        """Takes what all jobs have counted for its own evaluations."""
        for number, subset in enumerate(subsets):
            records, seconds, scoring = parts.gather(number)
            if not all(records.values()):
                raise ValueError("nothing was evaluated: the dataset is empty")
            found = {head: self.counters[head].evaluation(images) for head, images in records.items()}
            self.evaluations["+".join(subset)] = found
            self.speed = self.speed or speed_of(parts.images, seconds, scoring)


def speed_of(count: int, seconds: float, scoring: float) -> dict[str, float]:
    """See `Session.speed`, of so many images."""
    return {"images_per_second": count / seconds, "metric_share": scoring / seconds}


def loader_like(
    loader: DataLoader[Batch], dataset: Dataset[Sample], sampler: Sampler[SampleKey] | None = None
) -> DataLoader[Batch]:
    """A loader with another's batches and workers.

    Args:
        loader: the other.
        dataset: what is loaded.
        sampler: its order; None is for a dataset of the same length, in the very batches of the other.
    """
    order: dict[str, Any] = {"batch_size": loader.batch_size, "sampler": sampler}
    return DataLoader(
        dataset,
        num_workers=loader.num_workers,
        collate_fn=loader.collate_fn,
        pin_memory=loader.pin_memory,
        worker_init_fn=loader.worker_init_fn,
        multiprocessing_context=loader.multiprocessing_context,
        generator=loader.generator,
        **({"batch_sampler": loader.batch_sampler} if sampler is None else order),
    )


def _now() -> float:
    if torch.cuda.is_available():  # kernels run on after their call returns
        torch.cuda.synchronize()
    return time.perf_counter()
