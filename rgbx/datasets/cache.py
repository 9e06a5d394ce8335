"""Decoded frames kept in memory or on disk, so that files are decoded once and not once per epoch."""

from __future__ import annotations

import multiprocessing
import os
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from torch.utils.data import Dataset

from rgbx.datasets.files import FileDataset
from rgbx.datasets.fingerprint import FileStamps, dataset_fingerprint, file_stamps
from rgbx.datasets.frame_store import FolderStore, FrameStore, MemoryStore, decode_frame, encode_frame
from rgbx.datasets.rooms.dataset import SyntheticRooms
from rgbx.datasets.sample import Config, DenseDataset, Sample, build_from
from rgbx.datasets.sampler import shuffled
from rgbx.datasets.shards import ShardedDataset
from rgbx.datasets.subset import EveryKth

_GIB = 2**30
SHARE = 0.25  # of the free memory, that frames may take without being asked for
_WEIGHED = 8  # frames, evenly spread, by which all are judged
_SPARE = 1.2  # times what these say, as frames differ


class CachedFrames(DenseDataset):
    """A dataset whose frames are kept once they have been read; its transforms run at each visit as before.

    Put it around the dataset of a loader: `dict(type=CachedFrames, dataset=dict(type=NYUDv2Lists, ...))`. Frames are
    kept as they are visited, so the first epoch is as slow as without a cache.

    In memory, the workers of one process share the frames (by forking, the default on Linux); each process of a
    distributed run has its own. On disk, each dataset gets its own subfolder of `folder`, named by its fingerprint
    (class, arguments, list of frames, but not the transforms), so one folder serves all splits and other arguments
    never meet old frames; a frame is read anew when a file behind it has another size or modification time.
    Subfolders of datasets that are no longer used are left for you to delete.

    Arrays come read-only.

    Args:
        dataset: instance or dict(type=Class, **arguments); its transforms are taken over.
        folder: where to keep frames on disk; None keeps them in memory.
        memory_gib: most memory to use; None takes what all frames need, if they are all as large as the first.
            Frames beyond it are read from their files each time.
        check_files: compare sizes and times of the files behind a frame at each visit (disk only).

    Raises:
        ValueError: not enough memory for all frames, or a kept first frame that differs from the dataset's.
    """

    def __init__(
        self,
        dataset: DenseDataset | Config,
        *,
        folder: str | Path | None = None,
        memory_gib: float | None = None,
        check_files: bool = True,
    ) -> None:
        self.dataset: DenseDataset = build_from(dataset) if isinstance(dataset, dict) else dataset
        super().__init__(
            modalities=self.dataset.modalities,
            classes=self.dataset.classes,
            palette=self.dataset.palette,
            transforms=self.dataset.transforms,
            maps=self.dataset.maps,
            targets=self.dataset.targets,
        )
        self.provenance, self.missing = self.dataset.provenance, self.dataset.missing
        self.check_files = check_files and folder is not None
        self._warned = False
        first = self.dataset.read(0)
        self.store: FrameStore
        if folder is None:
            self.store = MemoryStore(len(self), _capacity(len(self), len(encode_frame(first)), memory_gib))
        else:
            name = f"{type(self.dataset).__name__}-{dataset_fingerprint(self.dataset)}"
            self.store = FolderStore(Path(folder) / name)
            self._check_first(first, Path(folder) / name)

    @property
    def metainfo(self) -> dict[str, Any]:
        """The wrapped dataset's."""
        return self.dataset.metainfo

    def __len__(self) -> int:
        return len(self.dataset)

    def epoch_order(self, rng: np.random.Generator) -> np.ndarray:
        """The order of an epoch, int64 [N]: the wrapped dataset's."""
        return shuffled(self.dataset, rng)

    @property
    def frame_sets(self) -> np.ndarray | None:
        """See `DenseDataset.frame_sets`."""
        return self.dataset.frame_sets

    def encode_label(self, label: np.ndarray) -> np.ndarray:
        """See `DenseDataset.encode_label`; uint8 [H, W]."""
        return self.dataset.encode_label(label)

    def prediction_name(self, sample_id: str) -> str:
        """See `DenseDataset.prediction_name`."""
        return self.dataset.prediction_name(sample_id)

    def read(self, index: int) -> Sample:
        """The frame from the cache, or from its files and then into the cache."""
        kept = self._kept(index)
        if kept is not None:
            return kept
        sample = self.dataset.read(index)
        if not self.store.put(index, encode_frame(sample, _stamps(sample))) and not self._warned:
            self._warned = True
            warnings.warn("CachedFrames: no room left; further frames are read from their files", stacklevel=2)
        return sample

    def _kept(self, index: int) -> Sample | None:
        block = self.store.get(index)
        if block is None:
            return None
        try:
            sample, stamps = decode_frame(block)
            if self.check_files and {path: list(stamp) for path, stamp in _stamps(sample).items()} != stamps:
                return None
        except ValueError:  # damaged on its disk: read anew, as if it were not there
            return None
        return sample

    def _check_first(self, first: Sample, folder: Path) -> None:
        kept = self._kept(0)
        if kept is None:
            return
        wrong = [key for key, value in first.items() if key not in kept or not np.array_equal(kept[key], value)]
        if wrong:
            raise ValueError(
                f"{folder}: {wrong} of the kept frame {kept['sample_id']!r} differ from what the dataset reads now, "
                "though its files are the same; has a reader changed? Delete this folder"
            )


