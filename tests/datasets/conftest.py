"""Small files in the formats of datasets whose frames are not at hand."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest


class PublishedFile(NamedTuple):
    """A file like nyu_depth_v2_labeled.mat, and what was put into it, frame by frame from number 1."""

    path: Path
    rgb: list[np.ndarray]
    depth: list[np.ndarray]
    raw_depth: list[np.ndarray]
    ids: list[np.ndarray]
    map_class: np.ndarray
    numbers: dict[str, list[int]]


@pytest.fixture
def published_file(tmp_path):
    """Six frames of 12x16 as MATLAB 7.3 writes them: arrays [H, W, 3, N] and [H, W, N] with their axes reversed."""
    h5py, io = pytest.importorskip("h5py"), pytest.importorskip("scipy.io")
    rng = np.random.default_rng(0)
    folder = tmp_path / "published"
    folder.mkdir()
    count, size = 6, (12, 16)
    images = rng.integers(0, 256, (*size, 3, count), dtype=np.uint8)
    depths = rng.uniform(0.7, 9.99, (*size, count)).astype(np.float32)
    raw = np.where(rng.random((*size, count)) < 0.2, 0, depths).astype(np.float32)
    ids = rng.integers(0, 895, (*size, count)).astype(np.uint16)
    ids[0, :2] = [[0], [894]]
    with h5py.File(folder / "nyu_depth_v2_labeled.mat", "w", userblock_size=512) as file:
        for name, array in {"images": images, "depths": depths, "rawDepths": raw, "labels": ids}.items():
            data = array.transpose(range(array.ndim)[::-1])
            file.create_dataset(name, data=data, chunks=(1, *data.shape[1:]), compression="gzip")
    map_class = rng.integers(1, 41, (1, 894)).astype(np.uint8)
    io.savemat(folder / "classMapping40.mat", {"mapClass": map_class})
    numbers = {"train": [3, 4, 6], "test": [1, 2, 5]}
    columns = {f"{split}Ndxs": np.array(found, np.uint16)[:, None] for split, found in numbers.items()}
    io.savemat(folder / "splits.mat", columns)
    frames = ([array[..., k] for k in range(count)] for array in (images, depths, raw, ids))
    return PublishedFile(folder / "nyu_depth_v2_labeled.mat", *frames, map_class[0], numbers)
