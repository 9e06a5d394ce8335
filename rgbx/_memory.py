"""Memory that a process has had stays with it: what its allocator hands back has to be cleared again page by page."""

from __future__ import annotations

import ctypes
import os
import platform

KEEPING = "RGBX_MALLOC"  # "keep", the default, or "system", which leaves the allocator as it is
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4  # of mallopt, from glibc's malloc.h
_SETTINGS = ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, -1))  # no block has a mapping of its own; nothing is given back
_THEIRS = ("MALLOC_ARENA_", "MALLOC_MMAP_", "MALLOC_TOP_PAD_", "MALLOC_TRIM_", "GLIBC_TUNABLES")  # said by the user
_OTHERS = ("jemalloc", "mimalloc", "tcmalloc")  # allocators that are loaded in place of glibc's


def keep_memory() -> bool:
    """Lets glibc's malloc keep freed memory for what this process allocates next, until it ends.

    By default a large tensor is a mapping of its own, which goes back to the system when it is freed; the next one is
    made of pages that the system has to clear. The commands of `rgbx` that run networks call this, `import rgbx` does
    not: an allocator belongs to the program. It changes no result. It does nothing where malloc is not glibc's, where
    the environment already says how it is to work, or says ``RGBX_MALLOC=system``.

    Returns:
        Whether the allocator took the settings.

    Raises:
        ValueError: RGBX_MALLOC is neither "keep" nor "system".
    """
    said = os.environ.get(KEEPING, "keep")
    if said not in ("keep", "system"):
        raise ValueError(f"{KEEPING} is {said!r}; expected 'keep' or 'system'")
    if said == "system" or any(name.startswith(_THEIRS) for name in os.environ) or not _is_glibc():
        return False
    mallopt = ctypes.CDLL(None).mallopt
    taken = [mallopt(name, value) == 1 for name, value in _SETTINGS]
    return all(taken)


def _is_glibc() -> bool:
    """Whether malloc is glibc's."""
    preloaded = os.environ.get("LD_PRELOAD", "")
    return platform.libc_ver()[0] == "glibc" and not any(name in preloaded for name in _OTHERS)
