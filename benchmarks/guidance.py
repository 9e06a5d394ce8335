"""Does knowledge guidance help a modality that is alone? rgbx as it is and with modality dropout, each with it on top.

Rendered rooms of 60x80, a network from random weights, the same frames, order and schedule for all; of modality dropout
a third of the steps sees RGB, a third depth and a third both. Every branch is trained by its own loss in all of them,
so guidance is compared with what it would replace and never with a network that is trained on the joint loss alone.
Prints mIoU on other scenes given both modalities and each alone, and what guidance changes, seed by seed.

    OMP_NUM_THREADS=1 python benchmarks/guidance.py --seeds 0 1 2 --weights 1.0 --out benchmarks/results/guidance.md
"""

from __future__ import annotations

import argparse
import datetime
import itertools
import os
import platform
import statistics
from pathlib import Path

import torch
from torch.utils.data import DataLoader, default_collate

from rgbx._text import subset_title
from rgbx.datasets import SyntheticRooms
from rgbx.evaluate.session import Session
from rgbx.models import MultimodalModel, multimodal_segmentor
from rgbx.train.loops import training_step
from rgbx.train.optim import EncoderDecoderConstructor
from rgbx.transforms import HorizontalFlip, PackSample

ROOT = Path(__file__).resolve().parents[1]
MODALITIES = ("rgb", "depth")
SUBSETS = (MODALITIES, ("rgb",), ("depth",))
DROPOUT = {"rgbx as it is": None, "modality dropout 2/3": 2 / 3}
STATISTICS = {"depth": {"mean": (3.85,), "std": (1.40,)}}  # metres, of the training frames
BAR = 0.02  # of depth alone, paired


def train(seed: int, dropout: float | None, weight: float, options: argparse.Namespace) -> MultimodalModel:
    """A network after `steps` steps; guidance of weight 0 is none."""
    torch.manual_seed(seed)
    guidance = {"name": "knowledge_guidance", "weight": weight, "temperature": options.temperature}
    model = multimodal_segmentor(
        modalities=MODALITIES,
        num_classes=10,
        backbone=options.backbone,
        decoder={"width": 64, "dropout": 0.1},
        statistics=STATISTICS,
        modality_dropout=dropout,
        objectives=[guidance] if weight else [],
    )
    model.set_epoch_seed(seed)
    frames = SyntheticRooms(root=options.data, size=(60, 80), transforms=[HorizontalFlip(), PackSample()])
    order = torch.Generator().manual_seed(seed)
    loader = DataLoader(frames, 8, shuffle=True, drop_last=True, collate_fn=default_collate, generator=order)
    optimizer = {"type": "AdamW", "lr": 2e-3, "weight_decay": 0.01}
    wrapper = EncoderDecoderConstructor({"optimizer": optimizer, "clip_grad": {"max_norm": 5.0}})(model)
    warm = max(1, options.steps // 10)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        wrapper.optimizer, lambda step: min((step + 1) / warm, 1.0) * (1 - step / options.steps) ** 0.9
    )
    for batch in itertools.islice(itertools.chain.from_iterable(itertools.repeat(loader)), options.steps):
        training_step(model, batch, wrapper)
        schedule.step()
    return model


def evaluate(model: MultimodalModel, options: argparse.Namespace) -> list[float]:
    """mIoU of each subset."""
    frames = SyntheticRooms(root=options.data, split="test", size=(60, 80), transforms=[PackSample()])
    session = Session(model, DataLoader(frames, 8, collate_fn=default_collate))
    return [session.evaluate(subset)["labels"].scores("ensemble")["mIoU"] for subset in SUBSETS]


def table(found: dict[tuple[str, float], list[list[float]]], seeds: list[int]) -> str:
    """Means over the seeds, and of each seed the difference that guidance makes, in Markdown."""
    titles = [subset_title(subset, MODALITIES) for subset in SUBSETS]
    lines = [f"| trained | guidance | {' | '.join(titles)} |", "|---|---|" + "---|" * len(titles)]
    for (name, weight), rows in found.items():
        cells = [
            f"{statistics.mean(column):.3f} ({', '.join(f'{x:.3f}' for x in column)})"
            for column in zip(*rows, strict=True)
        ]
        lines.append(f"| {name} | {weight or 'none'} | {' | '.join(cells)} |")
    lines += ["", f"What guidance adds, paired by seed ({', '.join(map(str, seeds))}):", ""]
    for (name, weight), rows in found.items():
        if weight:
            for title, ours, theirs in zip(
                titles, zip(*rows, strict=True), zip(*found[name, 0], strict=True), strict=True
            ):
                each = [a - b for a, b in zip(ours, theirs, strict=True)]
                bar = f"; the bar is {BAR:+.2f}" if title == titles[-1] else ""
                shown = ", ".join(f"{x:+.3f}" for x in each)
                lines.append(f"- {name}, weight {weight}, {title}: {statistics.mean(each):+.3f} ({shown}){bar}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--weights", type=float, nargs="+", default=[1.0], help="of guidance; none is always measured")
    parser.add_argument("--temperature", type=float, default=2.0)
    parser.add_argument("--steps", type=int, default=300, help="of 8 frames")
    parser.add_argument("--backbone", default="resnet10t")
    parser.add_argument("--data", type=Path, default=ROOT / "data/rooms_60x80", help="where frames are rendered to")
    parser.add_argument("--out", type=Path, help="a Markdown file")
    options = parser.parse_args()
    found: dict[tuple[str, float], list[list[float]]] = {}
    for seed in options.seeds:
        for (name, dropout), weight in itertools.product(DROPOUT.items(), [0.0, *options.weights]):
            scores = evaluate(train(seed, dropout, weight, options), options)
            found.setdefault((name, weight), []).append(scores)
            print(seed, name, weight, " ".join(f"{x:.4f}" for x in scores), flush=True)
    text = (
        f"# Knowledge guidance on rendered rooms\n\nmIoU on the test split (protocol `rgbx`), {options.backbone} from "
        f"random weights, 60x80, {options.steps} steps of 8 frames, temperature {options.temperature:g}, seeds "
        f"{options.seeds}. {os.environ.get('OMP_NUM_THREADS', 'all')} threads ({platform.machine()}), torch "
        f"{torch.__version__}, {datetime.date.today()}.\n\n{table(found, options.seeds)}\n"
    )
    if options.out:
        options.out.write_text(text)
    print(text)


if __name__ == "__main__":
    main()
