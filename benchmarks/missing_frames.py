"""Frames that lack a modality: what training with them is worth, and how they go into batches.

Rendered rooms of 64x64, RGB and depth. Of the training frames a quarter has both maps, the others one of the two.
Frames that lack a map are left out (missing="skip"), where a third of the steps sees both maps, a third RGB and a third
depth; or they are kept, in batches of frames that have the same (missing="allow", `EpochSampler`); or they are kept in
mixed batches, where an absent map is one that was measured nowhere: what a presence mask comes to that norms and fusion
do not know. The same network and schedule for all and as many steps; "kept, four times as long" has as many epochs as
"left out".

    OMP_NUM_THREADS=1 python benchmarks/missing_frames.py --seeds 0 1 2 --out benchmarks/results/missing_frames.json

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
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader

from rgbx.datasets import EpochSampler, EveryKth, SyntheticRooms
from rgbx.datasets.frame_sets import sets_of_frames
from rgbx.datasets.sample import Sample
from rgbx.evaluate.session import Session
from rgbx.models import MultimodalModel, multimodal_segmentor
from rgbx.train.loops import training_step
from rgbx.train.optim import EncoderDecoderConstructor
from rgbx.transforms import HorizontalFlip, PackSample, collate

ROOT = Path(__file__).resolve().parents[1]
MODALITIES, SIZE, CLASSES, BATCH = ("rgb", "depth"), (64, 64), 10, 8
SUBSETS = (MODALITIES, ("rgb",), ("depth",))
STATISTICS = {"depth": {"mean": (3.85,), "std": (1.40,)}}
EVERY = 4  # one frame in so many has both maps
UNIFORM = {"probability": "uniform"}
KINDS: dict[str, tuple[str, dict[str, Any] | None, int]] = {  # which frames, modality dropout, times the steps
    "left out": ("skip", UNIFORM, 1),
    "kept": ("allow", None, 1),
    "kept, in mixed batches": ("mixed", None, 1),
    "left out, four times as long": ("skip", UNIFORM, EVERY),
    "kept, four times as long": ("allow", None, EVERY),
}
Figures = dict[str, Any]


class PartialRooms(SyntheticRooms):
    """Frame 4k has both maps, 4k + 2 RGB alone, and those of odd numbers depth alone."""

    missing = "allow"

    def has(self, index: int) -> tuple[str, ...]:
        """The modalities of a frame."""
        return MODALITIES if index % EVERY == 0 else (MODALITIES[index % 2],)

    @property
    def frame_sets(self) -> np.ndarray | None:
        """See `DenseDataset.frame_sets`."""
        return sets_of_frames([np.array([name in self.has(i) for i in range(len(self))]) for name in MODALITIES])

    def read(self, index: int) -> Sample:
        """See `DenseDataset.read`."""
        kept = self.has(index)
        return {name: x for name, x in super().read(index).items() if name not in MODALITIES or name in kept}


class Unmeasured(PartialRooms):
    """The same with an absent map as one that was measured nowhere, so that all frames have all."""

    missing = "error"

    @property
    def frame_sets(self) -> np.ndarray | None:
        """All have all."""
        return None

    def read(self, index: int) -> Sample:
        """See `DenseDataset.read`."""
        sample = SyntheticRooms.read(self, index)
        for name in set(MODALITIES) - set(self.has(index)):
            sample[name] = np.zeros_like(sample[name])
            sample[f"{name}_valid"] = np.zeros(SIZE, np.uint8)
        return sample


def training_frames(which: str, options: argparse.Namespace) -> Any:
    """The frames that have both, or all."""
    kinds = {"allow": PartialRooms, "mixed": Unmeasured}
    given = {"root": options.data, "size": SIZE, "transforms": (HorizontalFlip(), PackSample())}
    frames = kinds.get(which, SyntheticRooms)(**given)
    return EveryKth(frames, EVERY) if which == "skip" else frames


def batches(loader: DataLoader[Any], sampler: EpochSampler) -> Iterator[Any]:
    """Without end."""
    for epoch in itertools.count():
        sampler.set_epoch(epoch)
        yield from loader


def trained(kind: str, seed: int, options: argparse.Namespace) -> tuple[MultimodalModel, float]:
    """A network, and the CPU seconds of its steps."""
    which, dropout, factor = KINDS[kind]
    steps = factor * options.steps
    torch.manual_seed(seed)
    model = multimodal_segmentor(
        modalities=MODALITIES,
        num_classes=CLASSES,
        backbone=options.backbone,
        decoder={"width": 64, "dropout": 0.1},
        statistics=STATISTICS,
        modality_dropout=dropout,
    )
    model.set_epoch_seed(seed)
    frames = training_frames(which, options)
    sampler = EpochSampler(frames, seed=seed)
    sampler.batch_size = BATCH
    loader = DataLoader(frames, BATCH, sampler=sampler, drop_last=True, collate_fn=collate)
    given = {"type": "AdamW", "lr": 2e-3, "weight_decay": 0.01}
    wrapper = EncoderDecoderConstructor({"optimizer": given, "clip_grad": {"max_norm": 5.0}})(model)
    warm = max(1, steps // 10)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        wrapper.optimizer, lambda step: min((step + 1) / warm, 1.0) * (1 - step / steps) ** 0.9
    )
    spent = 0.0
    for batch in itertools.islice(batches(loader, sampler), steps):
        start = time.process_time()
        training_step(model.train(), batch, wrapper)
        spent += time.process_time() - start
        schedule.step()
    return model.eval(), spent


def miou(model: MultimodalModel, subset: Sequence[str], options: argparse.Namespace) -> float:
    """Of the ensemble, on test frames that have both maps."""
    frames = SyntheticRooms(root=options.data, split=options.split, size=SIZE, transforms=[PackSample()])
    session = Session(model, DataLoader(frames, BATCH, collate_fn=collate))
    return float(session.evaluate(subset)["labels"].scores("ensemble")["mIoU"])


def run(kind: str, seed: int, options: argparse.Namespace) -> Figures:
    """Scores by subset, and seconds; from its file if it is there."""
    path = options.work_dir / f"{kind.replace(',', '').replace(' ', '_')}_seed{seed}.json"
    if path.is_file():
        found: Figures = json.loads(path.read_text())
        return found
    model, spent = trained(kind, seed, options)
    scores = {"+".join(subset): round(miou(model, subset, options), 4) for subset in SUBSETS}
    found = {"seconds": round(spent, 1), "mIoU": scores}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found))
    print(kind, seed, found, flush=True)
    return found


def page(result: Figures) -> str:
    """The table that the docs show."""
    lines = ["| frames that lack a map | both | RGB alone | depth alone | CPU seconds |", "|---|---|---|---|---|"]
    for kind, rows in result["runs"].items():
        cells = []
        for subset in SUBSETS:
            values = [row["mIoU"]["+".join(subset)] for row in rows]
            each = ", ".join(f"{value:.3f}" for value in values)
            cells.append(f"{statistics.mean(values):.3f} ({each})")
        seconds = statistics.mean(row["seconds"] for row in rows)
        lines.append(f"| {kind} | {' | '.join(cells)} | {seconds:.0f} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=90, help="of 8 frames")
    parser.add_argument("--only", nargs="+", choices=[*KINDS], default=[*KINDS], help="what to train")
    parser.add_argument("--backbone", default="resnet10t")
    parser.add_argument("--split", choices=("test", "val"), default="test", help="val to choose options by")
    parser.add_argument("--data", type=Path, default=ROOT / "data/rooms_64x64", help="where frames are rendered to")
    parser.add_argument("--work-dir", type=Path, default=ROOT / "work_dirs/missing_frames")
    parser.add_argument("--out", type=Path, help="a JSON file")
    options = parser.parse_args()
    torch.set_num_threads(1)
    runs: dict[str, list[Figures]] = {kind: [] for kind in options.only}
    for seed in options.seeds:
        for kind, rows in runs.items():
            rows.append(run(kind, seed, options))
    result = {
        "about": f"{options.backbone}, {SIZE[0]}x{SIZE[1]}, {options.steps} steps of {BATCH} frames, mIoU on "
        f"{options.split}, seeds {options.seeds}, {os.environ.get('OMP_NUM_THREADS', 'all')} threads "
        f"({platform.machine()}), torch {torch.__version__}",
        "runs": runs,
    }
    if options.out:
        options.out.write_text(json.dumps(result, indent=1) + "\n")
    print(f"{result['about']}\n\n{page(result)}")


if __name__ == "__main__":
    main()
