"""Shards as a dataset: any sample by its position, and an order of an epoch that reads shards one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rgbx._text import nearest
from rgbx.datasets.listing import Holdout, holdout_positions
from rgbx.datasets.sample import DenseDataset, Sample, Transforms
from rgbx.datasets.shards.archive import Record
from rgbx.datasets.shards.manifest import read_manifest, split_of
from rgbx.datasets.shards.packing import Unpacker
from rgbx.datasets.shards.reader import ShardReader
from rgbx.datasets.shards.store import open_store
from rgbx.maps import Encoding

SHUFFLE_BUFFER = 10_000


class ShardedDataset(DenseDataset):
    """The samples of a dataset that `rgbx prepare shards` wrote, bit for bit as that dataset reads them.

    A sample is one read of a range of bytes; nothing is unpacked to a disk. Every read compares CRC-32 sums, so that a
    damaged shard is an error that names the shard, the sample and the byte. Indexes are compared with the SHA-256 in
    the manifest. `sha256sum -c checksums.sha256` in the folder compares all shards.

    Args:
        root: the folder, or its URL as fsspec takes it: `s3://bucket/folder`, `https://host/folder`. A URL is one
            request per sample; with `simplecache::` before it each machine fetches whole shards, once.
        split: one of the manifest's.
        modalities: some of the packed ones; None takes all. The others are fetched, and not decoded.
        targets: those to translate to; None takes those of the dataset that was packed.
        holdout: see `rgbx.datasets.listing.holdout_indices`, for a dataset without a validation split.
        shuffle_buffer: how far from its place in the order of the shards a sample may come in an epoch, see
            `epoch_order`.
        transforms: see `DenseDataset`.

    Raises:
        FileNotFoundError: no manifest there, or in a folder one of the shards is not.
        ValueError: another file, no such split, a shard of another size than was written, or a modality that was not
            packed.
    """

    def __init__(
        self,
        root: str | Path,
        split: str = "train",
        *,
        modalities: Sequence[str] | None = None,
        targets: Sequence[str] | None = None,
        holdout: Holdout = None,
        shuffle_buffer: int = SHUFFLE_BUFFER,
        transforms: Transforms = (),
    ) -> None:
        if type(shuffle_buffer) is not int or shuffle_buffer < 1:
            raise ValueError(f"shuffle_buffer must be a whole number >= 1, found {shuffle_buffer!r}")
        store = open_store(root)
        self.packed = split_of(read_manifest(store), split, store.path(""))
        names = tuple(self.packed.encodings) if modalities is None else modalities
        if unknown := [name for name in names if name not in self.packed.encodings]:
            near = nearest(unknown[0], self.packed.encodings)
            raise ValueError(f"{store.root} has the modalities {list(self.packed.encodings)}, found {unknown}{near}")
        kept = tuple(name for name in self.packed.targets if name in names) if targets is None else targets
        super().__init__(
            modalities=names,
            classes=self.packed.classes,
            palette=self.packed.palette,
            transforms=transforms,
            maps={name: item.spec for name, item in self.packed.encodings.items()},
            targets=kept,
        )
        self.root, self.split, self.shuffle_buffer = store.root, split, shuffle_buffer
        self.reader = ShardReader(store, self.packed)
        if not len(self.reader):
            raise ValueError(f"{store.root}, split {split}: no samples")
        self.reader.check_sizes()
        self._chosen = None if holdout is None else holdout_positions(len(self.reader), holdout)
        self._unpacker = Unpacker(self.packed, self.modalities)

    @property
    def metainfo(self) -> dict[str, Any]:
        """That of the dataset that was packed, with these modalities, targets and transforms."""
        meta, own = {**super().metainfo, **self.packed.more}, self.packed.own
        if own is None:
            return meta
        told = {name: item for name, item in self.packed.encodings.items() if name in self.modalities and _tells(item)}
        return {**meta, "stored": {name: None if name in own else item.as_dict() for name, item in told.items()}}

    @property
    def clip_lengths(self) -> dict[str, int]:
        """See `DenseDataset.clip_lengths`."""
        return {name: count for name, count in self.packed.clips.items() if name in self.modalities}

    def __len__(self) -> int:
        return len(self.reader) if self._chosen is None else len(self._chosen)

    def position(self, index: int) -> int:
        """The position in the split of a sample of this part of it."""
        return index if self._chosen is None else int(self._chosen[index])

    def name_of(self, index: int) -> str:
        """See `DenseDataset.name_of`; read from the index of its shard."""
        return self.reader.sample_id(self.position(index))

    def read(self, index: int) -> Sample:
        """The sample as the dataset that was packed reads it; `paths` are `SHARD!MEMBER`, which no file has."""
        sample = self._unpacker.unpack(*self.reader.members(self.position(index)))
        if missing := [name for name in self.modalities if name not in sample]:
            raise ValueError(f"{self.root}: sample {sample['sample_id']!r} has no member for {missing}")
        return sample

    @property
    def repacks(self) -> bool:
        """Whether samples can be packed anew as they are: all that was packed of each is asked for."""
        return self.modalities == tuple(self.packed.encodings) and self.targets == tuple(self.packed.targets)

    def packed_sample(self, index: int) -> tuple[Record, dict[str, bytes]]:
        """A sample's record and its members by their endings, as they are in the shard."""
        record, files, _ = self.reader.members(self.position(index))
        return record, files

    def read_alone(self, index: int, name: str) -> Sample:
        """One map of a sample, or its label, with its masks; the others are not decoded. Nothing where it has none."""
        sample = self._unpacker.unpack(*self.reader.members(self.position(index)), only=[name])
        return sample if name in sample else {}

    def encode_label(self, label: np.ndarray) -> np.ndarray:
        """Train ids, uint8 [H, W], as the files of the dataset that was packed store them.

        Raises:
            ValueError: that dataset could not tell.
        """
        if self.packed.written is None:
            raise ValueError(f"{self.root}: how the files of the dataset that was packed store labels is not known")
        table = np.array(self.packed.written)
        return table.astype(np.uint8 if table.max() <= 255 else np.uint16)[label]

    def epoch_order(self, rng: np.random.Generator) -> np.ndarray:
        """The order of an epoch, int64 [N]: shards in any order, and samples mixed within `shuffle_buffer`.

        The sample at place p of the shards' order gets the key p + u * `shuffle_buffer` with u from [0, 1), and keys
        are sorted. So none comes before one that lies `shuffle_buffer` places ahead of it, and only as many shards are
        read at a time as so many samples lie in, and one. A split that has no more samples is shuffled wholly.
        """
        count = len(self)
        if count <= self.shuffle_buffer:
            return rng.permutation(count)
        ends = self.reader.ends
        bounds = ends if self._chosen is None else np.searchsorted(self._chosen, ends)
        order = rng.permutation(len(ends) - 1)
        sizes = np.diff(bounds)[order]
        starts = np.cumsum(sizes) - sizes
        layout = np.arange(count) + np.repeat(bounds[:-1][order] - starts, sizes)
        keys = rng.random(count)
        keys *= self.shuffle_buffer
        keys += np.arange(count)
        return layout[np.argsort(keys, kind="stable")]


def _tells(encoding: Encoding) -> bool:
    """Whether the files of a map need words, see `FileDataset.metainfo`."""
    return encoding.unit not in ("rgb8", "encoded") or bool(encoding.key)
