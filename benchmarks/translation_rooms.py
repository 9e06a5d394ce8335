"""Does fusion pay in translation of the synthetic rooms? Networks on one map and on both, with the same budget.

All have the same generator, data, schedule and seed, and train by L1 alone unless --adversarial is given; only what
they are given differs. Each is trained and tested by the ordinary tools. Runs that are finished are not repeated:
give another --work-dir after a change of the config.

    python benchmarks/translation_rooms.py --sources normal edge --target rgb --epochs 20 --seeds 0

Beside the networks stands what the class of every pixel would tell at best (`class_bound`): the mean absolute error
of each class's median colour in training. A network cannot pass by much what its maps do not hold.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from rgbx.datasets import SyntheticRooms

ROOT = Path(__file__).resolve().parents[1]
CONFIG = ROOT / "configs/rooms/translate_depth_thermal_rgb_rooms_128x128.py"
DATA = ROOT / "data/rooms_128x128_class"
RANGES = {"thermal": {"low": 10.0, "high": 40.0}}  # degrees Celsius; hot heaters count as 40
# Classes that cannot be told apart: from normals and edges all but hue and temperature, from normals alone no boards.
CLASS_BOUNDS: dict[str, Mapping[int, int]] = {
    "the class of every pixel": {},
    "the class without hue and heat": {4: 3, 5: 3, 6: 3, 8: 7, 10: 9},
    "the class without boards, hue and heat": {3: 1, 4: 1, 5: 1, 6: 1, 8: 7, 10: 9},
}


def run_one(sources: tuple[str, ...], seed: int, options: argparse.Namespace) -> dict[str, float]:
    """Trains and tests one network; returns its MAE in the target's unit and the seconds that training took."""
    folder = options.work_dir / f"{'_'.join(sources)}_to_{options.target}_seed{seed}"
    result = folder / "result.json"
    if not result.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        maps = (*sources, options.target)
        overrides = [
            *(f"{part}_dataloader.dataset.modalities={maps}" for part in ("train", "val", "test")),
            f"model.modalities={sources}",
            f"model.target='{options.target}'",
            f"model.ranges={ {name: RANGES[name] for name in maps if name in RANGES} }",
            f"train_cfg.max_epochs={options.epochs}",
            f"train_cfg.val_interval={options.epochs}",
            *([] if options.adversarial else ["model.discriminator=None"]),
        ]
        scores = folder / "results.json"
        common = ["--data-root", str(DATA), "--cfg-options", *overrides]
        start = time.perf_counter()
        call(folder, "tools/train.py", str(CONFIG), "--work-dir", str(folder), "--seed", str(seed), *common)
        seconds = time.perf_counter() - start
        test = ("tools/test.py", str(CONFIG), str(folder), "--json", str(scores), "--draw", str(folder / "pictures"))
        call(folder, *test, *common)
        ((_, found),) = json.loads(scores.read_text())["subsets"].items()
        result.write_text(json.dumps({"MAE": found["ensemble"]["MAE"], "seconds": seconds}))
    return json.loads(result.read_text())


def call(folder: Path, *command: str) -> None:
    """Runs a tool; its output goes to log.txt in the folder."""
    with (folder / "log.txt").open("a") as log:
        subprocess.run([sys.executable, *command], cwd=ROOT, env=os.environ, stdout=log, stderr=log, check=True)


def class_bound(merged: Mapping[int, int], target: str) -> float:
    """MAE of the median value of a pixel's class, the medians from 200 training and the error on 200 test frames."""
    values, classes = {}, {}
    for split in ("train", "test"):
        rooms = SyntheticRooms(split=split, num_frames=200, size=(128, 128), root=DATA, modalities=(target, "thermal"))
        samples = [rooms.read(i) for i in range(len(rooms))]
        values[split] = np.stack([sample[target] for sample in samples]).astype(np.float32)
        label = np.stack([sample["label"] for sample in samples])
        classes[split] = np.vectorize(lambda k: merged.get(k, k), otypes=[np.uint8])(label)
    total = 0.0
    for k in np.unique(classes["test"]):
        median = np.median(values["train"][classes["train"] == k], axis=0)
        total += float(np.abs(values["test"][classes["test"] == k] - median).sum(dtype=np.float64))
    return total / values["test"].size


def summarise(results: dict[str, dict[int, dict[str, float]]], fused: str) -> str:
    """A Markdown table of MAE per network and how far the fused one lies below the better of the others."""
    lines = ["| translated from | MAE | seeds | training |", "|---|---|---|---|"]
    mean = {}
    for name, by_seed in results.items():
        values = [row["MAE"] for row in by_seed.values()]
        mean[name] = statistics.mean(values)
        minutes = statistics.mean(row["seconds"] for row in by_seed.values()) / 60
        lines.append(f"| {name} | {mean[name]:.4g} | {', '.join(f'{v:.4g}' for v in values)} | {minutes:.1f} min |")
    best = min(value for name, value in mean.items() if name != fused)
    return "\n".join([*lines, "", f"- fused below the better single input: {100 * (1 - mean[fused] / best):.1f} %"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sources", nargs="+", default=["normal", "edge"])
    parser.add_argument("--target", default="rgb")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--adversarial", action="store_true", help="with the config's discriminator")
    parser.add_argument("--work-dir", type=Path, default=ROOT / "work_dirs/translation_rooms")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/results/translation_rooms.md")
    options = parser.parse_args()
    subprocess.run([sys.executable, "tools/render_rooms.py", str(DATA), "--size", "128x128"], cwd=ROOT, check=True)
    both = tuple(options.sources)
    networks = {"+".join(sources): sources for sources in (both, *((name,) for name in both))}
    results = {
        name: {seed: run_one(sources, seed, options) for seed in options.seeds} for name, sources in networks.items()
    }
    header = (
        f"# Translation on the synthetic rooms\n\n{' + '.join(both)} to {options.target}, MAE of the ensemble on the "
        f"test split in the target's unit, {CONFIG.name}, {options.epochs} epochs, "
        f"{'with its discriminator' if options.adversarial else 'L1 alone'}. {os.cpu_count()} cores "
        f"({platform.machine()}), torch {torch.__version__}, {datetime.date.today()}.\n\n"
    )
    text = header + summarise(results, "+".join(both)) + "\n"
    if options.target == "rgb":
        for name, merged in CLASS_BOUNDS.items():
            text += f"- the median colour of {name}: {class_bound(merged, options.target):.4g}\n"
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(text)
    print(text)


if __name__ == "__main__":
    main()
