"""Measures how many synthetic frames one core renders per second.

    OMP_NUM_THREADS=1 python benchmarks/synthetic.py [--size 120x160] [--frames 100]

Method: one process; cv2 is held to one thread here, numpy by OMP_NUM_THREADS. Each figure is the
median of the CPU times of single frames (process time, so that other work on the machine does not
count), over different scenes, after three frames of warm-up.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable

import cv2
import numpy as np

from rgbx.datasets.rooms import MAPS, SyntheticRooms, cast_scene, make_scene, render


def median_ms(call: Callable[[int], object], frames: int) -> float:
    """Median CPU milliseconds of `call(index)` over indices 0..frames-1."""
    for index in range(3):
        call(index)
    times = []
    for index in range(frames):
        start = time.process_time_ns()
        call(index)
        times.append((time.process_time_ns() - start) / 1e6)
    return statistics.median(times)


def main() -> None:
    """Prints one line per stage."""
    parser = argparse.ArgumentParser(description="Frames per second of the synthetic rooms.")
    parser.add_argument("--size", default="120x160", metavar="HxW")
    parser.add_argument("--frames", type=int, default=100)
    options = parser.parse_args()
    height, width = (int(part) for part in options.size.split("x"))
    size = (height, width)
    cv2.setNumThreads(1)
    scenes = [make_scene(0, index, size) for index in range(options.frames)]
    print(
        f"{height}x{width}, {options.frames} frames, numpy {np.__version__}, "
        f"cv2 {cv2.__version__}, {platform.machine()}, "
        f"OMP_NUM_THREADS={os.environ.get('OMP_NUM_THREADS', 'not set')}"
    )
    with tempfile.TemporaryDirectory() as folder:
        rooms = SyntheticRooms(num_frames=options.frames, size=size, modalities=MAPS[:-1], root=folder)
        stages: dict[str, Callable[[int], object]] = {
            "layout only": lambda index: make_scene(0, index, size),
            "ray casting only": lambda index: cast_scene(scenes[index], size),
            "all maps, on the fly": lambda index: render(0, index, size),
            "all maps, to disk": rooms.write,
            "all maps, from disk": rooms.read,
        }
        for name, call in stages.items():
            milliseconds = median_ms(call, options.frames)
            print(f"{name:22s} {milliseconds:8.2f} ms {1000 / milliseconds:8.1f} frames/s")


if __name__ == "__main__":
    main()
