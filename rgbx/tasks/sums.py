"""Tasks whose scores follow from sums over the images: all that a task of one's own usually needs to count."""

from __future__ import annotations

import hashlib
import json
import math
import reprlib
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from rgbx._protocol import Protocol
from rgbx._types import Meta
from rgbx.tasks.base import Counter, Evaluation, Prediction, Target, Task, ensemble_first
from rgbx.tasks.records import check_record
from rgbx.tasks.score import Score


class SumTask(Task):
    """A task that measures each image by numbers which add up over a dataset, and scores their sums."""

    @abstractmethod
    def measure(
        self,
        values: Tensor,  # [...] of one branch, as `finish` gives it
        target: Target,  # of the same image
    ) -> dict[str, float]:
        """What is added up over the images, such as counts of right pixels and of all."""

    @abstractmethod
    def scores_of(self, sums: Mapping[str, float]) -> dict[str, float]:
        """The scores of `table`, by name, from the sums."""

    def counter(self, protocol: Protocol, meta: Meta, **options: Any) -> Counter:
        """Measures every prediction of every image."""
        return SumCounter(self, self.table(meta, **options))


@dataclass(slots=True)
class ImageSums:
    """What was measured of one image.

    Attributes:
        sample_id: the dataset's name of the image.
        sums: per prediction the numbers that add up.
        file_sizes: bytes of each file the image was read from.
        truth: SHA-256 of the target and of where it is valid.
    """

    sample_id: str
    sums: dict[str, dict[str, float]]
    file_sizes: dict[str, int] = field(default_factory=dict)
    truth: str = ""


class SumCounter(Counter):
    """Measures by the task's `measure`."""

    records = (ImageSums,)

    def __init__(self, task: SumTask, table: tuple[Score, ...]) -> None:
        self.task, self.table = task, table

    def count(self, sample_id: str, found: Prediction, file_sizes: dict[str, int]) -> ImageSums:
        """The sums of one image."""
        if found.target is None:
            raise ValueError(f"sample {sample_id!r} has no {self.task.target!r} to score against")
        target = Target(found.target, found.valid)
        sums = {name: self.task.measure(values, target) for name, values in found.prediction.items()}
        return ImageSums(sample_id, sums, file_sizes, _digest(target))

    def check(self, record: object) -> None:
        """That all sums are numbers."""
        super().check(record)
        assert isinstance(record, ImageSums)
        check_record(record, record.sums)
        for name, sums in record.sums.items():
            if not isinstance(sums, dict) or not all(type(x) in (int, float) for x in sums.values()):
                raise ValueError(f"{record.sample_id}: sums of {name} are {reprlib.repr(sums)}; expected numbers")

    def evaluation(self, records: Sequence[ImageSums]) -> Evaluation:
        """The scores of all images."""
        return SumEvaluation(records, self.task, self.table)


@dataclass(frozen=True)
class SumEvaluation(Evaluation):
    """Sums and scores of a dataset."""

    images: Sequence[ImageSums]
    task: SumTask
    table: tuple[Score, ...]

    @property
    def names(self) -> list[str]:
        """The predictions, the ensemble first."""
        return ensemble_first(name for image in self.images for name in image.sums)

    def scores(self, name: str) -> dict[str, Any]:
        """Of one prediction; numbers are rounded once at the end, so that the order of images does not matter."""
        parts = [image.sums[name] for image in self.images if name in image.sums]
        return self.task.scores_of({key: math.fsum(part[key] for part in parts) for key in parts[0]})

    def image_scores(self, record: ImageSums) -> dict[str, Any]:
        """Scores of one image's ensemble."""
        return self.task.scores_of(record.sums[ensemble_first(record.sums)[0]])

    def about(self) -> dict[str, Any]:
        """The target's name."""
        return {"name": self.task.target}

    def fingerprint(self) -> str:
        """SHA-256 over the target's name and, image by image, id, file sizes and truth."""
        digest = hashlib.sha256(json.dumps([self.task.kind, self.task.target]).encode())
        for image in self.images:
            digest.update(json.dumps([image.sample_id, sorted(image.file_sizes.items()), image.truth]).encode())
        return digest.hexdigest()


def _digest(target: Target) -> str:
    parts = [x.detach().cpu().contiguous() for x in target if x is not None]
    digest = hashlib.sha256(json.dumps([[str(x.dtype), list(x.shape)] for x in parts]).encode())
    for x in parts:
        digest.update(x.numpy().tobytes())
    return digest.hexdigest()
