"""Search across sensors: what an adversary, a shared class head and InfoNCE are worth, and when edges are enough.

    OMP_NUM_THREADS=1 python benchmarks/retrieval.py --weights resnet18_imagenet.pth --nyu data/nyuv2_320x240 \\
        --seeds 0 1 2 --out benchmarks/results/retrieval.md

Features are computed once by a fixed ResNet-18, as the paper of CM-GANs has fixed features, and kept in `--work`; what
is trained is the model that `multimodal_embedder` builds, by the training step of `rgbx train`, with those features in
place of its backbone. Each run leaves a JSON file in `--work`, and is not made again.

- *category*: regions of rendered rooms, registered; the scores of `rgbx test`. Five rows: class heads that are private
  to a modality, or shared, each without and with the adversary, and InfoNCE.
- *instance*: the frame of the same moment, where depth is seen by a camera of its own: zoomed by up to 30 % and shifted
  by up to 10 %, drawn anew for each pair. AUC is the chance that an own pair scores above a foreign one. Beside it what
  needs no training: the edges of `rgbx doctor`, and edges whose zoom and shift are searched for each pair.
- *cost*: of the whole networks, as `rgbx study` measures them.
"""

from __future__ import annotations

import argparse
import datetime
import itertools
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

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, default_collate

from rgbx.datasets import SyntheticRooms, build_dataset
from rgbx.doctor.edges import image_edges, map_edges, small_plane
from rgbx.doctor.pairs import Pairs
from rgbx.metrics import pair_auc, retrieval_scores
from rgbx.models import MultimodalModel, multimodal_embedder
from rgbx.models.predict import Predictor
from rgbx.study.costs import Costs, Subject, measure_costs, read_costs, write_costs
from rgbx.tasks import PROTOCOLS, Evaluation
from rgbx.train.loops import training_step
from rgbx.train.optim import EncoderDecoderConstructor
from rgbx.transforms import HorizontalFlip, OtherCamera, PackSample

ROOT = Path(__file__).resolve().parents[1]
MODALITIES = ("rgb", "depth")
STATISTICS_OF_ROOMS = {"depth": {"mean": (3.85,), "std": (1.40,)}}  # metres, of the training frames
ADAM = {"type": "Adam", "lr": 1e-3, "betas": (0.5, 0.999)}
GAME = {"name": "common_codes", "num_classes": 10}
ROWS: dict[str, dict[str, Any]] = {
    "private class heads": {"contrast": 0.0, "objectives": [{**GAME, "class_head": "private", "adversary": False}]},
    "private class heads, adversary": {"contrast": 0.0, "objectives": [{**GAME, "class_head": "private"}]},
    "shared class head": {"contrast": 0.0, "objectives": [{**GAME, "adversary": False}]},
    "shared class head, adversary": {"contrast": 0.0, "objectives": [GAME]},
    "InfoNCE, pairs": {"positives": "pair"},
    "InfoNCE, classes": {"positives": "class"},
}
SECOND = partial(OtherCamera, ("depth",), zoom=0.3, shift=0.1)
FRAMES: dict[str, dict[str, Any]] = {"InfoNCE": {}}
DATA = {"rooms": "rooms, 200 frames", "nyu": "NYU Depth V2, 654 test frames"}
VIEWS = {"rooms": 4, "nyu": 2}  # of the second camera on each training frame, every other mirrored
THINNED = {"rooms": 1, "nyu": 4}  # rows and columns of empty maps that stand for frames
TEST_SEED = 0  # of the second camera
CELLS = (56, 42)  # across and down, of planes whose zoom and shift are searched
ZOOMS, SHIFTS = np.linspace(1, 1.3, 5), np.linspace(-0.1, 0.1, 9)


Features = dict[str, Tensor]  # of stages 3 and 4 per modality: float16 [V, F, C, h, w], V views of F frames


class Kept(nn.Module):
    """In place of a ResNet-18: stages 3 and 4, computed before, of the frames and views chosen for the next call."""

    single_branch = reads_clips = False
    norm_eval, strides, multiple, smallest = True, (4, 8, 16, 32), 32, 32
    purification = hallucination = None

    def __init__(self, model: MultimodalModel, features: Features) -> None:
        super().__init__()
        self.layout, self.channels, self.features = model.layout, model.backbone.channels, features
        self.frames, self.views = torch.arange(0), dict.fromkeys(features, torch.arange(0))

    def forward(self, inputs: object) -> list[Tensor]:
        """Stacks [M*N, C_i, h, w]; of stages 1 and 2, which nobody reads, empty ones."""
        joined = torch.cat([self.features[name][self.views[name], self.frames] for name in self.layout.present]).float()
        empty = joined.new_zeros(len(joined), 1, 1, 1)
        return [empty, empty, *joined.split(self.channels[2:], dim=1)]


