"""What records of images, which came from files, must be, whatever a task counts."""

from __future__ import annotations

import reprlib
from collections.abc import Sequence
from typing import Protocol

import numpy as np
from torch import Tensor


class Record(Protocol):
    """What records of this package's tasks have."""

    sample_id: str
    file_sizes: dict[str, int]


def check_record(record: Record, predictions: object) -> None:
    """Refuses a record without sizes of files, or predictions by their names.

    Raises:
        ValueError: which of them, and what was found.
    """
    sizes = record.file_sizes
    if not isinstance(sizes, dict) or not all(type(size) is int for size in sizes.values()):
        raise ValueError(f"{record.sample_id}: file_sizes is {reprlib.repr(sizes)}; expected whole numbers by name")
    if not isinstance(predictions, dict) or not predictions:
        raise ValueError(f"{record.sample_id}: found {reprlib.repr(predictions)}; expected predictions by name")


def check_array(what: str, array: object, kind: str, shape: Sequence[int | None]) -> None:
    """Refuses what is no array or tensor of a kind and a shape.

    Args:
        what: begins the message.
        array: what was found.
        kind: the name of its dtype.
        shape: its sizes, None for any.

    Raises:
        ValueError: what was found and what was expected.
    """
    if isinstance(array, (np.ndarray, Tensor)):
        found = f"{str(array.dtype).removeprefix('torch.')} {list(array.shape)}"
        fits = array.ndim == len(shape) and all(n in (None, m) for n, m in zip(shape, array.shape, strict=True))
        if fits and found.startswith(f"{kind} "):
            return
    else:
        found = f"a {type(array).__name__}"
    expected = ", ".join("any" if n is None else str(n) for n in shape)
    raise ValueError(f"{what}: found {found}; expected {kind} [{expected}]")