class Keeping(NamedTuple):
    """What `keep_if_small` decides.

    Attributes:
        dataset: as given, or with frames that are kept.
        kept: whether they are.
        reason: a sentence.
    """

    dataset: Any
    kept: bool
    reason: str


def keep_if_small(dataset: Dataset[Sample], *, workers: int = 0, processes: int = 1) -> Keeping:
    """Keeps the decoded frames of a dataset in memory where all fit into `SHARE` of what is free.

    Only frames of files and shards and rendered rooms are kept, which are the same at each visit. Their size is that of
    a few, spread over the dataset; should they be larger after all, those that find no room are read from their files.

    Args:
        dataset: of a training; `EveryKth` of one, too, of which the frames that it takes count.
        workers: of its loader, which share frames where they are forked.
        processes: that train on this machine, each of which keeps frames of its own.
    """
    if isinstance(dataset, EveryKth):
        inner = _keep(dataset.dataset, len(dataset), workers, processes)
        found = EveryKth(inner.dataset, dataset.every, dataset.first) if inner.kept else dataset
        return inner._replace(dataset=found)
    return _keep(dataset, len(dataset), workers, processes)  # type: ignore[arg-type]


def _keep(dataset: Dataset[Sample], count: int, workers: int, processes: int) -> Keeping:
    if not isinstance(dataset, (FileDataset, ShardedDataset, SyntheticRooms)) or not _reads_as_ours(type(dataset)):
        return Keeping(dataset, False, f"nobody says that frames of a {type(dataset).__name__} stay the same")
    if workers and multiprocessing.get_start_method() != "fork":
        return Keeping(dataset, False, "workers that are not forked do not share memory")
    places = {round(i * (len(dataset) - 1) / (_WEIGHED - 1)) for i in range(_WEIGHED)}
    frame = sum(len(encode_frame(dataset.read(i))) for i in sorted(places)) / len(places) + 4096
    needed, free = _SPARE * frame * count * max(processes, 1), free_memory()
    told = f"{count} decoded frames take about {frame * count / _GIB:.2g} GiB"
    told += f" in each of {processes} processes" if processes > 1 else ""
    if needed > SHARE * free:
        return Keeping(dataset, False, f"{told}, more than {SHARE:.0%} of the {free / _GIB:.2g} GiB that are free")
    reason = f"{told}, of the {free / _GIB:.2g} GiB that are free"
    return Keeping(CachedFrames(dataset, memory_gib=_SPARE * frame * count / _GIB), True, reason)


def _reads_as_ours(kind: type) -> bool:
    """Whether a class reads its samples by methods of rgbx: one's own may draw what they give."""
    return all(getattr(kind, name).__module__.startswith("rgbx.") for name in ("__getitem__", "read"))


def free_memory() -> int:
    """Bytes that a process may still take, also in a container."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        free = 1024 * int(next(line.split()[1] for line in lines if line.startswith("MemAvailable")))
    except (OSError, StopIteration):
        free = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    try:
        limit, used = (int(Path("/sys/fs/cgroup", name).read_text()) for name in ("memory.max", "memory.current"))
        return min(free, limit - used)
    except (OSError, ValueError):
        return free


def _stamps(sample: Sample) -> FileStamps:
    return file_stamps(path for path in sample["paths"].values() if isinstance(path, str))


def _capacity(count: int, frame_bytes: int, memory_gib: float | None) -> int:
    """Bytes for all frames, checked against the machine's memory."""
    needed = (frame_bytes + 4096) * count  # file names differ in length
    if memory_gib is not None:
        if not memory_gib > 0:
            raise ValueError(f"memory_gib must be > 0, found {memory_gib}")
        return int(memory_gib * _GIB)
    available = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > 0.9 * available:
        raise ValueError(
            f"CachedFrames needs about {needed / _GIB:.1f} GiB for {count} frames; this machine has "
            f"{available / _GIB:.1f} GiB. Give folder= to keep them on disk, or memory_gib= to keep a part"
        )
    return needed
