"""What a list of millions of frames costs: the constructor's time and memory, a sample, and the workers of a loader.

    OMP_NUM_THREADS=1 python benchmarks/lists.py --lines 10000000
    OMP_NUM_THREADS=1 python benchmarks/lists.py --lines 200000 --kind stems --json lists.json

Lines of two kinds: "columns", `rgb<TAB>masks<TAB>depth` of `NYUDv2Lists`, and "stems", a list that a `dataset.toml`
names, whose files are looked for below the folders of the maps. Every line is a path of its own: the folder of a map
holds links to one folder of links to one folder of at most 1000 files of 4x4 pixels, so that ten million paths need
few files. All that a training checks is checked: ids differ, paths stay inside, and each file is there.

Method: the dataset is made in a process of its own, which reports its CPU time, the resident memory before (with all
imported) and the most until then; `sample_ms` is the CPU time of `dataset[i]` at drawn positions, and
`workers_private_mb` the memory that two workers of a loader, having read drawn samples, share with no other process.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

import cv2
import numpy as np
from torch.utils.data import DataLoader, Dataset

from rgbx.datasets import FolderDataset, NYUDv2Lists
from rgbx.datasets.files import FileDataset

MAPS = {"rgb": np.full((4, 4, 3), 90, np.uint8), "label": np.zeros((4, 4), np.uint8), "depth": np.ones((4, 4), "u2")}
FILES = 1000  # in a folder, at most
DECLARATION = """
classes.names = ["a", "b"]
label = {folder = "label"}
modalities.rgb = {folder = "rgb", unit = "rgb8"}
modalities.depth = {folder = "depth", unit = "metre", scale = 1000}
splits.train = "train.txt"
"""


def measure(lines: int, kind: str = "columns") -> dict[str, Any]:
    """Makes a list of so many lines in a temporary folder, and opens it in a process of its own.

    Args:
        lines: how many.
        kind: "columns" or "stems".

    Returns:
        `lines`, `list_mb`, `seconds` of CPU of the constructor, `peak_mb` resident, `peak_beyond_imports_mb`,
        `kept_mb` after it, `sample_ms`, and `workers_private_mb` of two workers together.
    """
    with tempfile.TemporaryDirectory() as folder:
        write_list(Path(folder), lines, kind)
        command = [sys.executable, __file__, "--open", folder, "--kind", kind]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        size = (Path(folder) / "train.txt").stat().st_size
    return {"kind": kind, "lines": lines, "list_mb": round(size / 1e6, 1), **json.loads(done.stdout)}


def write_list(root: Path, lines: int, kind: str) -> None:
    """The files of so many frames, and `train.txt`."""
    files = min(FILES, lines)
    folders = -(-lines // files)
    side = next(side for side in range(math.isqrt(folders), 0, -1) if folders % side == 0)  # so that all are named
    for name, array in MAPS.items():
        store, middle, top = root / "store" / name, root / "middle" / name, root / name
        for place in (store, middle, top):
            place.mkdir(parents=True)
        cv2.imwrite(str(store / "0000.png"), array)
        for number in range(1, files):
            os.link(store / "0000.png", store / f"{number:04d}.png")
        for number in range(folders // side):
            (top / f"{number:03d}").symlink_to(middle)
        for number in range(side):
            (middle / f"{number:03d}").symlink_to(store)
    (root / "dataset.toml").write_text(DECLARATION)
    with (root / "train.txt").open("w") as file:
        file.writelines(_lines(lines, files, side, kind))


def _lines(count: int, files: int, side: int, kind: str) -> Iterator[str]:
    for number in range(count):
        place, file = divmod(number, files)
        stem = f"{place // side:03d}/{place % side:03d}/{file:04d}"
        yield f"{stem}\n" if kind == "stems" else f"rgb/{stem}.png\tlabel/{stem}.png\tdepth/{stem}.png\n"


def open_list(root: Path, kind: str) -> tuple[FileDataset, dict[str, float]]:
    """Opens the dataset in this process, and tells what that took."""
    before = _status("VmRSS")
    begin = time.process_time()
    dataset: FileDataset = FolderDataset(root) if kind == "stems" else NYUDv2Lists(root)
    seconds = time.process_time() - begin
    peak, kept = _status("VmHWM"), _status("VmRSS")
    found = {"seconds": seconds, "peak_mb": peak, "peak_beyond_imports_mb": peak - before, "kept_mb": kept - before}
    return dataset, found


def use_list(dataset: FileDataset) -> dict[str, float]:
    """Reads some samples, here and in workers."""
    drawn = np.random.default_rng(0).integers(len(dataset), size=500).tolist()
    begin = time.process_time()
    for index in drawn:
        dataset[index]
    sample = (time.process_time() - begin) / len(drawn)
    return {"sample_ms": sample * 1000, "workers_private_mb": _private(dataset, drawn)}


class _Private(Dataset[float]):
    """Reads a sample, and tells what memory this process shares with no other."""

    def __init__(self, dataset: FileDataset) -> None:
        self.dataset = dataset

    def __getitem__(self, index: int) -> float:
        _ = self.dataset[index], self.dataset.name_of(index)
        rows = Path("/proc/self/smaps_rollup").read_text().splitlines()
        return sum(int(row.split()[1]) for row in rows if row.startswith("Private")) / 1000


def _private(dataset: FileDataset, drawn: list[int]) -> float:
    """Of two workers together, in MB."""
    half = len(drawn) // 2
    loader = DataLoader(_Private(dataset), half, sampler=drawn, num_workers=2, multiprocessing_context="fork")
    return sum(float(batch.max()) for batch in loader)


def _status(field: str) -> float:
    """A field of this process, in MB."""
    rows = Path("/proc/self/status").read_text().splitlines()
    return next(int(row.split()[1]) for row in rows if row.startswith(f"{field}:")) / 1000


def main() -> None:
    """See the top of this file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lines", type=int, default=10_000_000)
    parser.add_argument("--kind", choices=("columns", "stems"), default="columns")
    parser.add_argument("--json", help="also writes the result to this file")
    parser.add_argument("--open", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.open:
        dataset, found = open_list(Path(arguments.open), arguments.kind)
        print(json.dumps({name: round(value, 2) for name, value in {**found, **use_list(dataset)}.items()}))
        return
    found = measure(arguments.lines, arguments.kind)
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(found, indent=2) + "\n")
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
