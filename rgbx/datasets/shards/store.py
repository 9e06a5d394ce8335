"""Where shards lie: a folder, or a URL that fsspec knows; both give ranges of bytes."""

from __future__ import annotations

import os
import re
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import fsspec.asyn
import fsspec.core

from rgbx._files import existing_file

_URL = re.compile(r"[A-Za-z][\w+.-]*(::|://)", re.ASCII)
_OPEN_FILES = 32


class Store(Protocol):
    """Files below one place. Processes that are forked or spawned may go on with what they were given."""

    root: str

    def path(self, name: str) -> str:
        """The full path or URL of a file, for messages."""

    def read(self, name: str, begin: int = 0, end: int | None = None) -> bytes:
        """The bytes of a range, or of the whole file; fewer where the file ends before.

        Raises:
            FileNotFoundError: no such file.
            OSError: it cannot be read.
        """

    def size(self, name: str) -> int | None:
        """How many bytes a file has, where that is known without asking anybody for it; None of a URL.

        Raises:
            FileNotFoundError: no such file.
            OSError: it cannot be reached.
        """


def is_url(root: str | Path) -> bool:
    """Whether a root is a URL, such as `s3://bucket/folder` or `simplecache::https://host/folder`, and no folder."""
    return isinstance(root, str) and _URL.match(root) is not None


def open_store(root: str | Path) -> Store:
    """The files of a folder or below a URL; nothing is opened yet.

    Raises:
        ValueError: a URL that fsspec does not know, or whose package is not installed.
    """
    return UrlStore(str(root)) if is_url(root) else FolderStore(Path(root).expanduser())


class FolderStore:
    """Files of a folder, a few of which stay open.

    Args:
        folder: which need not be there yet.
    """

    def __init__(self, folder: Path) -> None:
        self.root = str(folder)
        self._folder = folder
        self._open: OrderedDict[str, BinaryIO] = OrderedDict()

    def path(self, name: str) -> str:
        """See `Store.path`."""
        return str(self._folder / name)

    def read(self, name: str, begin: int = 0, end: int | None = None) -> bytes:
        """See `Store.read`."""
        file = self._file(name)
        stop = os.fstat(file.fileno()).st_size if end is None else end
        parts = []
        while begin < stop and (part := os.pread(file.fileno(), stop - begin, begin)):  # 2 GiB at most are given
            parts.append(part)
            begin += len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def size(self, name: str) -> int:
        """See `Store.size`."""
        return existing_file(self._folder / name).stat().st_size

    def _file(self, name: str) -> BinaryIO:
        """An open file; one that is no longer kept is closed when its last reader is done."""
        file = self._open.get(name)
        if file is None:
            file = self._open[name] = existing_file(self._folder / name).open("rb", buffering=0)
        self._open.move_to_end(name)
        while len(self._open) > _OPEN_FILES:
            self._open.popitem(last=False)
        assert file is not None
        return file

    def __getstate__(self) -> dict[str, Any]:
        return {"root": self.root, "_folder": self._folder, "_open": OrderedDict()}


def _without_thread() -> None:
    """Lets fsspec start its thread anew in a process that was forked, where it does not live; later versions do it."""
    fsspec.asyn.reset_lock()
    fsspec.asyn.iothread[0] = fsspec.asyn.loop[0] = None


os.register_at_fork(after_in_child=_without_thread)


class UrlStore:
    """Files below a URL; each process has a connection of its own.

    Args:
        url: as fsspec takes it; `simplecache::` before it keeps whole files on a local disk.

    Raises:
        ValueError: see `open_store`.
    """

    def __init__(self, url: str) -> None:
        self.root = url.rstrip("/")
        self._process, self._connection = -1, (None, "")
        self._connected()

    def path(self, name: str) -> str:
        """See `Store.path`."""
        return f"{self.root}/{name}"

    def read(self, name: str, begin: int = 0, end: int | None = None) -> bytes:
        """See `Store.read`."""
        files, base = self._connected()
        give: Callable[..., bytes] = files.cat_file
        whole = begin == 0 and end is None
        try:
            data = give(f"{base}/{name}") if whole else give(f"{base}/{name}", start=begin, end=end)
        except FileNotFoundError:
            raise FileNotFoundError(f"{self.path(name)}: no such file") from None
        except Exception as error:  # each protocol has its own
            raise OSError(f"{self.path(name)}: cannot be read ({type(error).__name__}: {error})") from error
        if end is not None and len(data) > end - begin:
            raise OSError(f"{self.path(name)}: {end - begin} bytes were asked for, {len(data)} came: no ranges there")
        return data

    def size(self, name: str) -> None:
        """See `Store.size`."""

    def _connected(self) -> tuple[Any, str]:
        """A file system and the path in it, made anew in a process that was forked, as threads do not live on."""
        if self._process != os.getpid():
            try:
                self._connection = fsspec.core.url_to_fs(self.root, skip_instance_cache=True)
            except (ImportError, ValueError) as error:
                raise ValueError(f"{self.root}: no files can be read from there: {error}") from error
            self._process = os.getpid()
        files, base = self._connection
        return files, base.rstrip("/")

    def __getstate__(self) -> dict[str, Any]:
        return {"root": self.root, "_process": -1, "_connection": (None, "")}
