"""Many texts in little memory: millions of paths as one block of bytes, not as objects."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from functools import cached_property
from itertools import chain, islice, pairwise
from typing import Any, overload

import numpy as np

_BATCH = 1 << 16
_ENCODING = "utf-8", "surrogatepass"  # names of files may hold what is no character


class Texts(Sequence[str]):
    """An immutable sequence of texts, which also finds the position of a text as a dict would.

    A text takes its bytes and 8 more, and 8 to 12 while texts are looked for. There is no object per text, so that
    processes that are forked share the memory for good: counting references writes to none of it.

    Args:
        texts: any number; they are asked for once.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        self._data = bytearray()
        left, sizes = iter(texts), [np.zeros(1, np.int32)]
        while batch := [text.encode(*_ENCODING) for text in islice(left, _BATCH)]:
            self._data += b"".join(batch)
            sizes.append(np.fromiter(map(len, batch), np.int32, len(batch)))
        self._cuts = np.concatenate(sizes, dtype=np.int64)
        np.cumsum(self._cuts, out=self._cuts)

    def __len__(self) -> int:
        return len(self._cuts) - 1

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[str]: ...
    def __getitem__(self, index: int | slice) -> str | Sequence[str]:
        if isinstance(index, slice):
            return [self[at] for at in range(*index.indices(len(self)))]
        return next(self.at((range(len(self))[index],)))

    def __iter__(self) -> Iterator[str]:
        for begin in range(0, len(self), _BATCH):
            cuts = self._cuts[begin : begin + _BATCH + 1]
            block, places = self._data[cuts[0] : cuts[-1]], (cuts - cuts[0]).tolist()
            for start, end in pairwise(places):
                yield block[start:end].decode(*_ENCODING)

    def at(self, positions: Iterable[int]) -> Iterator[str]:
        """The texts at some positions, from 0."""
        data, cuts = self._data, self._cuts.data
        return (data[cuts[at] : cuts[at + 1]].decode(*_ENCODING) for at in positions)

    def __contains__(self, text: object) -> bool:
        return isinstance(text, str) and self.position(text) is not None

    def position(self, text: str) -> int | None:
        """Where a text stands, first where it stands several times; None where it does not."""
        mask, starts, order, cuts = self._buckets
        bucket = hash(text) & mask
        begin, end = starts[bucket], starts[bucket + 1]
        wanted = text.encode(*_ENCODING) if begin < end else b""
        for place in range(begin, end):
            at = order[place]
            if self._data[cuts[at] : cuts[at + 1]] == wanted:
                return at
        return None

    @cached_property
    def _buckets(self) -> tuple[int, memoryview, memoryview, memoryview]:
        """Positions by the last bits of the hash: the mask of the bits, where each bucket starts, and the positions."""
        mask = (1 << max(0, len(self).bit_length() - 1)) - 1
        bucket = _hashes(self)
        bucket &= mask
        order = np.argsort(bucket, kind="stable").astype(_integers(len(self)))
        starts = np.zeros(mask + 2, order.dtype)
        np.cumsum(np.bincount(bucket, minlength=mask + 1), out=starts[1:])
        return mask, starts.data, order.data, self._cuts.data

    def __getstate__(self) -> dict[str, np.ndarray]:
        return {"data": np.frombuffer(self._data, np.uint8), "cuts": self._cuts}

    def __setstate__(self, state: dict[str, np.ndarray]) -> None:
        self._data, self._cuts = bytearray(state["data"]), state["cuts"]


def first_twice(texts: Iterable[str], at: Callable[[int], str]) -> tuple[int, int] | None:
    """The first text that has stood before, as the positions of both; None where all differ.

    Args:
        texts: any number; 24 bytes are taken for each.
        at: the text at a position, which is asked for where two may be alike.
    """
    hashes = _hashes(texts)
    order = np.argsort(hashes, kind="stable").astype(_integers(len(hashes)))
    hashes = hashes[order]
    suspects = np.sort(order[1:][hashes[1:] == hashes[:-1]])
    for index in suspects.data:
        text = at(index)
        begin, end = np.searchsorted(hashes, hash(text)), np.searchsorted(hashes, hash(text), side="right")
        for other in order[begin:end].data:
            if other < index and at(other) == text:
                return other, index
    return None


def collected(texts: Iterable[str]) -> Collection[str]:
    """Texts among which others will be looked for: as a set where they are few, which is faster, else as `Texts`."""
    left = iter(texts)
    first = list(islice(left, _BATCH))
    return set(first) if len(first) < _BATCH else Texts(chain(first, left))


def _hashes(texts: Iterable[str]) -> np.ndarray:
    """Python's own of each text, int64 [N]; others in each process."""
    return np.fromiter(map(hash, texts), np.int64)


def _integers(count: int) -> type[np.signedinteger[Any]]:
    """The smaller integers that count so many."""
    return np.int32 if count < 1 << 31 else np.int64
