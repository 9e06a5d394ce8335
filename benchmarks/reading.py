"""Measures reading: a sample per kind of file, and the constructor of a dataset of many frames.

    OMP_NUM_THREADS=1 python benchmarks/reading.py
    PYTHONPATH=OTHER_CHECKOUT OMP_NUM_THREADS=1 python benchmarks/reading.py --root /tmp/reading   # another version

The files are fabricated in a temporary folder, or in --root, where they stay for the next call: smooth shapes with a
little noise, so that they compress as photographs and sensors do, and many tiny files for the constructors.

Method: one process, OpenCV and torch on one thread. All rows take turns: each pass runs every row once, a pass of
warm-up is not counted, and the median over the passes is reported, in process CPU time (other work on the machine
counts little) and in wall time. Files come from the system's cache. A kind that this version refuses has a dash.

- a map: `dataset[i]` of a `FolderDataset` of that map alone, so read, decoded to its unit and checked.
- label: `FileDataset.read_frame` of the label alone.
- a sample: `dataset[i]` of RGB, depth and label.
- constructors: `FolderDataset` of RGB, depth and label; frames are those of a folder with one suffix, of a folder with
  any image's suffix ("*"), or of a list.
"""

from __future__ import annotations

import argparse
import datetime
import functools
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

import cv2
import numpy as np
import torch
from PIL import Image

import rgbx
from rgbx.datasets import FolderDataset

HEIGHT, WIDTH, CLASSES = 480, 640, 40
Array = np.ndarray[Any, Any]
MAPS = {  # title of a row: the declaration of a map
    "RGB, PNG": 'folder = "rgb", unit = "rgb8"',
    "RGB, JPEG": 'folder = "jpeg", suffix = ".jpg", unit = "rgb8"',
    "depth, PNG of 16 bits": 'folder = "depth", unit = "metre", scale = 1000',
    "depth, TIFF of float32 metres": 'folder = "tiff", suffix = ".tiff", unit = "metre", scale = 1',
    "depth, npy of float32 metres": 'folder = "npy", suffix = ".npy", unit = "metre", scale = 1',
    "a sensor's values, TIFF of float32": 'folder = "tiff", suffix = ".tiff", unit = "sensor"',
}
LABEL = "label, PNG with a palette"
SAMPLE = "a sample: RGB, depth and label, PNGs"
LABELLED = """
classes.names = {names}
label = {{folder = "{folder}label", suffix = "{suffix}"}}
modalities.rgb = {{folder = "{folder}rgb", suffix = "{suffix}", unit = "rgb8"}}
modalities.depth = {{folder = "{folder}depth", suffix = "{suffix}", unit = "metre", scale = 1000}}
splits.train = "{split}"
"""


def write_frames(folder: Path, count: int) -> None:
    """Frames of every kind, 480x640."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32)
    for name in ("rgb", "jpeg", "depth", "tiff", "npy", "label"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for number in range(count):
        rng, stem = np.random.default_rng(number), f"{number:06d}"
        shape = np.sin(columns / rng.uniform(20, 60)) + np.cos(rows / rng.uniform(20, 60))  # -2 to 2
        noise = rng.normal(0, 2, (HEIGHT, WIDTH, 3))
        rgb = (shape[..., None] * rng.uniform(20, 50, 3) + 127 + noise).clip(0, 255).astype(np.uint8)
        metres = (3 + shape + rng.normal(0, 0.004, shape.shape)).astype(np.float32)
        label = Image.fromarray(((shape + 2) / 4 * (CLASSES - 1)).astype(np.uint8))
        label.putpalette(rng.integers(0, 256, 3 * CLASSES).astype(np.uint8).tolist())
        cv2.imwrite(str(folder / "rgb" / f"{stem}.png"), rgb)
        cv2.imwrite(str(folder / "jpeg" / f"{stem}.jpg"), rgb)
        cv2.imwrite(str(folder / "depth" / f"{stem}.png"), np.rint(1000 * metres).astype(np.uint16))
        cv2.imwrite(str(folder / "tiff" / f"{stem}.tiff"), metres)
        np.save(folder / "npy" / f"{stem}.npy", metres)
        label.save(folder / "label" / f"{stem}.png")
    (folder / "train.txt").write_text("".join(f"{number:06d}\n" for number in range(count)))


def write_many(folder: Path, count: int) -> None:
    """As many frames of one pixel, for constructors, which open none."""
    pixels: dict[str, Array] = {"rgb": np.zeros((1, 1, 3), np.uint8), "depth": np.ones((1, 1), np.uint16)}
    for name, array in (pixels | {"label": np.zeros((1, 1), np.uint8)}).items():
        (folder / "train" / name).mkdir(parents=True, exist_ok=True)
        content = cv2.imencode(".png", array)[1].tobytes()
        for number in range(count):
            (folder / "train" / name / f"{number:06d}.png").write_bytes(content)
    (folder / "train.txt").write_text("".join(f"{number:06d}\n" for number in range(count)))


def labelled(root: Path, name: str, **options: str) -> str:
    """The name of a declaration of RGB, depth and label, written into the folder."""
    names = [f"class {number}" for number in range(CLASSES)]
    usual = {"folder": "", "suffix": ".png", "split": "train.txt"}
    (root / name).write_text(LABELLED.format(names=names, **{**usual, **options}))
    return name


def rows(frames: Path, many: Path) -> dict[str, Callable[[int], object]]:
    """What is measured, by title: a function of a frame's number."""
    found: dict[str, Callable[[int], object]] = {}
    for title, text in MAPS.items():
        file = frames / f"{title}.toml"
        file.write_text(f'modalities.x = {{{text}}}\nsplits.train = "train.txt"\n')
        dataset = functools.cache(functools.partial(FolderDataset, frames, declaration=file))
        found[title] = lambda i, dataset=dataset: dataset()[i]  # type: ignore[misc]
    whole = FolderDataset(frames, declaration=labelled(frames, "whole.toml"))
    found["label, PNG with a palette"] = lambda i: whole.read_frame(whole.frames[i], ["label"])
    found["a sample: RGB, depth and label, PNGs"] = whole.__getitem__
    ways = {
        "a folder": {},
        "a folder, any suffix": {"suffix": "*"},
        "a list": {"folder": "train/", "split": "train.txt"},
    }
    for way, options in ways.items():
        toml = labelled(many, f"{way}.toml", **{"folder": "{split}/", "split": "train", **options})
        found[f"constructor, {way}"] = lambda _, toml=toml: FolderDataset(many, declaration=toml)  # type: ignore[misc]
    return found


