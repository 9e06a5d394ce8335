"""Samples of a split's shards as they were packed: one range of bytes each, found by the indexes."""

from __future__ import annotations

import hashlib
import zlib
from collections import OrderedDict
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from rgbx._files import MOST_BYTES
from rgbx.datasets.shards.archive import RECORD, Member, Record, ShardIndex, index_name
from rgbx.datasets.shards.manifest import Shard, ShardSplit
from rgbx.datasets.shards.store import Store

_INDEXES = 64  # in memory; some 0.2 MB each of a thousand samples


class ShardReader:
    """Gives the members of a sample by its position in the split.

    An index is read when the first sample of its shard is asked for.

    Args:
        store: where the shards lie.
        split: which there are.
    """

    def __init__(self, store: Store, split: ShardSplit) -> None:
        self.store, self.shards = store, tuple(split.shards)
        self.ends = np.cumsum([0, *(shard.samples for shard in self.shards)])  # int64 [shards + 1]
        self._indexes: OrderedDict[int, ShardIndex] = OrderedDict()

    def check_sizes(self) -> None:
        """Compares the sizes of all shards with the manifest's, where they lie in a folder; nothing of them is read.

        Raises:
            FileNotFoundError, OSError: a shard that is not there or cannot be reached.
            ValueError: one of another size.
        """
        for shard in self.shards:
            if (size := self.store.size(shard.name)) not in (None, shard.bytes):
                kind = "is truncated" if size < shard.bytes else "is another one"
                raise ValueError(
                    f"{self.store.path(shard.name)}: the shard {kind}: it has {size} bytes, {shard.bytes} were "
                    "written. Copy it again"
                )

    def __len__(self) -> int:
        return int(self.ends[-1])

    def place(self, position: int) -> tuple[int, int]:
        """Which shard has a sample, and the sample's position in it."""
        number = int(np.searchsorted(self.ends, position, side="right")) - 1
        return number, position - int(self.ends[number])

    def sample_id(self, position: int) -> str:
        """The name of a sample, known from the index.

        Raises:
            OSError, ValueError: see `members`.
        """
        number, at = self.place(position)
        return self._index(number).sample_id(at)

    def members(self, position: int, endings: Collection[str] | None = None) -> tuple[Record, dict[str, bytes], str]:
        """A sample's record and members.

        Args:
            position: in the split, from 0.
            endings: those of the maps asked for, such as `rgb` for `rgb.png`; None gives all members.

        Returns:
            The record, the bytes by the members' endings, and what a member's ending is put behind to name it in
            messages: `FOLDER/train/000000.tar!KEY.`.

        Raises:
            FileNotFoundError, OSError: a shard or its index that is not there or cannot be read.
            ValueError: one that is truncated or damaged; names the shard, the sample, the offset.
        """
        number, at = self.place(position)
        shard, found = self.shards[number], self._index(number)[at]
        path = self.store.path(shard.name)
        begin, end = found[0].offset, found[-1].offset + found[-1].size
        where = f"{path}!{found[0].name.removesuffix(found[0].ending)}"
        if found[0].ending != RECORD or not 0 <= begin <= end <= begin + MOST_BYTES:
            raise ValueError(f"{where}: the index tells no record first, or {end - begin} bytes of one sample")
        data = self.store.read(shard.name, begin, end)
        if len(data) != end - begin:
            raise ValueError(
                f"{where}: the shard is truncated: of the {end - begin} bytes from {begin} on, {len(data)} are there; "
                f"{shard.bytes} bytes were written. Copy it again"
            )
        view = memoryview(data)
        parts = {item.ending: view[item.offset - begin : item.offset - begin + item.size] for item in found}
        record = Record.of_bytes(bytes(parts.pop(RECORD)), f"{where}{RECORD} at byte {begin}")
        return record, self._checked(record, parts, found, endings, where), where

    def _checked(
        self,
        record: Record,
        parts: Mapping[str, memoryview],
        found: Collection[Member],
        endings: Collection[str] | None,
        where: str,
    ) -> dict[str, bytes]:
        """The bytes of the members asked for, which are those that were written."""
        offsets = {item.ending: item.offset for item in found}
        files = {}
        for ending, part in parts.items():
            if endings is not None and ending.partition(".")[0] not in endings:
                continue
            if zlib.crc32(part) != record.sums.get(ending):
                raise ValueError(
                    f"{where}{ending} at byte {offsets[ending]}: damaged: its CRC-32 is {zlib.crc32(part)}, expected "
                    f"{record.sums.get(ending)}. Copy the shard again"
                )
            files[ending] = bytes(part)
        return files

    def _index(self, number: int) -> ShardIndex:
        """The index of a shard, from memory or from its file."""
        index = self._indexes.get(number)
        if index is None:
            index = self._indexes[number] = self._read_index(self.shards[number])
        self._indexes.move_to_end(number)
        while len(self._indexes) > _INDEXES:
            self._indexes.popitem(last=False)
        return index

    def _read_index(self, shard: Shard) -> ShardIndex:
        name = index_name(shard.name)
        data, where = self.store.read(name), self.store.path(name)
        digest = hashlib.sha256(data).hexdigest()
        if digest != shard.index_sha256:
            raise ValueError(
                f"{where}: damaged, or of other shards: its SHA-256 is {digest}, the manifest says "
                f"{shard.index_sha256}. Copy it again"
            )
        index = ShardIndex(data, where)
        if len(index) != shard.samples:
            raise ValueError(f"{where}: {len(index)} samples, the manifest says {shard.samples}")
        return index

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_indexes": OrderedDict()}
