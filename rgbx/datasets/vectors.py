"""Surface normals stored as colours of 8 or 16 bits."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from rgbx.datasets.reading import read_image, stored_kind


def read_unit_vectors(path: str | Path, *, normalise: bool = True) -> np.ndarray:
    """Reads normals stored as colours: v = 2 raw / max - 1 per channel.

    The grey in the middle (128 of 8 bits, 32768 of 16) in all channels means no normal and becomes (0, 0, 0).

    Args:
        path: an image of three channels.
        normalise: make all others unit vectors; without it, writing them again gives the same file.

    Returns:
        float32 [H, W, 3].

    Raises:
        FileNotFoundError, ValueError: missing, truncated, or not three channels of 8 or 16 bits.
    """
    raw = read_image(path)
    if raw.ndim != 3 or raw.dtype.kind != "u":
        raise ValueError(f"{path}: expected three channels of 8 or 16 bits, found {stored_kind(raw)}")
    largest = int(np.iinfo(raw.dtype).max)
    vectors = raw[..., :3].astype(np.float32) * np.float32(2 / largest) - 1
    vectors[(raw[..., :3] == largest // 2 + 1).all(axis=2)] = 0
    return unit_length(vectors) if normalise else vectors


def unit_length(vectors: np.ndarray) -> np.ndarray:
    """The directions of vectors [H, W, 3] as unit vectors of the same dtype; 0 stays 0."""
    length = np.linalg.norm(vectors, axis=2, keepdims=True)
    return np.divide(vectors, length, out=np.zeros_like(vectors), where=length > 0)
