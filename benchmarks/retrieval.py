"""Search across sensors: what an adversary, a shared class head and InfoNCE are worth, and when edges are enough.

    OMP_NUM_THREADS=1 python benchmarks/retrieval.py --weights resnet18_imagenet.pth --nyu data/nyuv2_320x240 \\
        --seeds 0 1 2 --out benchmarks/results/retrieval.md

Features are computed once by a fixed ResNet-18, as the paper of CM-GANs has fixed features, and kept in `--work`; what
is trained is the model that `multimodal_embedder` builds, by the training step of `rgbx train`, with those features in
place of its backbone. Each run leaves a JSON file in `--work`, and is not made again.

- *category*: regions of rendered rooms, registered; the scores of `rgbx test`. Five rows: class heads that are private
  to a modality, or shared, each without and with the adversary, and InfoNCE.
- *instance*: the frame of the same moment, where depth is seen by a camera of its own: zoomed by up to 30 % and shifted
  by up to 10 %, drawn anew for each pair. AUC is the chance that an own pair scores above a foreign one. Beside it the
  correlation of edges of `rgbx doctor`, which nothing was trained for.
- *cost*: of the whole networks, as `rgbx study` measures them.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import statistics
import time
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, default_collate

from rgbx.datasets import SyntheticRooms, build_dataset
from rgbx.doctor.edges import image_edges, map_edges, small_plane
from rgbx.doctor.pairs import Pairs
from rgbx.layers import StackLayout
from rgbx.models import MultimodalModel, multimodal_embedder
from rgbx.models.predict import Predictor
from rgbx.study.costs import Subject, measure_costs
from rgbx.tasks import PROTOCOLS, RetrievalEvaluation
from rgbx.train.loops import training_step
from rgbx.train.optim import EncoderDecoderConstructor
from rgbx.transforms import HorizontalFlip, OtherCamera, PackSample

ROOT = Path(__file__).resolve().parents[1]
MODALITIES = ("rgb", "depth")
STATISTICS = {"rooms": {"depth": {"mean": (3.85,), "std": (1.40,)}}, "nyu": {}}  # metres, of the training frames
ADAM = {"type": "Adam", "lr": 1e-3, "betas": (0.5, 0.999)}
GAME = {"name": "common_codes", "num_classes": 10}
ROWS: dict[str, dict[str, Any]] = {
    "private class heads": {"contrast": 0.0, "objectives": [{**GAME, "class_head": "private", "adversary": False}]},
    "private class heads, adversary": {"contrast": 0.0, "objectives": [{**GAME, "class_head": "private"}]},
    "shared class head": {"contrast": 0.0, "objectives": [{**GAME, "adversary": False}]},
    "shared class head, adversary": {"contrast": 0.0, "objectives": [GAME]},
    "InfoNCE": {},
}
CAMERA = {"zoom": 0.3, "shift": 0.1}
BASELINE = 0.909  # of edges on the 654 test frames of NYU Depth V2, as it was asked for


Features = dict[str, Tensor]  # of stages 3 and 4 per modality: float16 [V, F, C, h, w], V views of F frames


class Kept(nn.Module):
    """In place of a ResNet-18: stages 3 and 4, computed before, of the frames and views chosen for the next call."""

    single_branch = reads_clips = False
    norm_eval, purification = True, None
    strides, multiple, smallest = (4, 8, 16, 32), 32, 32

    def __init__(self, model: MultimodalModel, features: Features) -> None:
        super().__init__()
        self.layout, self.channels, self.features = model.layout, model.backbone.channels, features
        self.frames, self.views = torch.arange(0), dict.fromkeys(features, torch.arange(0))

    def forward(self, inputs: object) -> list[Tensor]:
        """Stacks [M*N, C_i, h, w]; of stages 1 and 2, which nobody reads, empty ones."""
        joined = torch.cat([self.features[name][self.views[name], self.frames] for name in self.layout.present]).float()
        empty = joined.new_zeros(len(joined), 1, 1, 1)
        return [empty, empty, *joined.split(self.channels[2:], dim=1)]


def dataset_of(options: argparse.Namespace, data: str, split: str, transforms: Sequence[object] = ()) -> Any:
    """Rooms of 160x120, or NYU Depth V2 at 320x240."""
    if data == "rooms":
        return SyntheticRooms(root=options.data, split=split, transforms=[*transforms, PackSample()])
    return build_dataset(options.nyu, split, modalities=list(MODALITIES), transforms=[*transforms, PackSample()])


@torch.no_grad()
def view_of(options: argparse.Namespace, data: str, split: str, seed: int, transforms: Sequence[object]) -> Any:
    """Features {modality: float16 [F, C, h, w]} of one view of each frame, by a ResNet-18 that sees all maps alike."""
    torch.manual_seed(0)
    model = multimodal_embedder(
        modalities=MODALITIES, by="frame", norm="shared", pretrained=options.weights, statistics=STATISTICS[data]
    ).eval()
    dataset = dataset_of(options, data, split, transforms)
    order = [(index, seed) for index in range(len(dataset))]
    found: dict[str, list[Tensor]] = {name: [] for name in MODALITIES}
    labels, ids = [], []
    for batch in DataLoader(dataset, 16, sampler=order, collate_fn=default_collate):
        inputs = model.data_preprocessor(batch)["inputs"]
        features = model.run(inputs).features
        grid = features[-1].shape[-2:]
        joined = torch.cat([F.adaptive_avg_pool2d(features[-2], grid), features[-1]], dim=1)
        for name, part in zip(MODALITIES, joined.chunk(2), strict=True):
            found[name].append(part.half())
        labels.append(batch["label"].to(torch.uint8))
        ids += batch["sample_id"]
    return {name: torch.cat(parts) for name, parts in found.items()}, torch.cat(labels), ids


def kept(options: argparse.Namespace, key: str, make: Callable[[], Any]) -> Any:
    """What was computed before, or now."""
    file = options.work / f"{key}.pt"
    if not file.is_file():
        start = time.perf_counter()
        torch.save(make(), file)
        print(f"{file}: {time.perf_counter() - start:.0f} s", flush=True)
    return torch.load(file, weights_only=True)


def features_of(options: argparse.Namespace, data: str, split: str, *, views: int = 0) -> Any:
    """Features, labels uint8 [F, H, W] and ids; of `views`, depth is another camera's, and every other is mirrored."""
    weights = Path(options.weights).stem if options.weights else "random"
    found = []
    for number in range(max(views, 1)):
        flip = HorizontalFlip(float(number % 2 and split == "train"))
        transforms = [flip, OtherCamera(("depth",), **CAMERA)] if views else []
        key = f"{data}-{split}-{weights}-{number if views else 'registered'}"
        make = partial(view_of, options, data, split, number, transforms)
        found.append(kept(options, key, make))
    stacked = {name: torch.stack([features[name] for features, *_ in found]) for name in MODALITIES}
    return stacked, found[0][1], found[0][2]


