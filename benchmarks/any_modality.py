"""One checkpoint for every subset of RGB, depth and thermal, against a network for each that is trained on it alone.

Rendered rooms of 64x64, networks from random weights, the same frames and schedule for all. The budget of the one
checkpoint is that of the seven networks together: with subsets drawn uniformly, 7 times the steps of one, so that each
subset is seen as often as by its own network; other ways have as many steps as take about that long.

    OMP_NUM_THREADS=1 python benchmarks/any_modality.py --seeds 0 1 2 --out benchmarks/results/any_modality.json
    python benchmarks/any_modality.py --out benchmarks/results/any_modality.json --table    # prints what the docs show

Each run leaves a JSON file in --work-dir and is not made again: give another one after a change of the code.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import statistics
import time
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader

from rgbx._text import subset_title
from rgbx.datasets import EpochSampler, SyntheticRooms
from rgbx.evaluate.session import Session
from rgbx.models import MultimodalModel, multimodal_segmentor
from rgbx.train.loops import training_step
from rgbx.train.optim import EncoderDecoderConstructor
from rgbx.transforms import HorizontalFlip, PackSample, collate

ROOT = Path(__file__).resolve().parents[1]
MODALITIES, SIZE, CLASSES, BATCH = ("rgb", "depth", "thermal"), (64, 64), 11, 8
STATISTICS = {"depth": {"mean": (3.85,), "std": (1.40,)}, "thermal": {"mean": (24.0,), "std": (8.5,), "max": 60.0}}
SUBSETS = [s for size in (3, 2, 1) for s in itertools.combinations(MODALITIES, size)]
ALONE = {f"alone {'+'.join(subset)}": subset for subset in SUBSETS}
UNIFORM = {"modality_dropout": {"probability": "uniform"}}
DISTILLED = {"objectives": ["subset_distillation"]}
ANY: dict[str, tuple[dict[str, Any], Fraction]] = {  # parameters, and steps as a multiple of those of a network alone
    "uniform": (UNIFORM, Fraction(7)),  # every subset is seen as often as by its own network
    "uniform, ramp 0.3": ({"modality_dropout": {"probability": "uniform", "ramp": 0.3}}, Fraction(6)),
    "half of the steps": ({"modality_dropout": 0.5}, Fraction(16, 3)),  # a step runs 2.25 modalities in the mean
    "self-distillation": (DISTILLED, Fraction(8, 3)),  # a step runs 3 modalities and then 1.5: 12 / 4.5
    "uniform, as many steps": (UNIFORM, Fraction(1)),
}
LEAST_SHARE, MOST_LOST = 0.9, 0.02  # the bars: of a subset's own network, and of all modalities
Figures = dict[str, Any]


def rooms(split: str, modalities: Sequence[str], options: argparse.Namespace, *, flipped: bool = False) -> Any:
    """Frames that are rendered once and kept; the classes are those of all modalities."""
    flip = [HorizontalFlip()] if flipped else []
    return SyntheticRooms(
        root=options.data, split=split, size=SIZE, modalities=MODALITIES, transforms=(*flip, PackSample())
    )


def trained(
    modalities: Sequence[str], parameters: Mapping[str, Any], seed: int, steps: int, options: argparse.Namespace
) -> tuple[MultimodalModel, float]:
    """A network after some steps, and the CPU seconds of all of them."""
    torch.manual_seed(seed)
    model = multimodal_segmentor(
        modalities=modalities,
        num_classes=CLASSES,
        backbone=options.backbone,
        decoder={"width": 64, "dropout": 0.1},
        statistics=STATISTICS,
        **parameters,
    )
    model.set_epoch_seed(seed)
    frames = rooms("train", modalities, options, flipped=True)
    sampler = EpochSampler(frames, seed=seed)
    loader = DataLoader(frames, BATCH, sampler=sampler, drop_last=True, collate_fn=collate)
    given = {"type": "AdamW", "lr": 2e-3, "weight_decay": 0.01}
    wrapper = EncoderDecoderConstructor({"optimizer": given, "clip_grad": {"max_norm": 5.0}})(model)
    warm = max(1, steps // 10)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        wrapper.optimizer, lambda step: min((step + 1) / warm, 1.0) * (1 - step / steps) ** 0.9
    )
    spent = 0.0
    for step, batch in enumerate(itertools.islice(epochs(loader, sampler), steps)):
        start = time.process_time()
        model.set_progress(step / steps)
        training_step(model.train(), {k: v for k, v in batch.items() if told(k, modalities)}, wrapper)
        spent += time.process_time() - start
        schedule.step()
    return model.eval(), spent


def told(key: str, modalities: Sequence[str]) -> bool:
    """Whether a key of a batch is the label, or of these modalities."""
    return key.removesuffix("_valid") in (*modalities, "label", "sample_id")


def epochs(loader: DataLoader[Any], sampler: EpochSampler) -> Any:
    """Batches without end."""
    for epoch in itertools.count():
        sampler.set_epoch(epoch)
        yield from loader


def miou(model: MultimodalModel, subset: Sequence[str], options: argparse.Namespace) -> float:
    """Of the ensemble."""
    session = Session(model, DataLoader(rooms(options.split, subset, options), BATCH, collate_fn=collate))
    return float(session.evaluate(subset)["labels"].scores("ensemble")["mIoU"])


def run(kind: str, seed: int, options: argparse.Namespace) -> Figures:
    """Scores by subset, and seconds."""
    path = options.work_dir / f"{kind.replace(' ', '_').replace(',', '').replace('+', '_')}_seed{seed}.json"
    if path.is_file():
        found: Figures = json.loads(path.read_text())
        return found
    alone = ALONE.get(kind)
    parameters, factor = ({}, Fraction(1)) if alone else ANY[kind]
    model, spent = trained(alone or MODALITIES, parameters, seed, round(factor * options.steps), options)
    scores = {"+".join(subset): miou(model, subset, options) for subset in ([alone] if alone else SUBSETS)}
    found = {"seconds": round(spent, 1), "mIoU": {name: round(value, 4) for name, value in scores.items()}}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found))
    print(kind, seed, *(f"{name} {value:.3f}" for name, value in scores.items()), f"{spent:.0f} s", flush=True)
    return found


def page(result: Figures) -> str:
    """The tables that the docs show: each subset by its own network and by one checkpoint, and the bars."""
    runs = result["runs"]
    ways = [kind for kind in ANY if runs.get(kind)]
    own = {subset: [row["mIoU"]["+".join(subset)] for row in runs[kind]] for kind, subset in ALONE.items()}
    lines = [f"| given | its own network | {' | '.join(ways)} |", "|---|---|" + "---|" * len(ways)]
    for subset in SUBSETS:
        title = "all three" if len(subset) == len(MODALITIES) else subset_title(subset, MODALITIES)
        found = [[row["mIoU"]["+".join(subset)] for row in runs[kind]] for kind in ways]
        cells = [f"{cell(values)}, {statistics.mean(values) / statistics.mean(own[subset]):.2f}" for values in found]
        lines.append(f"| {title} | {cell(own[subset])} | {' | '.join(cells)} |")
    seconds = [sum(row["seconds"] for kind in ALONE for row in runs[kind]) / len(own[MODALITIES])]
    seconds += [statistics.mean(row["seconds"] for row in runs[kind]) for kind in ways]
    lines.append(f"| CPU seconds of training | {' | '.join(f'{value:.0f}' for value in seconds)} |")
    lines += ["", "| way | least share of a subset's own network | lost by all three | reached |", "|---|---|---|---|"]
    for kind in ways:
        means = {subset: statistics.mean(row["mIoU"]["+".join(subset)] for row in runs[kind]) for subset in SUBSETS}
        share = min(means[subset] / statistics.mean(own[subset]) for subset in SUBSETS)
        lost = statistics.mean(own[MODALITIES]) - means[MODALITIES]
        reached = "yes" if share >= LEAST_SHARE and lost <= MOST_LOST else "NO"
        lines.append(f"| {kind} | {share:.2f} | {lost:+.3f} | {reached} |")
    return "\n".join([result["about"], "", *lines])


def cell(values: Sequence[float]) -> str:
    """The mean and the figure of each seed."""
    return f"{statistics.mean(values):.3f} ({', '.join(f'{value:.3f}' for value in values)})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=120, help="of 8 frames, of a network for one subset")
    parser.add_argument("--backbone", default="resnet10t")
    parser.add_argument("--split", choices=("test", "val"), default="test", help="val to choose options by")
    parser.add_argument("--only", nargs="+", choices=[*ALONE, *ANY], default=[*ALONE, *ANY], help="what to train")
    parser.add_argument("--data", type=Path, default=ROOT / "data/rooms_64x64", help="where frames are rendered to")
    parser.add_argument("--work-dir", type=Path, default=ROOT / "work_dirs/any_modality")
    parser.add_argument("--out", type=Path, help="a JSON file")
    parser.add_argument("--table", action="store_true", help="train nothing, and print the table of --out")
    options = parser.parse_args()
    if options.table:
        print(page(json.loads(options.out.read_text())))
        return
    torch.set_num_threads(1)
    runs: dict[str, list[Figures]] = {kind: [] for kind in options.only}
    for seed in options.seeds:
        for kind, rows in runs.items():
            rows.append(run(kind, seed, options))
    result = {
        "about": f"{options.backbone}, {SIZE[0]}x{SIZE[1]}, {options.steps} steps of {BATCH} frames for each subset, "
        f"mIoU on {options.split}, seeds {options.seeds}, {os.environ.get('OMP_NUM_THREADS', 'all')} threads "
        f"({platform.machine()}), torch {torch.__version__}",
        "runs": runs,
    }
    if options.out:
        options.out.write_text(json.dumps(result, indent=1) + "\n")
    print(page(result))


if __name__ == "__main__":
    main()
