"""Samples per second of the NYUDv2 training pipeline: read, scale-crop, flip, jitter, pack.

One process loads (OpenCV and torch on one thread each) unless --workers is given; then a pass
includes starting them. The rate is the number of samples over the wall time of whole passes, after
one pass that fills the file cache: the best of the passes is the figure least disturbed by other
processes, the median is printed beside it. Stages are timed on their own and averaged over all
samples, since some act on only half of them.

    python benchmarks/loading.py data/nyuv2_320x240 --frames 200
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader

from rgbx.datasets import NYUDv2Folders, SampleKey, validate_sample
from rgbx.transforms import ColorJitter, HorizontalFlip, PackSample, RandomScaleCrop


def pipeline(crop: Sequence[int]) -> list[Any]:
    return [RandomScaleCrop(crop, scale=(0.5, 2.0)), HorizontalFlip(), ColorJitter(), PackSample()]


def time_stages(dataset: NYUDv2Folders, frames: int) -> dict[str, float]:
    """Mean milliseconds per sample of reading, checking and every transform."""
    seconds: dict[str, list[float]] = defaultdict(list)
    for index in range(frames):
        rng = np.random.default_rng(index)
        marks = [("", time.perf_counter())]
        sample = dataset.read(index)
        marks.append(("read", time.perf_counter()))
        validate_sample(sample, dataset.maps, dataset.num_classes)
        marks.append(("validate", time.perf_counter()))
        for transform in dataset.transforms:
            sample = transform(sample, rng)
            marks.append((type(transform).__name__, time.perf_counter()))
        for (_, start), (name, stop) in pairwise(marks):
            seconds[name].append(stop - start)
    return {name: 1000 * statistics.fmean(values) for name, values in seconds.items()}


def time_passes(dataset: NYUDv2Folders, frames: int, passes: int, workers: int) -> list[float]:
    """Samples per second of each pass through a DataLoader of batches of 8."""
    rates = []
    for seed in range(passes + 1):
        keys = [SampleKey(index, seed) for index in range(frames)]
        loader = DataLoader(dataset, batch_size=8, sampler=keys, num_workers=workers)
        start = time.perf_counter()
        count = sum(len(batch["sample_id"]) for batch in loader)
        rates.append(count / (time.perf_counter() - start))
    return rates[1:]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("root", help="folder with rgb/, depth/, label/ and train.txt")
    parser.add_argument("--crop", type=int, nargs=2, default=(240, 320), metavar=("H", "W"))
    parser.add_argument("--frames", type=int, default=200)
    parser.add_argument("--passes", type=int, default=5)
    parser.add_argument("--workers", type=int, default=0)
    arguments = parser.parse_args()
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    dataset = NYUDv2Folders(arguments.root, transforms=pipeline(arguments.crop))
    frames = min(arguments.frames, len(dataset))
    rates = time_passes(dataset, frames, arguments.passes, arguments.workers)
    print(
        f"torch {torch.__version__}, OpenCV {cv2.__version__}, numpy {np.__version__}; "
        f"{frames} frames, crop {arguments.crop[0]}x{arguments.crop[1]}, "
        f"{arguments.workers} workers"
    )
    print(f"samples/s: best {max(rates):.0f}, median {statistics.median(rates):.0f} of {arguments.passes} passes")
    for name, milliseconds in time_stages(dataset, frames).items():
        print(f"{name:>16}  {milliseconds:6.2f} ms")


if __name__ == "__main__":
    main()