def dataset_of(options: argparse.Namespace, data: str, split: str, transforms: Sequence[Any] = ()) -> Any:
    """Rooms of 160x120, or NYU Depth V2 at 320x240."""
    if data == "rooms":
        return SyntheticRooms(root=options.data, split=split, transforms=[*transforms, PackSample()])
    return build_dataset(options.nyu, split, modalities=list(MODALITIES), transforms=[*transforms, PackSample()])


@torch.no_grad()
def view_of(
    options: argparse.Namespace,
    data: str,
    split: str,
    seed: int,
    transforms: Sequence[Any],
    names: Sequence[str] = MODALITIES,
) -> Any:
    """Features {modality: float16 [F, C, h, w]} of one view of each frame, by a ResNet-18 that sees all maps alike."""
    torch.manual_seed(0)
    own = STATISTICS_OF_ROOMS if data == "rooms" else None
    model = multimodal_embedder(
        modalities=MODALITIES, by="frame", norm="shared", pretrained=options.weights, statistics=own
    ).eval()
    dataset = dataset_of(options, data, split, transforms)
    order = [(index, seed) for index in range(len(dataset))]
    found: dict[str, list[Tensor]] = {name: [] for name in names}
    labels, ids = [], []
    for batch in DataLoader(dataset, 16, sampler=order, collate_fn=default_collate):
        inputs = model.data_preprocessor(batch)["inputs"]
        features = model.run({name: inputs[name] for name in names}).features
        grid = (features[-1].shape[2], features[-1].shape[3])
        joined = torch.cat([F.adaptive_avg_pool2d(features[-2], grid), features[-1]], dim=1)
        for name, part in zip(names, joined.chunk(len(names)), strict=True):
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
        names = MODALITIES if number < 2 else ("depth",)
        flip = HorizontalFlip(float(number % 2 and split == "train"))
        transforms = [flip, SECOND()] if views else []
        key = f"{data}-{split}-{weights}-{number if views else 'registered'}"
        make = partial(view_of, options, data, split, number, transforms, names)
        found.append(kept(options, key, make))
    rgb = [found[number % 2][0]["rgb"] for number in range(len(found))]  # as it is, and mirrored
    stacked = {"rgb": torch.stack(rgb), "depth": torch.stack([features["depth"] for features, *_ in found])}
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
    backbone = Kept(model, features)
    model.add_module("backbone", backbone)
    wrapper = EncoderDecoderConstructor({"optimizer": ADAM})(model)
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
) -> Evaluation:
    """What `rgbx test` counts, of features [1, F, C, h, w]."""
    backbone = Kept(model, features)
    model.add_module("backbone", backbone)
    predictor, task = Predictor(model), model.tasks["codes"]
    counter = task.counter(PROTOCOLS["rgbx"], {})
    records = []
    for frames in torch.arange(len(label)).split(16):
        backbone.frames = frames
        backbone.views = dict.fromkeys(features, torch.zeros_like(frames))
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


def shown_edges(options: argparse.Namespace, data: str) -> list[tuple[np.ndarray, np.ndarray]]:
    """Edges [H, W] of image and depth of each frame that embeddings are scored on."""
    dataset = dataset_of(options, data, "test", [SECOND()])
    found = []
    for index in range(len(dataset)):
        sample = dataset[(index, TEST_SEED)]
        rgb, depth = sample["rgb"].permute(1, 2, 0).numpy(), sample["depth"][0].numpy()
        found.append((image_edges(rgb), map_edges(depth, dataset.maps["depth"])))
    return found


def edges(options: argparse.Namespace, data: str) -> dict[str, float]:
    """How well edges fit as `rgbx doctor` has it, which knows one shift for all pairs; nothing is trained."""
    planes = [(small_plane(image), small_plane(other)) for image, other in shown_edges(options, data)]
    images, others = (np.stack([x for x in each if x is not None]) for each in zip(*planes, strict=True))
    places = np.arange(len(images))
    pairs = Pairs(images, others, places)
    bank = pairs.unit_others(places)
    fit = torch.from_numpy(pairs.fit(pairs.unit_images(places) @ bank.T, places[:, None], places[None]))
    return sides_of(fit)


