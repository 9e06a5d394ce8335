"""Memory between two pages that no one may touch: an access outside ends the process."""

from __future__ import annotations

import ctypes
import mmap

import torch
from torch import Tensor

_LIBC = ctypes.CDLL(None, use_errno=True)
_LIBC.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]


class Guarded:
    """A buffer of `size` bytes that touches the forbidden page after it, or the one before it.

    Attributes:
        address: of the first byte.
    """

    def __init__(self, size: int, *, at_end: bool) -> None:
        pages = -(-max(size, 1) // mmap.PAGESIZE)
        self._map = mmap.mmap(-1, (pages + 2) * mmap.PAGESIZE)
        self._whole = (ctypes.c_char * len(self._map)).from_buffer(self._map)
        start = ctypes.addressof(self._whole)
        for forbidden in (start, start + (pages + 1) * mmap.PAGESIZE):
            if _LIBC.mprotect(forbidden, mmap.PAGESIZE, 0):
                raise OSError(ctypes.get_errno(), "mprotect")
        self.size = size
        self.address = start + mmap.PAGESIZE + (pages * mmap.PAGESIZE - size if at_end else 0)

    def write(self, values: Tensor) -> None:
        """Copies a contiguous tensor in."""
        ctypes.memmove(self.address, values.data_ptr(), self.size)

    def read(self, like: Tensor) -> Tensor:
        """The content as a tensor of like's shape and dtype, contiguous."""
        values = torch.empty(like.shape, dtype=like.dtype)
        ctypes.memmove(values.data_ptr(), self.address, self.size)
        return values
