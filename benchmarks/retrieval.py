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


class Kept(nn.Module):
    """A backbone whose features were computed before.

    Attributes:
        chosen: the places of the frames of the next call.
        views: which view of each frame a modality shows; None for the only one.
    """

    single_branch, norm_eval, purification = False, True, None

    def __init__(self, layout: StackLayout, features: dict[str, Tensor]) -> None:
        super().__init__()
        self.layout, self.features = layout, features  # [V, F, C, h, w] each
        self.channels = (next(iter(features.values())).shape[2],)
        self.strides, self.multiple, self.smallest = (32,), 32, 32
        self.chosen, self.views = torch.arange(0), {name: torch.arange(0) for name in features}

    def forward(self, inputs: object) -> list[Tensor]:
        parts = [self.features[name][self.views[name], self.chosen] for name in self.layout.present]
        return [torch.cat(parts).float()]


def fixed_network(options: argparse.Namespace, data: str) -> MultimodalModel:
    """A ResNet-18 that all modalities share whole."""
    torch.manual_seed(0)
    statistics_of = STATISTICS[data]
    model = multimodal_embedder(
        modalities=MODALITIES, by="frame", norm="shared", pretrained=options.weights, statistics=statistics_of
    )
    return model.eval()


def dataset_of(options: argparse.Namespace, data: str, split: str, transforms: Sequence[object]) -> Any:
    """Rooms of 160x120, or NYU Depth V2 at 320x240."""
    if data == "rooms":
        return SyntheticRooms(root=options.data, split=split, transforms=[*transforms, PackSample()])
    dataset = build_dataset(options.nyu, split, modalities=list(MODALITIES))
    dataset.transforms = [*transforms, PackSample()]
    return dataset


@torch.no_grad()
def compute(options: argparse.Namespace, data: str, split: str, transforms: Sequence[object], epoch: int) -> Any:
    """Features {modality: float16 [F, C, h, w]} of one view of each frame, stages 3 and 4 on the grid of 4; labels."""
    model = fixed_network(options, data)
    dataset = dataset_of(options, data, split, transforms)
    if hasattr(dataset, "set_epoch"):
        dataset.set_epoch(epoch)
    found: dict[str, list[Tensor]] = {name: [] for name in MODALITIES}
    labels, ids = [], []
    for batch in DataLoader(dataset, 16, collate_fn=default_collate):
        inputs = model.data_preprocessor(batch)["inputs"]
        inputs = {name: model._pad(x) for name, x in inputs.items()}
        with model.layout.holding(inputs):
            stages = model.backbone(inputs)
        deep = stages[-1]
        joined = torch.cat([F.adaptive_avg_pool2d(stages[-2], deep.shape[-2:]), deep], dim=1)
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
        made = make()
        torch.save(made, file)
        print(f"{file}: {time.perf_counter() - start:.0f} s", flush=True)
    return torch.load(file, weights_only=False)


def result_of(options: argparse.Namespace, key: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The figures of a run, made before or now."""
    file = options.work / f"{key}.json"
    if not file.is_file():
        start = time.perf_counter()
        found = make()
        file.write_text(json.dumps({**found, "seconds": time.perf_counter() - start}))
        print(key, {name: round(x, 4) for name, x in found.items() if isinstance(x, float)}, flush=True)
    read: dict[str, Any] = json.loads(file.read_text())
    return read


def train(
    features: dict[str, Tensor],  # [V, F, C, h, w] each
    label: Tensor,  # uint8 [F, H, W]
    seed: int,
    options: argparse.Namespace,
    *,
    steps: int,
    **parameters: Any,
) -> MultimodalModel:
    """The embedder after its steps, on features in place of a backbone."""
    torch.manual_seed(seed)
    model = embedder(features, **parameters)
    rate = {"discriminator_lr": ADAM["lr"] * options.judge_rate}
    wrapper = EncoderDecoderConstructor({"optimizer": ADAM}, rate)(model)
    optimizers = [part.optimizer for part in wrapper.values()] if isinstance(wrapper, dict) else [wrapper.optimizer]
    schedules = [torch.optim.lr_scheduler.LambdaLR(each, lambda s: 0.5 ** (4 * s // steps)) for each in optimizers]
    order = torch.Generator().manual_seed(seed)
    model.train()
    count, size = len(label), tuple(label.shape[1:])
    for _ in range(steps):
        chosen = torch.randint(count, (options.batch,), generator=order)
        view(model, chosen, order)
        training_step(model, batch_of(label[chosen], size), wrapper)
        for schedule in schedules:
            schedule.step()
    return model.eval()


def embedder(features: dict[str, Tensor], **parameters: Any) -> MultimodalModel:
    """An untrained one; features [V, F, C, h, w]."""
    model = multimodal_embedder(modalities=MODALITIES, backbone="resnet18", **parameters)
    found = Kept(model.layout, features)
    full = [512] if found.channels == (512,) else list(found.channels)
    del full
    return rebuilt(model, found, parameters)


def rebuilt(model: MultimodalModel, backbone: Kept, parameters: dict[str, Any]) -> MultimodalModel:
    """The model on another backbone: encoder and objectives are built anew for its channels."""
    raise NotImplementedError
