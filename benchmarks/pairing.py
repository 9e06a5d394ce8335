"""Measures the doctor's check of files that do not belong together: how surely pairs are told, what is found, the time.

    OMP_NUM_THREADS=1 python benchmarks/pairing.py data/nyuv2_320x240 [--split test] [--map depth] [--seeds 3]

FOLDER is that of a dataset whose files belong together; nothing is written there. All frames of the split are read once
and become small planes of their edges. Then the planes of the map are moved among the frames, and what
`rgbx.doctor.pairs.judge` names is compared with what was moved:

- swapped: 5 % of the frames in pairs; deranged: 5 % in one ring; mirrored: 5 %; one behind, one ahead, shuffled: the
  whole folder; range: 100 frames (or a quarter) among which the files moved by 7; block: 60 (or a quarter) that are
  copies of others.
- Recall is the share of the moved frames that are named, precision the share of the named that were moved.
- AUC is the chance that an own pair fits better than a foreign one, over all pairs; rank 1 the share of images that no
  map fits better than their own. Both also for maps that are mirrored, which must not be told.

Times are of the process on one core, without those of other processes: reading, edges, and judging all frames apart.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator

import cv2
import numpy as np

from rgbx.datasets import build_dataset
from rgbx.doctor.edges import image_edges, map_edges, small_plane
from rgbx.doctor.pairs import Pairs, judge


def read_planes(folder: str, split: str, name: str) -> tuple[np.ndarray, np.ndarray]:
    """int8 [n, rows, columns] of the images and of the map, of the frames that have edges in both."""
    dataset = build_dataset(folder, split)
    images, others = [], []
    reading = edges = 0.0
    for at in range(len(dataset)):
        start = time.process_time()
        sample = dataset.read(at)
        middle = time.process_time()
        pair = small_plane(image_edges(sample["rgb"])), small_plane(map_edges(sample[name], dataset.maps.get(name)))
        reading, edges = reading + middle - start, edges + time.process_time() - middle
        if pair[0] is not None and pair[1] is not None:
            images.append(pair[0])
            others.append(pair[1])
    print(f"{len(images)} of {len(dataset)} frames; reading {reading:.1f} s, edges {edges:.1f} s of CPU")
    print(f"{images[0].nbytes + others[0].nbytes} bytes are kept of a frame")
    return np.stack(images), np.stack(others)


def tell_apart(images: np.ndarray, others: np.ndarray) -> str:
    """AUC and rank 1 of planes [n, rows, columns]."""
    count = len(images)
    pairs = Pairs(images, others, np.arange(count))
    bank = pairs.unit_others(np.arange(count))
    fit = pairs.fit(pairs.unit_images(np.arange(count)) @ bank.T, np.arange(count)[:, None], np.arange(count)[None])
    own, foreign = np.diag(fit), np.sort(fit[~np.eye(count, dtype=bool)])
    auc = np.searchsorted(foreign, own).mean() / len(foreign)
    return (
        f"AUC {auc:.4f}, rank 1 {(fit.argmax(axis=1) == np.arange(count)).mean():.1%}, median fit {np.median(own):.1f}"
    )


def damages(count: int, rng: np.random.Generator) -> Iterator[tuple[str, np.ndarray]]:
    """Names, and from which frame each frame's map is taken, [n]."""
    few, plain = max(2, count // 20 // 2 * 2), np.arange(count)
    chosen = rng.choice(count, few, replace=False)
    swapped, deranged, ranged, block = (plain.copy() for _ in range(4))
    swapped[chosen] = chosen.reshape(-1, 2)[:, ::-1].ravel()
    deranged[chosen] = np.roll(chosen, 1)
    size = min(100, count // 4)
    start = int(rng.integers(0, count - size))
    ranged[start : start + size] = np.roll(plain[start : start + size], 7)
    size = min(60, count // 4)
    block[2 * size : 3 * size] = plain[:size]
    yield from {"swapped": swapped, "deranged": deranged, "range": ranged, "block": block}.items()
    yield from {"one behind": np.roll(plain, 1), "one ahead": np.roll(plain, -1)}.items()
    yield "shuffled", rng.permutation(count)


def row(name: str, images: np.ndarray, others: np.ndarray, moved: set[int]) -> None:
    """Judges planes [n, rows, columns] and prints what was found."""
    start = time.process_time()
    verdict = judge(Pairs(images, others, np.arange(len(images))))
    seconds = time.process_time() - start
    named = verdict.misplaced
    right = len(named & moved)
    recall = f"{right / len(moved):.3f}" if moved else "-"
    precision = f"{right / len(named):.3f}" if named else "-"
    runs = ", ".join(f"{len(run.frames)} by {run.offset}" for run in verdict.runs) or "-"
    print(f"{name:<12}{len(moved):>7}{len(named):>7}{recall:>8}{precision:>11}{seconds:>7.1f}  {runs}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--split", default="test")
    parser.add_argument("--map", default="depth", help="a modality, or label")
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    images, others = read_planes(arguments.folder, arguments.split, arguments.map)
    count = len(images)
    print(f"own pairs: {tell_apart(images, others)}")
    print(f"mirrored:  {tell_apart(images, np.ascontiguousarray(others[:, :, ::-1]))}")
    print(f"\n{'damage':<12}{'moved':>7}{'named':>7}{'recall':>8}{'precision':>11}{'CPU s':>7}  runs")
    row("none", images, others, set())
    for seed in range(arguments.seeds):
        rng = np.random.default_rng(seed)
        for name, order in damages(count, rng):
            row(name, images, others[order], set(np.flatnonzero(order != np.arange(count)).tolist()))
        chosen = rng.choice(count, max(1, count // 20), replace=False)
        turned = others.copy()
        turned[chosen] = turned[chosen][:, :, ::-1]
        row("mirrored", images, turned, set(chosen.tolist()))
    row("all mirrored", images, np.ascontiguousarray(others[:, :, ::-1]), set(range(count)))


if __name__ == "__main__":
    main()