def refusal(row: Callable[[int], object]) -> str:
    """Why this version refuses a row; empty where it does not."""
    try:
        row(0)
    except (ValueError, OSError) as error:
        return str(error)
    return ""


def measure(table: dict[str, Callable[[int], object]], frames: int, passes: int) -> dict[str, tuple[float, float]]:
    """Median CPU and wall milliseconds of each row, per frame or constructor; the rows take turns in every pass."""
    times: dict[str, list[tuple[float, float]]] = {title: [] for title in table}
    for number in range(passes + 1):
        for title, row in table.items():
            repeats = range(1 if title.startswith("constructor") else frames)
            wall, cpu = time.perf_counter(), time.process_time()
            for index in repeats:
                row(index)
            cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
            if number:
                times[title].append((1000 * cpu / len(repeats), 1000 * wall / len(repeats)))
    return {
        title: (statistics.median(cpu for cpu, _ in found), statistics.median(wall for _, wall in found))
        for title, found in times.items()
    }


def report(root: Path, arguments: argparse.Namespace) -> list[str]:
    """Fabricates what is not there, measures everything; the lines of a Markdown page."""
    folders = root / f"frames_{arguments.frames}", root / f"many_{arguments.many}"
    for folder, write, count in zip(
        folders, (write_frames, write_many), (arguments.frames, arguments.many), strict=True
    ):
        if not (folder / "train.txt").is_file():  # which is written last
            write(folder, count)
    table = rows(*folders)
    refused = {title: reason for title, row in table.items() if (reason := refusal(row))}
    times = measure(
        {title: row for title, row in table.items() if title not in refused}, arguments.frames, arguments.passes
    )
    lines = [
        f"{arguments.frames} frames of {HEIGHT}x{WIDTH}, constructors of {arguments.many} frames, {arguments.passes} "
        f"passes; load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores at the end. rgbx {rgbx.__version__} "
        f"in {Path(rgbx.__file__).parents[1].name}, Python {platform.python_version()}, OpenCV {cv2.__version__}, "
        f"numpy {np.__version__}, {datetime.date.today()}. How: `benchmarks/reading.py`.",
        "",
        "| what | CPU ms | wall ms |",
        "|---|---|---|",
        *(
            f"| {title} | - | - |" if title in refused else "| {} | {:.2f} | {:.2f} |".format(title, *times[title])
            for title in table
        ),
    ]
    return lines + [f"\nRefused: {title}: {reason}" for title, reason in refused.items()]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--root", help="a folder for the fabricated files, which stay there; by default a temporary one"
    )
    parser.add_argument("--frames", type=int, default=16, help="of each kind (16)")
    parser.add_argument("--many", type=int, default=10000, help="frames of the constructors (10000)")
    parser.add_argument("--passes", type=int, default=9)
    parser.add_argument("--out", help="a Markdown file to write")
    arguments = parser.parse_args()
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        lines = report(Path(arguments.root or folder), arguments)
    print("\n".join(lines))
    if arguments.out:
        Path(arguments.out).write_text("# Reading\n\n" + "\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
