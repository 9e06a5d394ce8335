"""A dataset as shards: whole ones, with their checksums, and the manifest when all of a split are there."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from rgbx.datasets.files import FileDataset
from rgbx.datasets.fingerprint import dataset_fingerprint
from rgbx.datasets.frames import ids_of
from rgbx.datasets.layouts.recognition import recognise
from rgbx.datasets.layouts.table import SHARDED
from rgbx.datasets.prepare.notes import read_notes
from rgbx.datasets.prepare.output import Content, Job, Preparation, Summary, write_preparation
from rgbx.datasets.sample import DenseDataset
from rgbx.datasets.shards.archive import index_name, packed_shard
from rgbx.datasets.shards.manifest import MANIFEST, Shard, read_manifest, write_manifest
from rgbx.datasets.shards.packing import Packer

MEBIBYTE = 1 << 20
SHARD_MB = 256
_WEIGHED = 32  # samples, evenly spread, by which a shard's number of samples is chosen


@dataclass(frozen=True)
class Sources:
    """The files behind some samples, listed when they are asked for.

    Attributes:
        packer: of the dataset.
        positions: of the samples.
    """

    packer: Packer
    positions: range

    def __iter__(self) -> Iterator[Path]:
        return (path for index in self.positions for path in self.packer.sources(index))


def write_shards(
    folder: str | Path,
    datasets: Mapping[str, DenseDataset],
    source: str | Path,
    *,
    shard_mb: float = SHARD_MB,
    workers: int = 0,
    uncompressed: bool = False,
    jpeg: int | None = None,
) -> Summary:
    """Writes splits as shards, each split's after the other's, and after each the manifest.

    Args:
        folder: made if it is not there. Shards of earlier runs are kept if they are unchanged and were made of the same
            samples; other splits of the manifest stay in it.
        datasets: by the names of the splits; of one that has several ("val, test") the first names its folder.
        source: the folder or the config that they are of, for messages.
        shard_mb: about how many MiB a shard has; all of a split have equally many samples, but for the last.
        workers: further processes that pack; 0 packs in this one.
        uncompressed, jpeg: see `Packer`.

    Returns:
        What was written, of all splits together.

    Raises:
        FileExistsError: see `write_preparation`; also further shards of an earlier run, or a folder of another layout.
        OSError, ValueError: see `write_preparation`, `Packer` and `Packer.pack`.
    """
    folder = Path(folder)
    _check_own(folder, Path(source))
    splits = read_manifest(folder) if (folder / MANIFEST).exists() else {}
    done = Summary(0, 0)
    for names, dataset in datasets.items():
        name, *others = names.split(", ")
        packer = Packer(dataset, uncompressed=uncompressed, jpeg=jpeg)
        ranges = shard_ranges(packer, shard_mb)
        preparation = _preparation(name, packer, ranges, Path(source))
        _check_left(folder, name, preparation)
        found = write_preparation(folder, preparation, workers=workers)
        split = dataclasses.replace(packer.split, shards=_written(folder, name, ranges))
        splits |= dict.fromkeys((name, *others), split)
        write_manifest(folder, splits)
        done = Summary(done.written + found.written, done.kept + found.kept, 0, done.compared + found.compared)
    return done


def _check_own(folder: Path, source: Path) -> None:
    """Refuses a folder that is a dataset without shards already: with them nobody could tell which one is meant."""
    if not folder.is_dir():
        return
    layouts = [f"it is {found}" for found in recognise(folder) if found.layout is not SHARDED]
    if not layouts and folder.resolve() == source.resolve():
        layouts = ["it is the one to pack"]
    if layouts:
        raise FileExistsError(
            f"{folder} is a dataset's own folder, which shards would make ambiguous ({layouts[0]}): use another one"
        )


def shard_ranges(packer: Packer, shard_mb: float = SHARD_MB) -> list[range]:
    """The samples of each shard, so that a shard has about so many MiB.

    Raises:
        OSError, ValueError: samples that are weighed and cannot be packed.
    """
    count = len(packer.dataset)
    weighed = np.unique(np.linspace(0, count - 1, _WEIGHED).astype(int)).tolist()
    total = sum(len(packed_shard([packer.pack(index)])[0]) for index in weighed)
    each = max(1, round(shard_mb * MEBIBYTE * len(weighed) / total))
    return [range(begin, min(begin + each, count)) for begin in range(0, count, each)]


def shard_name(split: str, number: int) -> str:
    """The name of a split's shard, relative to the folder."""
    return f"{split}/{number:06d}.tar"


def _preparation(split: str, packer: Packer, ranges: Sequence[range], source: Path) -> Preparation:
    dataset = packer.dataset
    told = packer.split.as_dict()
    told["dataset"] = "" if isinstance(dataset, FileDataset) else dataset_fingerprint(dataset)
    told |= {"uncompressed": True} if packer.uncompressed else {}  # earlier runs do not tell it
    told |= {} if packer.jpeg is None else {"jpeg": packer.jpeg}
    jobs = []
    for number, positions in enumerate(ranges):
        name = shard_name(split, number)
        names = (index_name(name), name)
        options = {"samples": len(positions), "ids": _ids(dataset, positions)}
        jobs.append(Job(names, partial(_content, packer, positions, names), Sources(packer, positions), options))
    return Preparation("shards", source, jobs, {"split": split, **told}, unit="shard")


def _check_left(folder: Path, split: str, preparation: Preparation) -> None:
    """Refuses shards that an earlier run wrote and this one would not, which no manifest would name."""
    names = {name for job in preparation.jobs for name in job.names}
    known = read_notes(folder).files
    left = [n for n in known if n.startswith(f"{split}/") and n not in names and (folder / n).exists()]
    if left:
        raise FileExistsError(
            f"{folder} has {left[0]} of an earlier run, which {preparation.origin} does not give now: use another "
            "output folder"
        )


def _ids(dataset: DenseDataset, positions: range) -> str:
    """A digest of the samples' names, where they are known without reading the samples."""
    if not isinstance(dataset, FileDataset):
        return ""
    names = ids_of(dataset.frames[positions.start : positions.stop])
    return hashlib.sha256("\0".join(names).encode("utf-8", "surrogatepass")).hexdigest()


def _content(packer: Packer, positions: range, names: Sequence[str]) -> Mapping[str, Content]:
    shard, index = packed_shard(map(packer.pack, positions))
    return dict(zip(names, (Content(index), Content(shard)), strict=True))


def _written(folder: Path, split: str, ranges: Sequence[range]) -> list[Shard]:
    """What the notes and the disk say of a split's shards."""
    notes = read_notes(folder).files
    shards = []
    for number, positions in enumerate(ranges):
        name = shard_name(split, number)
        size = (folder / name).stat().st_size
        shards.append(Shard(name, len(positions), size, notes[name].sha256, notes[index_name(name)].sha256))
    return shards
