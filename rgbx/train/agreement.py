"""Whether several processes train the same model on the same data: asked before anything is trained."""

from __future__ import annotations

import hashlib
import os
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.dist import all_gather_object
from torch.utils.data import Dataset

import rgbx
from rgbx._processes import process_count
from rgbx._types import Batch
from rgbx.datasets import CachedFrames, DenseDataset, EveryKth
from rgbx.datasets.files import FileDataset
from rgbx.datasets.shards import ShardedDataset
from rgbx.train.changes import begins, flat_config
from rgbx.train.distributed import finish_together
from rgbx.train.flat import Flat

MOST_SAMPLES = 256  # of a dataset whose names and sizes are compared
TAIL = 1 << 16  # bytes of a checkpoint's end, where its directory with all check sums lies
NOTHING = "nothing"
OWN_PATHS = ("load_from", "resume", "data_root")  # of the config, that may be other ones on each machine


def check_agreement(what: str, statements: Mapping[str, str]) -> None:
    """Compares what all processes say, to be called by all alike.

    Args:
        what: is compared, for the message.
        statements: of this process, by their names.

    Raises:
        ValueError: they differ; in all processes, with the first name whose values differ, and who says what.
    """
    if process_count() == 1:
        return
    text = repr(sorted(statements.items()))
    if len(set(all_gather_object(hashlib.sha256(text.encode()).hexdigest()))) == 1:
        return
    everyones = all_gather_object(dict(statements))
    hosts = all_gather_object(socket.gethostname())
    finish_together()
    names = [name for one in everyones for name in one]
    name = next(name for name in names if len({one.get(name, NOTHING) for one in everyones}) > 1)
    by_value: dict[str, list[str]] = {}
    for rank, (one, host) in enumerate(zip(everyones, hosts, strict=True)):
        by_value.setdefault(one.get(name, NOTHING), []).append(f"{rank} on {host}")
    told = "; ".join(f"{value} in process {', '.join(who)}" for value, who in by_value.items())
    count = len({name for name in names if len({one.get(name, NOTHING) for one in everyones}) > 1})
    others = f", and {count - 1} more differ" if count > 1 else ""
    raise ValueError(f"the processes differ in {what}, {name}: {told}{others}; expected the same in all")


def run_statements(config: Config, checkpoint: Path | None) -> Flat:
    """What a process is about to train by: versions, the checkpoint it goes on from, every value of its config.

    Roots of datasets and the work directory are left out: machines may have their data in other places.
    """
    own = {
        "version of rgbx": rgbx.__version__,
        "version of torch": torch.__version__,
        "checkpoint to start from": NOTHING if checkpoint is None else _checkpoint(checkpoint),
    }
    values = sorted(flat_config(config).items())
    return own | {path: x for path, x in values if path.rpartition(".")[2] != "root" and not begins(path, OWN_PATHS)}


def _checkpoint(path: Path) -> str:
    """A checkpoint by its name, its size and the digest of its end; not by its folder."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - TAIL))
            return f"{path.name} of {size} bytes, {hashlib.sha256(file.read()).hexdigest()[:16]}"
    except OSError as error:
        return f"{path.name}, which cannot be read ({error.strerror})"


def data_statements(datasets: Mapping[str, Dataset[Batch]]) -> Flat:
    """What datasets are made of, wherever they lie: their lengths, and names and file sizes of up to 256 samples each.

    Of shards it is the digest of all that the manifest says of them.

    Args:
        datasets: by the names of their loaders.
    """
    return {f"{name}: {key}": value for name, dataset in datasets.items() for key, value in _statements(dataset)}


def _statements(dataset: Dataset[Batch]) -> Iterator[tuple[str, str]]:
    total: int = len(dataset)  # type: ignore[arg-type]
    yield "number of samples", str(total)
    first, every = 0, 1
    while isinstance(dataset, (CachedFrames, EveryKth)):
        if isinstance(dataset, EveryKth):
            first, every = dataset.first + first * dataset.every, every * dataset.every
        dataset = dataset.dataset
    yield "part", f"from sample {first}, every {every}"
    if isinstance(dataset, ShardedDataset):
        told = "".join(f"{shard.sha256} {shard.name}\n" for shard in dataset.packed.shards)
        yield "shards", f"{len(dataset.packed.shards)} of digest {hashlib.sha256(told.encode()).hexdigest()[:16]}"
        return
    if not isinstance(dataset, DenseDataset):
        return
    count = min(MOST_SAMPLES, total)
    for number in range(count):
        position = number * total // count
        index = first + every * position
        yield f"sample {position}", ", ".join([dataset.name_of(index), *_sizes(dataset, index)])


def _sizes(dataset: DenseDataset, index: int) -> Iterator[str]:
    """How large the files behind a sample are, where it has files of its own."""
    if isinstance(dataset, FileDataset):
        for name, path in dataset.files_of(dataset.frames[index]).items():
            try:
                yield f"{name} {path.stat().st_size} bytes"
            except OSError as error:
                yield f"{name} {error.strerror}"
