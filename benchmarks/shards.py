"""Shards against files on one disk, by one and two processes, and what a dataset of millions of samples would cost.

    OMP_NUM_THREADS=1 python benchmarks/shards.py --json benchmarks/results/shards.json

Frames of 480 × 640, rgb and depth of 16 bits and a label, as PNG of camera-like noise, in folders and as shards of the
same files. An epoch is read in the order of `EpochSampler`: of files shuffled wholly, of shards by `epoch_order`.
Processes read every second sample each, as those of a training do; the clock runs from when all are ready until the
last is done. Rounds of all kinds are interleaved; told are medians, and CPU time of the reading processes for each
frame. Cold: before each round the kernel is asked to forget the files (`posix_fadvise`), which a disk of a virtual
machine may still hold in a cache of its own.

Then a manifest of 4.5 million samples is made, as many as Taskonomy has views: the memory of a dataset that has opened
it, the time and memory of an epoch's order, and of indexes by those of the shards above.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import resource
import statistics
import tempfile
import time
import tracemalloc
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

import cv2
import numpy as np

from rgbx.datasets import DenseDataset, EpochSampler, FolderDataset, ShardedDataset
from rgbx.datasets.prepare import write_shards
from rgbx.datasets.shards.manifest import read_manifest, write_manifest

DECLARATION = """
classes.names = ["a", "b", "c"]
label = {folder = "label"}
modalities.rgb = {folder = "rgb", unit = "rgb8"}
modalities.depth = {folder = "depth", unit = "metre", scale = 1000}
splits.train = "rgb"
"""
SIZE = (480, 640)
VIEWS = 4_500_000
SHARD_MB = 32


def write_frames(root: Path, count: int) -> None:
    """Smooth scenes with the noise of a sensor, so that PNG is as hard to decode as camera images are."""
    for name in ("rgb", "depth", "label"):
        (root / name).mkdir(parents=True)
    (root / "dataset.toml").write_text(DECLARATION)
    for index in range(count):
        rng = np.random.default_rng(index)
        scene = cv2.resize(rng.random((6, 8, 4)).astype(np.float32), SIZE[::-1], interpolation=cv2.INTER_CUBIC)
        rgb = np.clip(scene[..., :3] * 255 + rng.normal(0, 2, (*SIZE, 3)), 0, 255).astype(np.uint8)
        depth = np.clip(scene[..., 3] * 8000 + rng.normal(0, 5, SIZE), 0, 65535).astype(np.uint16)
        label = (scene[..., 0] * 2.99).clip(0, 2).astype(np.uint8)
        for name, array in (("rgb", rgb), ("depth", depth), ("label", label)):
            cv2.imwrite(str(root / name / f"{index:06d}.png"), array)


def read_share(dataset: DenseDataset, order: Sequence[int], barrier: Any, told: Any) -> None:
    """Reads some samples once all processes are ready; tells wall and CPU seconds."""
    cv2.setNumThreads(1)
    barrier.wait()
    begin, cpu = time.monotonic(), time.process_time()
    for index in order:
        dataset.read(index)
    told.put((begin, time.monotonic(), time.process_time() - cpu))


def read_epoch(dataset: DenseDataset, epoch: int, processes: int) -> tuple[float, float]:
    """Samples per second of an epoch, and CPU milliseconds of a sample."""
    sampler = EpochSampler(dataset)
    sampler.set_epoch(epoch)
    order = [key.index for key in sampler]
    context = multiprocessing.get_context("fork")
    barrier, told = context.Barrier(processes), context.SimpleQueue()
    shares = [order[rank::processes] for rank in range(processes)]
    running = [context.Process(target=read_share, args=(dataset, share, barrier, told)) for share in shares]
    for process in running:
        process.start()
    times = [told.get() for _ in running]
    for process in running:
        process.join()
    wall = max(end for _, end, _ in times) - min(begin for begin, _, _ in times)
    return len(order) / wall, 1000 * sum(cpu for _, _, cpu in times) / len(order)


def forget(root: Path) -> None:
    """Asks the kernel to drop what it keeps of the files."""
    os.sync()
    for path in root.rglob("*"):
        if path.is_file():
            opened = os.open(path, os.O_RDONLY)
            os.posix_fadvise(opened, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(opened)


def throughput(root: Path, frames: int, rounds: int) -> dict[str, Any]:
    """Samples per second by kind, cache and processes, in interleaved rounds."""
    write_frames(root / "files", frames)
    write_shards(root / "shards", {"train": FolderDataset(root / "files")}, root / "files", shard_mb=SHARD_MB)
    buffer = frames // 4
    kinds = {
        "files": FolderDataset(root / "files"),
        "shards": ShardedDataset(root / "shards", shuffle_buffer=buffer),
    }
    found: dict[tuple[str, str, int], list[tuple[float, float]]] = {}
    for number in range(rounds):
        for cache in ("warm", "cold"):
            for processes in (1, 2):
                for kind, dataset in kinds.items():
                    if cache == "cold":
                        forget(root / kind)
                    found.setdefault((kind, cache, processes), []).append(read_epoch(dataset, number, processes))
    rates = {key: [rate for rate, _ in values] for key, values in found.items()}
    rows = [
        {
            "kind": kind,
            "cache": cache,
            "processes": processes,
            "samples_per_second": round(statistics.median(rates[kind, cache, processes]), 1),
            "cpu_ms_per_sample": round(statistics.median(cpu for _, cpu in values), 2),
        }
        for (kind, cache, processes), values in found.items()
    ]
    pairs = {
        f"{kind} {cache}: 2 processes to 1": round(
            statistics.median(b / a for a, b in zip(rates[kind, cache, 1], rates[kind, cache, 2], strict=True)), 2
        )
        for kind in kinds
        for cache in ("warm", "cold")
    }
    shards = read_manifest(root / "shards")["train"].shards
    index_bytes = sum(path.stat().st_size for path in (root / "shards").rglob("*.idx"))
    return {
        "frames": frames,
        "rounds": rounds,
        "shards": len(shards),
        "shuffle_buffer": buffer,
        "bytes_of_files_per_sample": sum(p.stat().st_size for p in (root / "files").rglob("*.png")) // frames,
        "bytes_of_shards_per_sample": sum(shard.bytes for shard in shards) // frames,
        "index_bytes_per_sample": round(index_bytes / frames),
        "rows": rows,
        "ratios": pairs,
    }


def on_paper(root: Path, sample_bytes: int, index_bytes: int) -> dict[str, Any]:
    """A dataset of millions that has a manifest alone."""
    split = read_manifest(root / "shards")["train"]
    each = round(256 * 2**20 / sample_bytes)
    count = -(-VIEWS // each)
    sizes = [each] * (count - 1) + [VIEWS - each * (count - 1)]
    made = [
        replace(split.shards[0], name=f"train/{k:06d}.tar", samples=n, bytes=n * sample_bytes)
        for k, n in enumerate(sizes)
    ]
    (root / "paper").mkdir()
    write_manifest(root / "paper", {"train": replace(split, shards=made)})
    begin = time.process_time()
    dataset = ShardedDataset(root / "paper")
    opened = time.process_time() - begin
    begin = time.process_time()
    order = dataset.epoch_order(np.random.default_rng(0))
    ordered = time.process_time() - begin
    assert np.array_equal(np.sort(order), np.arange(VIEWS))
    tracemalloc.start()
    dataset = ShardedDataset(root / "paper")
    kept = tracemalloc.get_traced_memory()[0]
    tracemalloc.reset_peak()
    order = dataset.epoch_order(np.random.default_rng(0))
    order_peak = tracemalloc.get_traced_memory()[1] - kept
    tracemalloc.stop()
    return {
        "samples": VIEWS,
        "shards_of_256_mib": count,
        "samples_of_a_shard": each,
        "gigabytes": round(VIEWS * sample_bytes / 1e9),
        "manifest_megabytes": round((root / "paper" / "shards.json").stat().st_size / 1e6, 1),
        "open_seconds_of_cpu": round(opened, 2),
        "dataset_megabytes": round(kept / 1e6, 1),
        "order_seconds_of_cpu": round(ordered, 2),
        "order_megabytes_at_its_peak": round(order_peak / 1e6),
        "index_megabytes_of_all": round(VIEWS * index_bytes / 1e6),
        "index_megabytes_of_64_in_memory": round(64 * each * (index_bytes + 8) / 1e6, 1),
        "resident_megabytes_of_this_process_at_most": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=120)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="where to write frames and shards (a temporary folder)")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        measured = throughput(Path(folder), options.frames, options.rounds)
        paper = on_paper(Path(folder), measured["bytes_of_shards_per_sample"], measured["index_bytes_per_sample"])
    result = {"cores": os.cpu_count(), "throughput": measured, "on_paper": paper}
    print(json.dumps(result, indent=1))
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
