"""Where decoded frames are kept: one block of bytes per frame, in memory that workers share or in a folder.

A block is `RGBXFRM1`, the length of its header and of itself (uint64 each), the header (JSON: the sample's plain
values, and name, dtype, shape and place of each array) and the arrays, 64-byte aligned. Neither store shows a block
before it is complete.
"""

from __future__ import annotations

import json
import math
import mmap
import multiprocessing
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from rgbx._whole import remove_left
from rgbx.datasets.sample import Sample
from rgbx.maps import replace_file

_MAGIC = b"RGBXFRM1"
_PREFIX = 24  # magic, header length, block length
_ALIGNMENT = 64


class FrameStore(Protocol):
    """Blocks by frame index."""

    def get(self, index: int) -> np.ndarray | None:
        """The frame's block, uint8 [bytes], read-only; None where there is none."""

    def put(self, index: int, block: np.ndarray) -> bool:
        """Keeps a block, uint8 [bytes]; False where there is no room left."""


class MemoryStore:
    """One shared memory area that forked workers fill and read together; the kernel frees it with the last process.

    Memory is taken page by page as frames arrive, and is not limited by the size of /dev/shm. A process that is spawned
    instead of forked starts with an empty store of its own.

    Args:
        count: number of frames.
        capacity: bytes for all blocks together.
    """

    def __init__(self, count: int, capacity: int) -> None:
        self.count, self.capacity = count, max(capacity, 1)
        self._allocate()

    def _allocate(self) -> None:
        self._area = mmap.mmap(-1, self.capacity)
        self._blocks = np.frombuffer(self._area, np.uint8)
        # start and length of each block, and in the last row the first free byte
        self._table = np.frombuffer(mmap.mmap(-1, 16 * (self.count + 1)), np.int64).reshape(-1, 2)
        self._lock = multiprocessing.Lock()

    def __getstate__(self) -> dict[str, int]:
        return {"count": self.count, "capacity": self.capacity}

    def __setstate__(self, state: dict[str, int]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    def get(self, index: int) -> np.ndarray | None:
        with self._lock:
            start, length = self._table[index].tolist()
        if length == 0:
            return None
        block = self._blocks[start : start + length]
        block.flags.writeable = False
        return block

    def put(self, index: int, block: np.ndarray) -> bool:
        """See `FrameStore.put`; uint8 [bytes]."""
        with self._lock:
            start = int(self._table[-1, 0])
            if start + len(block) > self.capacity:
                return False
            self._table[-1, 0] = -(-(start + len(block)) // _ALIGNMENT) * _ALIGNMENT
        self._blocks[start : start + len(block)] = block
        with self._lock:
            self._table[index] = start, len(block)
        return True


class FolderStore:
    """One file per frame, there as a whole or not at all, so that any number of processes may share the folder.

    Args:
        folder: made if it does not exist.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        remove_left(folder)

    def get(self, index: int) -> np.ndarray | None:
        try:
            block = np.fromfile(self._path(index), np.uint8)
        except FileNotFoundError:
            return None
        if len(block) < _PREFIX or block[:8].tobytes() != _MAGIC or int(block[16:24].view(np.uint64)[0]) != len(block):
            return None  # cut off by a crash of the machine
        block.flags.writeable = False
        return block

    def put(self, index: int, block: np.ndarray) -> bool:
        """See `FrameStore.put`; uint8 [bytes]."""
        try:
            replace_file(self._path(index), block.data, many=True)
        except OSError:
            return False
        return True

    def _path(self, index: int) -> Path:
        return self.folder / f"{index:07d}.frame"


def encode_frame(sample: Sample, extra: object = None) -> np.ndarray:
    """A sample as one block.

    Args:
        sample: arrays and values that JSON can hold.
        extra: one more such value, kept beside the sample.

    Returns:
        uint8 [bytes].

    Raises:
        TypeError: a value that JSON cannot hold.
    """
    arrays = {key: np.ascontiguousarray(value) for key, value in sample.items() if isinstance(value, np.ndarray)}
    plain = {key: value for key, value in sample.items() if key not in arrays}
    starts, end = {}, 0
    for key, array in arrays.items():
        starts[key], end = end, _aligned(end + array.nbytes)
    places = {key: [array.dtype.str, list(array.shape), starts[key]] for key, array in arrays.items()}
    header = json.dumps({"sample": plain, "arrays": places, "extra": extra}).encode()
    begin = _aligned(_PREFIX + len(header))
    block = np.zeros(begin + end, np.uint8)
    block[:8] = np.frombuffer(_MAGIC, np.uint8)
    block[8:_PREFIX] = np.array([len(header), len(block)], np.uint64).view(np.uint8)
    block[_PREFIX : _PREFIX + len(header)] = np.frombuffer(header, np.uint8)
    for key, array in arrays.items():
        start = begin + starts[key]
        block[start : start + array.nbytes] = array.reshape(-1).view(np.uint8)
    return block


def decode_frame(block: np.ndarray) -> tuple[Sample, Any]:
    """The sample of a block, uint8 [bytes], its arrays as views of it, and the value kept beside it.

    Raises:
        ValueError: a header that `encode_frame` did not write.
    """
    try:
        length = int(block[8:16].view(np.uint64)[0])
        header = json.loads(block[_PREFIX : _PREFIX + length].tobytes())
        begin = _aligned(_PREFIX + length)
        sample: Sample = {"sample_id": header["sample"]["sample_id"], "paths": dict(header["sample"]["paths"])}
        sample |= header["sample"]
        for key, (dtype, shape, place) in header["arrays"].items():
            kind = np.dtype(dtype)
            size = kind.itemsize * math.prod(shape)
            sample[key] = block[begin + place : begin + place + size].view(kind).reshape(shape)
        return sample, header["extra"]
    except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError) as error:
        raise ValueError(f"damaged header of a kept frame: {error}") from error


def _aligned(length: int) -> int:
    return -(-length // _ALIGNMENT) * _ALIGNMENT
