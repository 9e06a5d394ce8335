"""Shards against files on one disk, and what a dataset of millions of samples costs before a sample is read.

    OMP_NUM_THREADS=1 python benchmarks/shards.py [--frames N] [--rounds N] [--views N] [--json FILE]

Frames are drawn: colours, depth in millimetres and labels of 480 × 640 pixels as PNG, in a folder with a
`dataset.toml`, and the same packed by `rgbx prepare shards`. Each measurement reads all samples once in a random order
of its own kind (files: any; shards: that of an epoch), in so many processes of one thread that begin together; kinds
and numbers of processes take turns, and medians are printed. What lies in the system's cache is dropped before each,
as far as `posix_fadvise` does.

`--views` makes a manifest of so many samples in shards of 1,000, and measures what a process needs to open it and to
draw the order of an epoch.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import resource
import statistics
import tempfile
import time
from multiprocessing import get_context
from multiprocessing.queues import SimpleQueue
from multiprocessing.synchronize import Barrier
from pathlib import Path

import cv2
import numpy as np

from rgbx.datasets import DenseDataset, build_dataset
from rgbx.datasets.prepare import write_shards
from rgbx.datasets.shards import Shard, ShardedDataset, ShardSplit, read_manifest, write_manifest

TOML = """
[classes]
names = ["a", "b"]
[modalities.rgb]
folder = "rgb"
unit = "rgb8"
[modalities.depth]
folder = "depth"
unit = "metre"
scale = 1000
[label]
folder = "label"
[splits]
train = {names}
"""


def draw(folder: Path, count: int) -> None:
    """Frames that compress about as photographs do."""
    rng = np.random.default_rng(0)
    for name in ("rgb", "depth", "label"):
        (folder / name).mkdir(parents=True)
    for i in range(count):
        rough = rng.integers(0, 256, (30, 40, 3), dtype=np.uint8)
        smooth = cv2.resize(rough, (640, 480), interpolation=cv2.INTER_CUBIC)
        noisy = np.clip(smooth + rng.normal(0, 3, smooth.shape), 0, 255).astype(np.uint8)
        cv2.imwrite(str(folder / f"rgb/{i:05d}.png"), noisy)
        cv2.imwrite(str(folder / f"depth/{i:05d}.png"), 500 + smooth[..., 0].astype(np.uint16) * 20)
        cv2.imwrite(str(folder / f"label/{i:05d}.png"), (smooth[..., 1] > 128).astype(np.uint8))
    names = json.dumps([f"{i:05d}" for i in range(count)])
    (folder / "dataset.toml").write_text(TOML.format(names=names))


def drop(folder: Path) -> None:
    """Asks the system to forget the files of a folder."""
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def order_of(dataset: DenseDataset) -> np.ndarray:
    """An epoch's, int64 [N]."""
    rng = np.random.default_rng(1)
    own = getattr(dataset, "epoch_order", None)
    found: np.ndarray = rng.permutation(len(dataset)) if own is None else own(rng)
    return found


def share(folder: str, rank: int, size: int, barrier: Barrier, answer: SimpleQueue[float]) -> None:
    """Reads every `size`-th sample; puts on `answer` the seconds that all took."""
    cv2.setNumThreads(1)
    dataset = build_dataset(folder, "train")
    positions = order_of(dataset)[rank::size].tolist()
    barrier.wait()
    start = time.perf_counter()
    for index in positions:
        dataset[index]
    barrier.wait()
    if not rank:
        answer.put(time.perf_counter() - start)


def read(folder: Path, processes: int) -> float:
    """Seconds in which so many processes read a dataset."""
    context = get_context("spawn")
    barrier, answer = context.Barrier(processes), context.SimpleQueue()
    started = [
        context.Process(target=share, args=(str(folder), rank, processes, barrier, answer)) for rank in range(processes)
    ]
    drop(folder)
    for process in started:
        process.start()
    for process in started:
        process.join()
    return float(answer.get())


def open_large(folder: Path, views: int, like: ShardedDataset) -> dict[str, float]:
    """What a manifest of many samples costs; its shards are named, and not there."""
    packed = like.packed
    digest = hashlib.sha256(b"").hexdigest()
    shards = [Shard(f"train/{i:06d}.tar", 1000, 10**9, digest, digest) for i in range(views // 1000)]
    split = ShardSplit(**{**vars(packed), "shards": shards})
    write_manifest(folder, {"train": split})
    size = (folder / "shards.json").stat().st_size
    before, start = _resident(), time.process_time()
    dataset = ShardedDataset(folder, "train")
    opened, after = time.process_time() - start, _resident()
    start = time.process_time()
    order = dataset.epoch_order(np.random.default_rng(0))
    drawn = time.process_time() - start
    return {
        "views": len(dataset), "shards": len(shards), "manifest_mb": size / 1e6, "open_s": opened,
        "open_mb": after - before, "order_s": drawn, "order_mb": order.nbytes / 1e6, "peak_mb": _peak(),
    }  # fmt: skip


def _resident() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 1e6


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def main() -> None:
    """Draws, packs, measures, prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--views", type=int, default=4_500_000)
    parser.add_argument("--shard-mb", type=float, default=32)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="shards_") as place:
        files, shards = Path(place, "files"), Path(place, "shards")
        draw(files, arguments.frames)
        dataset = build_dataset(files, "train")
        write_shards(shards, {"train": dataset}, files, shard_mb=arguments.shard_mb)
        seconds: dict[tuple[str, int], list[float]] = {(kind, n): [] for n in (1, 2) for kind in ("files", "shards")}
        for _ in range(arguments.rounds):
            for (kind, processes), own in seconds.items():
                own.append(read(files if kind == "files" else shards, processes))
        speeds = {f"{k} by {n}": arguments.frames / statistics.median(own) for (k, n), own in seconds.items()}
        packed = read_manifest(shards)["train"].shards
        index = sum(path.stat().st_size for path in shards.rglob("*.idx")) / arguments.frames
        found = {
            "samples_per_second": speeds,
            "shards_two_against_one": speeds["shards by 2"] / speeds["shards by 1"],
            "files_two_against_one": speeds["files by 2"] / speeds["files by 1"],
            "shards_against_files": speeds["shards by 1"] / speeds["files by 1"],
            "sample_kb": sum(shard.bytes for shard in packed) / arguments.frames / 1e3,
            "index_bytes_per_sample": index,
            "large": open_large(Path(place), arguments.views, ShardedDataset(shards, "train")),
        }
    print(json.dumps(found, indent=1))
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
