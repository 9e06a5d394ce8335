"""What an evaluation counts, head by head, and the scores as logs and checkpoints name them."""

from __future__ import annotations

import hashlib
import itertools
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch.distributed

from rgbx._protocol import Protocol as Rules
from rgbx._text import nearest
from rgbx._types import Batch, Meta
from rgbx.tasks import ENSEMBLE, Counter, Evaluation, Score, Task

Evaluations = dict[str, Evaluation]  # head to what was counted


class HasId(Protocol):
    """What is known of one image."""

    sample_id: str


Counted = TypeVar("Counted", bound=HasId)


class Metrics:
    """What to count of every head; the evaluator of a config.

    Args:
        table: print a table of each head after an evaluation.
        options: of the tasks' counters: ``boundary`` and ``calibration`` of classes, ``fid`` and ``lpips`` of maps; a
            head whose task has none of that name does without.
    """

    def __init__(self, table: bool = True, **options: Any) -> None:
        self.table, self.options = table, {key: value for key, value in options.items() if value not in (None, False)}

    def of(self, task: Task) -> dict[str, Any]:
        """The options that a task takes."""
        return {key: value for key, value in self.options.items() if key in task.options}

    def check(self, tasks: Mapping[str, Task]) -> None:
        """Refuses options that no head takes.

        Raises:
            ValueError: naming the option.
        """
        known = {option for task in tasks.values() for option in task.options}
        for option in self.options:
            if option not in known:
                kinds = ", ".join(sorted({task.kind for task in tasks.values()}))
                raise ValueError(
                    f"no head of this model (of task {kinds}) has the option {option!r}{nearest(option, known)}"
                )

    def counters(self, tasks: Mapping[str, Task], protocol: Rules, meta: Meta) -> dict[str, Counter]:
        """What counts the predictions of each head."""
        return {name: task.counter(protocol, meta, **self.of(task)) for name, task in tasks.items()}


def metrics_of(evaluations: Mapping[str, Evaluation]) -> dict[str, float]:
    """Scores as logs name them: ``mIoU`` of the ensemble, ``rgb/mIoU`` of a branch; of several heads ``HEAD/mIoU``."""
    found: dict[str, float] = {}
    for head, evaluation in evaluations.items():
        prefix = f"{head}/" if len(evaluations) > 1 else ""
        for name in evaluation.names:
            branch = "" if name == ENSEMBLE else f"{name}/"
            found |= {f"{prefix}{branch}{key}": value for key, value in evaluation.logged(name).items()}
    return found


def headlines(tasks: Mapping[str, Task], meta: Meta | None = None) -> dict[str, Score]:
    """The first score of each head, by the key that logs have for it."""
    prefixes = {name: f"{name}/" if len(tasks) > 1 else "" for name in tasks}
    tables = {name: task.table(meta) for name, task in tasks.items()}
    return {f"{prefixes[name]}{table[0].name}": table[0] for name, table in tables.items()}


def file_sizes(batch: Batch, position: int) -> dict[str, int]:
    """Bytes of the files of one sample of a collated batch; files that are not there are left out."""
    paths = batch.get("paths")
    if not isinstance(paths, Mapping):
        return {}
    files = {sys.intern(str(name)): Path(column[position]) for name, column in paths.items()}
    return {name: path.stat().st_size for name, path in files.items() if path.is_file()}


def frame_key(image: HasId, counter: Counter) -> str:
    """16 hexadecimal digits of a counted image: of its id and its files' sizes, or without files its truth."""
    sizes = getattr(image, "file_sizes", None)
    if not sizes:
        return counter.evaluation([image]).fingerprint()[:16]
    return hashlib.sha256(json.dumps([image.sample_id, sorted(sizes.items())]).encode()).hexdigest()[:16]


def gather_images(own: Sequence[Counted], size: int) -> list[Counted]:
    """The images of all processes, each once, in the dataset's order.

    Samplers deal images out in turn, and some give the last processes an image again to make their shares equal:
    such repetitions are recognised by their `sample_id` and left out.

    Args:
        own: what this process counted.
        size: length of the dataset.

    Raises:
        ValueError: images were repeated, but their ids do not tell which.
    """
    shares: list[Any] = [list(own)]
    if torch.distributed.is_initialized() and torch.distributed.get_world_size() > 1:
        shares = [None] * torch.distributed.get_world_size()
        torch.distributed.all_gather_object(shares, list(own))
    images = [image for turn in itertools.zip_longest(*shares) for image in turn if image is not None]
    if len(shares) == 1 or len(images) <= size:
        return images
    once: dict[str, Counted] = {}
    for image in images:
        once.setdefault(image.sample_id, image)
    if len(once) != size:
        raise ValueError(
            f"{len(images)} images were evaluated of a dataset of {size}, with {len(once)} different sample_id: "
            "repeated images can only be left out where every sample has an id of its own"
        )
    return list(once.values())
