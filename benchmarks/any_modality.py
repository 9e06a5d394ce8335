"""One checkpoint for every subset of RGB, depth and thermal, against a network for each subset that is trained on it alone.

Rendered rooms of 60x80, a network from random weights, the same frames, order, schedule and number of steps for all.
A step of the network for all subsets is one of the rows of `ANY`; what it costs stands beside its scores.

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
MODALITIES, SIZE, CLASSES, BATCH = ("rgb", "depth", "thermal"), (60, 80), 11, 8
STATISTICS = {"depth": {"mean": (3.85,), "std": (1.40,)}, "thermal": {"mean": (24.0,), "std": (8.5,), "max": 60.0}}
SUBSETS = [s for size in (3, 2, 1) for s in itertools.combinations(MODALITIES, size)]
ALONE = {f"alone {'+'.join(subset)}": subset for subset in SUBSETS}
DISTILLED = {"objectives": ["subset_distillation"]}
ANY: dict[str, dict[str, Any]] = {
    "uniform over subsets": {"modality_dropout": {"probability": "uniform"}},
    "uniform, ramp 0.5": {"modality_dropout": {"probability": "uniform", "ramp": 0.5}},
    "self-distillation": DISTILLED,
    "self-distillation, labels alone": {"objectives": [{"name": "subset_distillation", "weight": 0.0}]},
}
KEPT_SHARE, MOST_LOST = 0.9, 0.02  # the bars
Figures = dict[str, Any]


def rooms(split: str, modalities: Sequence[str], options: argparse.Namespace, *, flipped: bool = False) -> Any:
    """Frames that are rendered once and kept; the classes are those of all modalities."""
    flip = [HorizontalFlip()] if flipped else []
    return SyntheticRooms(
        root=options.data, split=split, size=SIZE, modalities=MODALITIES, transforms=(*flip, PackSample())
    )


def trained(modalities: Sequence[str], parameters: Mapping[str, Any], seed: int, options: argparse.Namespace) -> Any:
    """A network after `steps` steps, and the CPU seconds of all of them."""
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
    warm = max(1, options.steps // 10)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        wrapper.optimizer, lambda step: min((step + 1) / warm, 1.0) * (1 - step / options.steps) ** 0.9
    )
    spent = 0.0
    for step, batch in enumerate(itertools.islice(epochs(loader, sampler), options.steps)):
        start = time.process_time()
        model.set_progress(step / options.steps)
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
    model, spent = trained(alone or MODALITIES, {} if alone else ANY[kind], seed, options)
    scores = {"+".join(subset): miou(model, subset, options) for subset in ([alone] if alone else SUBSETS)}
    found = {"seconds": round(spent, 1), "mIoU": {name: round(value, 4) for name, value in scores.items()}}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found))
    print(kind, seed, *(f"{name} {value:.3f}" for name, value in scores.items()), f"{spent:.0f} s", flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=300, help="of 8 frames")
    parser.add_argument("--backbone", default="resnet10t")
    parser.add_argument("--split", choices=("test", "val"), default="test", help="val to choose options by")
    parser.add_argument("--only", nargs="+", default=[*ALONE, *ANY], help="the kinds to train")
    parser.add_argument("--data", type=Path, default=ROOT / "data/rooms_60x80", help="where frames are rendered to")
    parser.add_argument("--work-dir", type=Path, default=ROOT / "work_dirs/any_modality")
    options = parser.parse_args()
    torch.set_num_threads(1)
    for seed in options.seeds:
        for kind in options.only:
            run(kind, seed, options)


if __name__ == "__main__":
    main()
