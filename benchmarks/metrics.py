"""How fast the metrics are, beside the usual ways to compute them.

One 480×640 frame with 40 classes: regions of 40×40 pixels, every tenth pixel predicted wrong, 15 % ignored; for
boundaries the regions moved by 4 and 9 pixels instead. All ways of one metric take turns; each figure is the median
over the rounds after a warm-up. On a GPU the maps lie there already, the time includes waiting for the result, and
numpy has the same maps in the memory of the host ("numpy after copying" fetches them first). Every way must give the
same counts (calibration: the same score to 1e-5), or the script stops.

    python benchmarks/metrics.py --device cpu
"""

from __future__ import annotations

import argparse
import datetime
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from rgbx._torchvision import ensure_torchvision
from rgbx.metrics import boundary_counts, calibration_error, confusion_matrix, reliability_counts

ensure_torchvision()  # torchmetrics imports it

from torchmetrics.functional.classification import (  # noqa: E402
    multiclass_calibration_error,
    multiclass_confusion_matrix,
)

CLASSES, IGNORE, SIZE, CELL = 40, 255, (480, 640), 40
RESULTS = Path(__file__).parent / "results"


def regions() -> Tensor:
    """Squares of classes, int64 [H, W]."""
    cells = torch.randint(0, CLASSES, (SIZE[0] // CELL, SIZE[1] // CELL), generator=torch.Generator().manual_seed(2))
    return cells.repeat_interleave(CELL, 0).repeat_interleave(CELL, 1)


def maps() -> tuple[Tensor, Tensor]:
    """Prediction and label, int64 [H, W]."""
    generator = torch.Generator().manual_seed(0)
    label = regions()
    wrong = torch.rand(SIZE, generator=generator) < 0.1
    prediction = torch.where(wrong, torch.randint(0, CLASSES, SIZE, generator=generator), label)
    return prediction, label.masked_fill(torch.rand(SIZE, generator=generator) < 0.15, IGNORE)


def numpy_bincount(prediction: np.ndarray, label: np.ndarray) -> np.ndarray:
    """The form found in most segmentation codebases."""
    counted = (label >= 0) & (label < CLASSES)
    pairs = CLASSES * label[counted].astype(int) + prediction[counted]
    return np.bincount(pairs, minlength=CLASSES**2).reshape(CLASSES, CLASSES)


def boolean_index(prediction: Tensor, label: Tensor) -> Tensor:
    """The same in torch."""
    counted = label != IGNORE
    pairs = CLASSES * label[counted].long() + prediction[counted].long()
    return torch.bincount(pairs, minlength=CLASSES**2).view(CLASSES, CLASSES)


def confusion_ways(device: str, dtype: torch.dtype) -> dict[str, Callable[[], Any]]:
    prediction, label = (x.to(dtype) for x in maps())
    arrays = prediction.numpy(), label.numpy()
    there = prediction.to(device), label.to(device)
    ways: dict[str, Callable[[], Any]] = {"numpy, bincount of masked pixels": lambda: numpy_bincount(*arrays)}
    if device != "cpu":
        ways["numpy after copying"] = lambda: numpy_bincount(*(x.cpu().numpy() for x in there))
    if dtype == torch.int64:
        ways["torchmetrics"] = lambda: multiclass_confusion_matrix(*there, CLASSES, ignore_index=IGNORE)
    ways["torch, boolean index and bincount"] = lambda: boolean_index(*there)
    ways["rgbx"] = lambda: confusion_matrix(*there, CLASSES)
    return ways


def boundary_by_distance(prediction: np.ndarray, label: np.ndarray, reach: int) -> np.ndarray:
    """Boundary counts by an exact distance transform per class."""
    padded = [np.pad(np.where(label == IGNORE, -1, x).astype(int), 1, constant_values=-1) for x in (prediction, label)]
    edges = []
    for framed in padded:
        inner = framed[1:-1, 1:-1]
        around = (framed[:-2, 1:-1], framed[2:, 1:-1], framed[1:-1, :-2], framed[1:-1, 2:])
        change = np.logical_or.reduce([(side != inner) & (side >= 0) for side in around])
        edges.append(np.where(change & (inner >= 0), inner, -1))
    counts = np.zeros((CLASSES, 4), np.int64)
    for k in range(CLASSES):
        masks = [edge == k for edge in edges]
        for side, (own, other) in enumerate((masks, masks[::-1])):
            near = distance_transform_edt(~other) <= reach if other.any() else np.zeros_like(own)
            counts[k, 2 * side : 2 * side + 2] = (own & near).sum(), own.sum()
    return counts


def boundary_ways(device: str) -> dict[str, Callable[[], Any]]:
    label = regions()
    prediction = label.roll((4, 9), (0, 1))  # horizontal edges are matched, vertical ones are not
    label[:50] = IGNORE
    arrays, there = (prediction.numpy(), label.numpy()), (prediction.to(device), label.to(device))
    return {
        "scipy, distance transform per class": lambda: boundary_by_distance(*arrays, reach=6),
        "rgbx": lambda: boundary_counts(*there, CLASSES),
    }


def calibration_ways(device: str) -> dict[str, Callable[[], Any]]:
    prediction, label = (x.to(device)[None] for x in maps())
    noise = torch.randn(1, CLASSES, *SIZE, generator=torch.Generator().manual_seed(1)).to(device)
    probability = (noise + 4 * F.one_hot(prediction, CLASSES).movedim(-1, 1)).softmax(1)
    settings: dict[str, Any] = dict(num_classes=CLASSES, n_bins=15, ignore_index=IGNORE)
    return {
        "torchmetrics": lambda: float(multiclass_calibration_error(probability, label, **settings)),
        "rgbx": lambda: calibration_error(reliability_counts(probability, label)),
    }


def check_equal(ways: dict[str, Callable[[], Any]]) -> None:
    """Stops unless all ways give the same numbers, scores to 1e-5 (torchmetrics adds up in float32)."""
    found = {name: torch.as_tensor(way()).cpu() for name, way in ways.items()}
    expected = found["rgbx"]
    for name, value in found.items():
        exact = torch.equal(value.to(expected.dtype), expected)
        if not exact and (expected.ndim or abs(float(value) - float(expected)) > 1e-5):
            raise SystemExit(f"{name} and rgbx disagree")


def time_ways(ways: dict[str, Callable[[], Any]], device: str, rounds: int) -> dict[str, float]:
    """Median milliseconds of each; all take turns."""
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 3):
        for name, way in ways.items():
            _wait(device)
            start = time.perf_counter()
            way()
            _wait(device)
            if number >= 3:
                taken[name].append(1000 * (time.perf_counter() - start))
    return {name: statistics.median(values) for name, values in taken.items()}


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--rounds", type=int, default=50, help="for the confusion matrix; the others a fifth of it")
    parser.add_argument("--out", type=Path, default=None, help="file to write (benchmarks/results/metrics_DEVICE.md)")
    options = parser.parse_args()
    device = options.device
    fewer = max(3, options.rounds // 5)
    cases = [
        ("confusion matrix, int64", confusion_ways(device, torch.int64), options.rounds),
        ("confusion matrix, uint8", confusion_ways(device, torch.uint8), options.rounds),
        ("boundary F-score, 6 pixels", boundary_ways(device), fewer),
        ("calibration error, 15 bins", calibration_ways(device), fewer),
    ]
    cpu = f"{platform.machine()}, {torch.get_num_threads()} threads"
    machine = cpu if device == "cpu" else f"{torch.cuda.get_device_name()}, host {cpu}"
    lines = [
        f"# Metrics on a {'CPU' if device == 'cpu' else 'GPU'}\n",
        f"By `benchmarks/metrics.py`, which says what is measured. {machine}, Python {platform.python_version()}, "
        f"numpy {np.__version__}, torch {torch.__version__}, {datetime.date.today()}.\n",
        "| metric | way | ms | rgbx is faster by |",
        "|---|---|---|---|",
    ]
    for metric, ways, rounds in cases:
        check_equal(ways)
        times = time_ways(ways, device, rounds)
        lines += [f"| {metric} | {name} | {ms:.3f} | {ms / times['rgbx']:.2f} |" for name, ms in times.items()]
    out = options.out or RESULTS / f"metrics_{device}.md"
    out.write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