def searched_edges(options: argparse.Namespace, data: str) -> dict[str, float]:
    """The same planes, coarser, and of each pair the best of `ZOOMS` and `SHIFTS`: what the second camera may have."""
    found = shown_edges(options, data)
    small = [[cv2.resize(x, CELLS, interpolation=cv2.INTER_AREA) for x in pair] for pair in found]
    others = torch.from_numpy(np.stack([unit_plane(other) for _, other in small]))
    fit = torch.full((len(small), len(small)), -1.0)
    width, height = CELLS
    for zoom in ZOOMS:
        for dx, dy in itertools.product(SHIFTS, SHIFTS):
            move = np.array([[zoom, 0, -zoom * dx * width], [0, zoom, -zoom * dy * height]], np.float32)
            move[:, 2] += (1 - zoom) * (np.array([width, height]) - 1) / 2
            seen = np.stack([unit_plane(cv2.warpAffine(image, move, CELLS)) for image, _ in small])
            fit = fit.maximum(torch.from_numpy(seen) @ others.T)
    return sides_of(fit)


def unit_plane(
    edges: np.ndarray,  # [h, w]
) -> np.ndarray:
    """Without slow changes, at most 4 standard deviations, of zero mean and unit length, float32 [h*w]."""
    inner = edges - cv2.GaussianBlur(edges, (0, 0), 3)
    inner = inner - inner.mean()
    inner = inner.clip(-4 * inner.std(), 4 * inner.std()).ravel()
    return (inner / max(float(np.linalg.norm(inner)), 1e-6)).astype(np.float32)


TRAINING_FREE: dict[str, tuple[str, Callable[..., dict[str, float]]]] = {
    "edges, as `rgbx doctor`": ("edges", edges),
    "edges, zoom and shift searched": ("searched", searched_edges),
}


def sides_of(
    fit: Tensor,  # [F, F]
) -> dict[str, float]:
    """AUC, and recall@1 and MRR, the means of both directions, of how well each image fits each map."""
    own = torch.eye(len(fit), dtype=torch.bool)
    scores = [retrieval_scores(x.double(), own) for x in (fit, fit.T)]
    means = {key: sum(float(x[key].mean()) for x in scores) / 2 for key in ("recall@1", "recall@10", "MRR")}
    return {"AUC": float(pair_auc(fit.flatten(), own.flatten())), **means}


def instance(options: argparse.Namespace, data: str, row: str, seed: int) -> dict[str, float]:
    """Scores of frames of an unregistered second camera."""
    thin = np.s_[:, :: THINNED[data], :: THINNED[data]]  # a frame's region is all of it
    features, label, _ = features_of(options, data, "train", views=VIEWS[data])
    model = train(features, label[thin], seed, options, by="frame", **FRAMES[row])
    features, label, ids = features_of(options, data, "test", views=1)
    found = evaluate(model, features, label[thin], ids).scores("ensemble")
    return {key: found[key] for key in ("AUC", "recall@1", "recall@10", "MRR")}


def costs(options: argparse.Namespace) -> Costs:
    """Of the whole networks at the rooms' size, trained by batches of 8 frames."""
    frames = dataset_of(options, "rooms", "train")
    batch = default_collate([frames[index] for index in range(8)])

    def subject(row: str) -> Subject:
        model = multimodal_embedder(modalities=MODALITIES, stages=(4, 3), statistics=STATISTICS_OF_ROOMS, **ROWS[row])
        step = {"optimizer": ADAM, "constructor": EncoderDecoderConstructor}
        return Subject(model, (120, 160), MODALITIES, None, lambda: (batch, step))

    return measure_costs({row: partial(subject, row) for row in ROWS}, device="cpu", key={})


def told(values: Sequence[float]) -> str:
    """The mean, and each seed's."""
    return f"{statistics.mean(values):.3f} ({', '.join(f'{x:.3f}' for x in values)})"


def category_table(found: dict[str, list[dict[str, float]]], measured: Costs) -> str:
    """Scores and costs of the rows."""
    columns = ("mAP", *(f"mAP {name}" for name in MODALITIES), "recall@1")
    heads = ["mAP", "RGB asks", "depth asks", "recall@1", "× chance", "parameters, + of training", "GFLOP", "step"]
    lines = [f"| trained by | {' | '.join(heads)} |", "|---|" + "---|" * len(heads)]
    for row, runs in found.items():
        cost, first = measured.methods[row], measured.methods[next(iter(found))]
        times = cost.step_ratio(first)
        cells = [told([run[key] for run in runs]) for key in columns]
        cells += [f"{statistics.mean(run['mAP'] / run['chance'] for run in runs):.1f}"]
        cells += [f"{cost.parameters / 1e6:.2f} M + {cost.of_training / 1e6:.2f} M"]
        cells += [f"{cost.flops / 1e9:.2f}"]
        cells += [f"{cost.step:.0f} ms (× {times:.2f})" if cost.step and times else "-"]
        lines.append(f"| {row} | {' | '.join(cells)} |")
    return "\n".join(lines)


