"""What a dataset consists of, as a short text: a derived file that carries another one is stale."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields, is_dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from rgbx.datasets.sample import DenseDataset
from rgbx.maps.spec import UNLESS_USUAL

FileStamps = dict[str, tuple[int, int]]
_BESIDE = ("transforms", "provenance", "left_over", "stamps")  # attributes that change no frame


def dataset_fingerprint(dataset: DenseDataset) -> str:
    """Digest of a dataset's class and of the attributes that its frames depend on: 16 hexadecimal digits.

    Equal in every process and after a restart, as what pickling leaves out, such as open files, does not count. Files
    behind the frames are not opened: see `file_stamps`. Functions count by their name and bound arguments, so a change
    inside a lambda goes unnoticed.
    """
    state: dict[str, Any] = dataset.__getstate__()  # type: ignore[assignment]
    attributes = {name: value for name, value in state.items() if name not in _BESIDE}
    text = f"{_name(type(dataset))}({_describe(attributes)})"
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def file_stamps(paths: Iterable[str]) -> FileStamps:
    """Size in bytes and modification time in nanoseconds of each file; (-1, -1) where there is none."""
    stamps: FileStamps = {}
    for path in paths:
        try:
            status = Path(path).stat()
            stamps[path] = (status.st_size, status.st_mtime_ns)
        except OSError:
            stamps[path] = (-1, -1)
    return stamps


def _describe(value: object) -> str:
    """Text that depends on contents only, never on addresses or on the order of a set."""
    if isinstance(value, (str, bytes, int, float, bool, Path, np.generic, type(None))):
        return repr(value)
    if isinstance(value, np.ndarray):
        return f"array({value.dtype}, {value.shape}, {hashlib.sha256(value.tobytes()).hexdigest()})"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_describe(key)}: {_describe(item)}" for key, item in value.items()) + "}"
    if isinstance(value, (set, frozenset)):
        return "{" + ", ".join(sorted(_describe(item) for item in value)) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_describe(item) for item in value) + "]"
    if isinstance(value, partial):
        return f"partial({_describe(value.func)}, {_describe(value.args)}, {_describe(value.keywords)})"
    if is_dataclass(value) and not isinstance(value, type):
        told = {f.name: getattr(value, f.name) for f in fields(value)}
        quiet = [
            f.name for f in fields(value) if f.metadata.items() >= UNLESS_USUAL.items() and told[f.name] == f.default
        ]
        return f"{_name(type(value))}({_describe({name: told[name] for name in told if name not in quiet})})"
    if isinstance(value, (type, Callable)) and hasattr(value, "__qualname__"):  # type: ignore[arg-type]
        return _name(value)
    return f"{_name(type(value))}({_describe(value.__getstate__())})"


def _name(value: Any) -> str:
    return f"{value.__module__}.{value.__qualname__}"