def run_of(options: argparse.Namespace, key: str, make: Callable[[], dict[str, float]]) -> dict[str, float]:
    """The figures of a run, made before or now."""
    file = options.work / f"{key}.json"
    if not file.is_file():
        start = time.process_time()
        found = make()
        file.write_text(json.dumps({**found, "seconds": time.process_time() - start}))
        print(key, " ".join(f"{name} {x:.4f}" for name, x in found.items()), flush=True)
    read: dict[str, float] = json.loads(file.read_text())
    return read


def batch_of(
    label: Tensor,  # uint8 [N, H, W]
) -> dict[str, Any]:
    """A batch of empty maps, whose features are known."""
    count, height, width = label.shape
    rgb = torch.zeros(1, dtype=torch.uint8).expand(count, 3, height, width)
    depth = torch.ones(1).expand(count, 1, height, width)
    return {"rgb": rgb, "depth": depth, "label": label, "sample_id": [""] * count}


def train(
    features: Features,
    label: Tensor,  # uint8 [F, H, W]
    seed: int,
    options: argparse.Namespace,
    **parameters: Any,
) -> MultimodalModel:
    """An embedder of features [V, F, C, h, w], trained."""
    torch.manual_seed(seed)
    model = multimodal_embedder(modalities=MODALITIES, backbone="resnet18", stages=(4, 3), **parameters)
    backbone = model.backbone = Kept(model, features)
    rates = {"discriminator_lr": ADAM["lr"] * options.judge_rate}
    wrapper = EncoderDecoderConstructor({"optimizer": ADAM}, rates)(model)
    parts = list(wrapper.values()) if model.alternates else [wrapper]
    halved = [torch.optim.lr_scheduler.StepLR(each.optimizer, max(options.steps // 4, 1), 0.5) for each in parts]
    order = torch.Generator().manual_seed(seed)
    model.train()
    views = len(features["rgb"])
    for _ in range(options.steps):
        backbone.frames = torch.randint(len(label), (options.batch,), generator=order)
        first = torch.randint(views, (options.batch,), generator=order)
        other = torch.randint(max(views // 2, 1), (options.batch,), generator=order)
        backbone.views = {"rgb": first, "depth": (first + 2 * other) % views}  # mirrored alike
        training_step(model, batch_of(label[backbone.frames]), wrapper)
        for each in halved:
            each.step()
    return model.eval()


def evaluate(
    model: MultimodalModel,
    features: Features,
    label: Tensor,  # uint8 [F, H, W]
    ids: Sequence[str],
) -> RetrievalEvaluation:
    """What `rgbx test` counts, of features [1, F, C, h, w]."""
    model.backbone.features = features
    predictor, task = Predictor(model), model.tasks["codes"]
    counter = task.counter(PROTOCOLS["rgbx"], {})
    records = []
    for frames in torch.arange(len(label)).split(16):
        model.backbone.frames = frames
        model.backbone.views = dict.fromkeys(features, torch.zeros_like(frames))
        given = model.data_preprocessor(batch_of(label[frames]))
        for i, each in zip(frames.tolist(), predictor.predict(given["inputs"], given["targets"]), strict=True):
            records.append(counter.count(ids[i], each["heads"]["codes"], {}))
    return counter.evaluation(records)


def category(options: argparse.Namespace, row: str, seed: int) -> dict[str, float]:
    """Scores of regions of rooms by a row of `ROWS`."""
    features, label, _ = features_of(options, "rooms", "train")
    model = train(features, label, seed, options, **ROWS[row])
    found = evaluate(model, *features_of(options, "rooms", "test"))
    scores = {name: found.scores(name) for name in found.names}
    sides = {f"mAP {name}": scores[name]["mAP"] for name in MODALITIES}
    return {**sides, **scores["ensemble"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--weights", help="of ImageNet, for the fixed network; random ones without")
    parser.add_argument("--nyu", type=Path, help="folder of NYU Depth V2; left out without")
    parser.add_argument("--data", type=Path, default=ROOT / "data/rooms", help="where rooms are rendered to")
    parser.add_argument("--work", type=Path, default=ROOT / "work_dirs/retrieval", help="features and runs")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--batch", type=int, default=32, help="frames of a step")
    parser.add_argument("--judge-rate", type=float, default=0.2, help="of the judges, times that of the rest")
    parser.add_argument("--rows", nargs="+", default=list(ROWS), choices=ROWS)
    parser.add_argument("--out", type=Path, help="a Markdown file")
    options = parser.parse_args()
    warnings.filterwarnings("ignore", message="rgb|depth")
    options.work.mkdir(parents=True, exist_ok=True)
    for row in options.rows:
        for seed in options.seeds:
            run_of(options, f"category-{row}-{seed}", partial(category, options, row, seed))


if __name__ == "__main__":
    main()