def bar_lines(found: dict[str, list[dict[str, float]]]) -> str:
    """The bar of the adversary against private class heads, in words."""
    without, with_it = (found[name] for name in ("private class heads", "private class heads, adversary"))
    ratios = [b["mAP"] / a["mAP"] for a, b in zip(without, with_it, strict=True)]
    chances = [b["mAP"] / b["chance"] for b in with_it]
    return (
        f"With private class heads the adversary brings {told(ratios)} times the mAP of none (the bar is 2), and "
        f"{told(chances)} times chance (the bar is 4)."
    )


def instance_table(found: dict[str, dict[str, list[dict[str, float]]]]) -> str:
    """Scores of frames, of each dataset."""
    lines = ["| data | by | AUC | recall@1 | recall@10 | MRR |", "|---|---|---|---|---|---|"]
    for data, rows in found.items():
        for row, runs in rows.items():
            cells = [told([run[key] for run in runs]) for key in ("AUC", "recall@1", "recall@10", "MRR")]
            lines.append(f"| {DATA[data]} | {row} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--weights", help="of ImageNet, for the fixed network; random ones without")
    parser.add_argument("--nyu", type=Path, help="folder of NYU Depth V2; left out without")
    parser.add_argument("--data", type=Path, default=ROOT / "data/rooms", help="where rooms are rendered to")
    parser.add_argument("--work", type=Path, default=ROOT / "work_dirs/retrieval", help="features and runs")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--batch", type=int, default=32, help="frames of a step")
    parser.add_argument("--out", type=Path, help="a Markdown file")
    options = parser.parse_args()
    warnings.filterwarnings("ignore", message="rgb|depth")
    options.work.mkdir(parents=True, exist_ok=True)
    rooms: dict[str, list[dict[str, float]]] = {}
    for row in ROWS:
        runs = [(f"category-{row}-{seed}", partial(category, options, row, seed)) for seed in options.seeds]
        rooms[row] = [run_of(options, *run) for run in runs]
    frames: dict[str, dict[str, list[dict[str, float]]]] = {}
    for data in ["rooms", *["nyu"] * bool(options.nyu)]:
        frames[data] = {
            row: [run_of(options, f"{key}-{data}", partial(make, options, data))]
            for row, (key, make) in TRAINING_FREE.items()
        }
        for row in FRAMES:
            runs = [(f"{data}-{row}-{seed}", partial(instance, options, data, row, seed)) for seed in options.seeds]
            frames[data][row] = [run_of(options, *run) for run in runs]
    file = options.work / "costs.json"
    if read_costs(file) is None:
        write_costs(costs(options), file)
    measured = read_costs(file)
    if measured is None:
        raise SystemExit(f"{file} cannot be read: delete it")
    chance = rooms[next(iter(rooms))][0]["chance"]
    weights = "partial ImageNet weights" if options.weights else "random weights"
    words = f"--weights WEIGHTS{' --nyu FOLDER' * bool(options.nyu)} --seeds {' '.join(map(str, options.seeds))}"
    machine = f"{platform.machine()}, {os.environ.get('OMP_NUM_THREADS', 'all')} threads, {datetime.date.today()}"
    text = f"""# Search across sensors

    python benchmarks/retrieval.py {words}

Mean over the seeds {options.seeds}, and each. Features of a fixed ResNet-18 ({weights}, stages 3 and 4) that all
modalities share; {options.steps} steps of {options.batch} frames, Adam 1e-3 halved every quarter; torch
{torch.__version__}, {machine}.

## Regions of rendered rooms

Those of the test split's classes, registered; chance is {chance:.3f}. Parameters, operations and a step's time beside
that of the first row are of the whole network at 120x160, in batches of 8.

{category_table(rooms, measured)}

{bar_lines(rooms)}

## Frames of a second camera that is not registered

Depth is zoomed by up to 30 % and shifted by up to 10 %, drawn for each pair; the right frame among all of the test
split. Both directions, AUC of own pairs against all foreign ones. Trained on {VIEWS["rooms"]} such views of each of 600
rooms, and on {VIEWS["nyu"]} of each of 795 frames.

{instance_table(frames)}
"""
    if options.out:
        options.out.write_text(text)
    print(text)


if __name__ == "__main__":
    main()
