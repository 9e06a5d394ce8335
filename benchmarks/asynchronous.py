"""A second sensor that lags: what fusion loses at delays that training has not seen, and what helps.

Rendered rooms seen by a camera that turns: one frame of RGB, and depth frames that are stamped from the label's time
on, 10 a second. Depth lags by 0 to 2 frames in training, another delay for each clip, and by 0, 1, 2 (seen) and 3, 4
frames (unseen) at test, constant or with a jitter of half a frame to either side; scenes of training and test differ.
All rows train the same network from random weights with the same order and schedule:

- nearest timestamp: the depth frame whose stamp is nearest to the label's time, asymmetric fusion, trained without
  delays;
- after the estimated delay: the same network, the delay of each test set estimated by `rgbx.doctor.delay`, taken off;
- delays as augmentation: nearest timestamp, trained with delays;
- frame stacking: all frames as channels of one network (`FramesAsMaps` and early fusion), trained with delays;
- MEA: `fusion="mea"` on clips, trained with delays, with learned frames and with those whose stamps are nearest;
- agreeing frames alone: MEA's learned frames without its attention and codes.

Prints mIoU for each seed, what each row loses against its own without delay, linear probes on the codes of MEA, and
costs. Each run is kept as JSON in --out, and read from there when the benchmark is started again; clips lie in --data.

    OMP_NUM_THREADS=1 python benchmarks/asynchronous.py --seeds 0 1 2 --table benchmarks/results/asynchronous.md
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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torch.utils.flop_counter import FlopCounterMode

from rgbx.backbones import SharedBackbone
from rgbx.datasets.rooms import RoomClips
from rgbx.doctor.delay import Track, estimate_delay
from rgbx.evaluate.session import Session
from rgbx.fusion import FusionMethod, fusion_method
from rgbx.fusion.mea import AsynchronousFusion, FusedCodes, Standardised, TargetFrames, blend
from rgbx.layers import StackLayout
from rgbx.layers.decoupled import ExclusiveAgnostic
from rgbx.maps import STANDARD_MAPS
from rgbx.models import MultimodalModel, multimodal_segmentor
from rgbx.train.loops import training_step
from rgbx.train.optim import EncoderDecoderConstructor
from rgbx.transforms import FramesAsMaps, HorizontalFlip, NearestFrames, PackSample, collate

Pooled = Mapping[str, Tensor]  # modality: [n, d]
Found = dict[str, dict[int, dict[str, Any]]]  # row: seed: result

ROOT = Path(__file__).resolve().parents[1]
RATE, FRAMES, SEEN, UNSEEN = 10.0, 5, 2, (3, 4)  # Hz; frames
TESTED = {0.0: (0, 1, 2, 3, 4), 0.5: (0, 3, 4)}  # frames of jitter, to either side, and delays
SIZE, SPEED, TRAIN, TEST = (48, 64), 30.0, 600, 120  # degrees per second; clips
DEPTH = {"mean": (3.85,), "std": (1.40,)}  # metres
STACKED = [f"depth_{k}" for k in range(FRAMES)]
RECORDINGS, RECORDED_S = 3, 6.0  # that a delay is estimated from


@fusion_method("agreeing_frames")
@dataclass(frozen=True, kw_only=True)
class AgreeingFrames(FusionMethod):
    """The frames that MEA learns to choose, and nothing else."""

    def fuse_frames(self, channels: Sequence[int], layout: StackLayout) -> nn.Module:
        return Chosen(channels, layout)


class Chosen(nn.Module):
    def __init__(self, channels: Sequence[int], layout: StackLayout) -> None:
        super().__init__()
        self.target = TargetFrames(channels, layout, learned=True)

    def forward(self, features: Sequence[Mapping[str, Tensor]]) -> list[Tensor]:  # [N, T, C_i, h_i, w_i] each
        weights = self.target(features)
        return [torch.cat([blend(stage[name], w) for name, w in weights.items()]) for stage in features]


@dataclass(frozen=True)
class Row:
    """What is trained: its title, fusion, what reduces clips, and whether training has delays."""

    title: str
    fusion: object
    reads: str  # "nearest", "stacked" or "clips"
    delayed: bool = True


ROWS = {
    "nearest": Row("nearest timestamp", "asymmetric", "nearest", delayed=False),
    "mea": Row("MEA, learned frames", {"name": "mea", "target": "learned"}, "clips"),
    "stacked": Row("frame stacking", "early", "stacked"),
    "augmented": Row("delays as augmentation", "asymmetric", "nearest"),
    "agreeing": Row("agreeing frames alone", "agreeing_frames", "clips"),
    "mea_nearest": Row("MEA, nearest frames", {"name": "mea", "target": "nearest"}, "clips"),
}
CORRECTED = "after the estimated delay"


class KeptClips(RoomClips):
    """Clips that are rendered once, into one file, and held in memory."""

    def keep(self, folder: Path) -> KeptClips:
        low, high = (round(each * RATE, 3) for each in self.delays["depth"])
        path = folder / f"{self.split}_{len(self)}_{low}_{high}_{self.jitter['depth'] * RATE:g}.npz"
        if not path.exists():
            samples = [self.read(i) for i in range(len(self))]
            arrays = [key for key, value in samples[0].items() if key not in ("sample_id", "paths")]
            folder.mkdir(parents=True, exist_ok=True)
            kept: dict[str, Any] = {key: np.stack([sample[key] for sample in samples]) for key in arrays}
            np.savez(path, **kept)
        self.kept = dict(np.load(path))
        return self

    def read(self, index: int) -> dict[str, Any]:
        if not hasattr(self, "kept"):
            return super().read(index)
        found: dict[str, Any] = {key: x[index].copy() if x.ndim > 1 else x[index] for key, x in self.kept.items()}
        return {**found, "time": float(self.kept["time"][index]), "sample_id": self.name_of(index), "paths": {}}


def clips(
    split: str,
    delays: tuple[float, float],
    jitter: float,
    row: Row,
    options: argparse.Namespace,
    corrected: float = 0.0,
) -> KeptClips:
    """Clips as a row reads them; delays and jitter in frames, `corrected` the seconds that are taken off."""
    reductions: dict[str, list[Any]] = {
        "nearest": [NearestFrames(delays={"depth": corrected})],
        "stacked": [dict(type=FramesAsMaps, frames={"depth": FRAMES}), NearestFrames()],
        "clips": [],
    }
    flip = [HorizontalFlip] if split == "train" else []
    return KeptClips(
        split=split,
        num_frames=TRAIN if split == "train" else TEST,
        size=SIZE,
        rates=RATE,
        delays={"depth": (delays[0] / RATE, delays[1] / RATE)},
        jitter={"depth": jitter / RATE},
        frames={"depth": FRAMES},
        offsets={"depth": 0},
        speed=SPEED,
        transforms=[*reductions[row.reads], *(dict(type=each) for each in (*flip, PackSample))],
    ).keep(options.data)


def build(row: Row, seed: int, options: argparse.Namespace) -> MultimodalModel:
    torch.manual_seed(seed)
    names = ("rgb", *(STACKED if row.reads == "stacked" else ["depth"]))
    return multimodal_segmentor(
        modalities=names,
        num_classes=10,
        backbone=options.backbone,
        fusion=row.fusion,
        decoder={"width": 64, "dropout": 0.1},
        statistics=dict.fromkeys(names[1:], DEPTH),
    )


def train(row: Row, seed: int, options: argparse.Namespace) -> tuple[MultimodalModel, float]:
    """A network after `steps` steps, and the processor time of a step in seconds."""
    model = build(row, seed, options)
    frames = clips("train", (0, SEEN if row.delayed else 0), 0.0, row, options)
    order = torch.Generator().manual_seed(seed)
    loader = DataLoader(frames, 8, shuffle=True, drop_last=True, collate_fn=collate, generator=order)
    optimizer = {"type": "AdamW", "lr": 2e-3, "weight_decay": 0.01}
    wrapper = EncoderDecoderConstructor({"optimizer": optimizer, "clip_grad": {"max_norm": 5.0}})(model)
    warm = max(1, options.steps // 10)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        wrapper.optimizer, lambda step: min((step + 1) / warm, 1.0) * (1 - step / options.steps) ** 0.9
    )
    begun = time.process_time()
    for batch in itertools.islice(itertools.chain.from_iterable(itertools.repeat(loader)), options.steps):
        training_step(model, batch, wrapper)
        schedule.step()
    return model.eval(), (time.process_time() - begun) / options.steps


def score(model: MultimodalModel, frames: KeptClips) -> float:
    """mIoU of the ensemble."""
    return Session(model, DataLoader(frames, 20, collate_fn=collate)).evaluate()["labels"].scores("ensemble")["mIoU"]


def estimated(delay: float, jitter: float, options: argparse.Namespace) -> float:
    """Seconds by which depth is found to lag in a test set: the median of recordings of some of its scenes."""
    frames, found = clips("test", (delay, delay), jitter, ROWS["nearest"], options), []
    for index in range(RECORDINGS):
        recording, tracks = frames.recording(index), []
        for name in frames.modalities:
            shown = ((recording.stamp(name, k), recording.frame(name, k)) for k in range(int(RECORDED_S * RATE)))
            tracks.append(Track.of(shown, STANDARD_MAPS[name]))
        found.append(estimate_delay(*tracks).seconds)
    return statistics.median(found)


@torch.no_grad()
def pooled(fused: FusedCodes, model: MultimodalModel, frames: KeptClips) -> tuple[Pooled, Pooled, Tensor]:
    """What is encoded of all clips, for either kind of code, and the share of each class in their labels, [n, K]."""
    found: list[tuple[Pooled, Pooled]] = []
    shares = []
    hook = fused.register_forward_pre_hook(lambda _layer, given: found.append(given))
    for batch in DataLoader(frames, 20, collate_fn=collate):
        given = model.data_preprocessor(batch)
        model.run(given["inputs"], times=given["times"])
        shares.append(torch.stack([(batch["label"] == k).flatten(1).float().mean(1) for k in range(10)], 1))
    hook.remove()
    own, joint = ({name: torch.cat([each[k][name] for each in found]) for name in frames.modalities} for k in (0, 1))
    return own, joint, torch.cat(shares)


@torch.no_grad()
def codes(fused: FusedCodes, own: Pooled, joint: Pooled, measured: bool = False) -> ExclusiveAgnostic:
    """Codes of pooled tokens; `measured` takes their statistics for those that the layers keep."""
    given: list[Pooled] = [own, joint]
    for layer, x in zip(fused.standard, given, strict=False):
        if measured:
            measure(layer, x)
    standard = [layer(x) for layer, x in zip(fused.standard, given, strict=False)]
    if measured:
        measure(fused.standard[2], fused.encoders(*standard).agnostic)
    exclusive, agnostic = fused.encoders(*standard)
    return ExclusiveAgnostic(exclusive, fused.standard[2](agnostic))


def measure(layer: nn.Module, given: Pooled) -> None:
    assert isinstance(layer, Standardised)
    for name, x in given.items():
        norm = layer.norms[name]
        assert isinstance(norm, nn.BatchNorm1d) and norm.running_mean is not None and norm.running_var is not None
        norm.running_mean.copy_(x.mean(0))
        norm.running_var.copy_(x.var(0))


def probe(fit: Mapping[str, Tensor], test: Mapping[str, Tensor], hidden: int = 0) -> float:  # [n, code] each
    """How often a classifier that was fit on codes of the training clips names the modality of the test's."""

    def pairs(of: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:  # [n, code] each
        return torch.cat(list(of.values())), torch.cat([torch.full((len(x),), k) for k, x in enumerate(of.values())])

    (x, y), (z, truth) = pairs(fit), pairs(test)
    mean, std = x.mean(0), x.std(0) + 1e-6
    torch.manual_seed(0)
    first = [nn.Linear(x.shape[1], hidden), nn.ReLU()] if hidden else []
    layers = nn.Sequential(*first, nn.Linear(hidden or x.shape[1], len(fit)))
    optimizer = torch.optim.LBFGS(layers.parameters(), max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        decay = 1e-3 * sum(p.square().sum() for p in layers.parameters())
        value = nn.functional.cross_entropy(layers((x - mean) / std), y) + decay
        value.backward()
        return value

    optimizer.step(loss)
    return float((layers((z - mean) / std).argmax(1) == truth).float().mean())


def explained(fit: Mapping[str, Tensor], shares: Tensor, test: Mapping[str, Tensor], truth: Tensor) -> float:
    """R² of the classes' shares from the codes of all modalities by ridge regression: a collapsed code has 0."""
    x, z = (torch.cat([*of.values(), torch.ones(len(shares_), 1)], 1) for of, shares_ in ((fit, shares), (test, truth)))
    scale = x.std(0).clamp(min=1e-6)
    scale[-1] = 1
    x, z = x / scale, z / scale
    weights = torch.linalg.solve(x.T @ x + torch.eye(x.shape[1]), x.T @ shares)
    return 1 - float((z @ weights - truth).square().sum() / (truth - shares.mean(0)).square().sum())


def probes(model: MultimodalModel, row: Row, options: argparse.Namespace) -> dict[str, float]:
    """Of codes as training left their statistics, and with these measured once more on the training clips."""
    still, found = Row(row.title, row.fusion, row.reads), {}
    fusion = cast(SharedBackbone, model.backbone).frames
    assert isinstance(fusion, AsynchronousFusion)
    fit = pooled(fusion.codes, model, clips("train", (0, SEEN), 0.0, still, options))
    test = pooled(fusion.codes, model, clips("test", (1, 1), 0.0, still, options))
    for words in ("", ", measured"):
        one = codes(fusion.codes, fit[0], fit[1], measured=bool(words))
        two = codes(fusion.codes, test[0], test[1])
        for kind, x, z in zip(("exclusive", "agnostic"), one, two, strict=True):
            found[f"{kind}{words} linear"] = probe(x, z)
            found[f"{kind}{words} MLP"] = probe(x, z, hidden=32)
            found[f"{kind}{words} R2"] = explained(x, fit[2], z, test[2])
    return found


def cost(row: Row, options: argparse.Namespace) -> dict[str, float]:
    """Parameters, and operations of one clip."""
    model = build(row, 0, options).eval()
    batch = collate([clips("test", (0, 0), 0.0, row, options)[0]])
    given = model.data_preprocessor(batch)
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        model.run(given["inputs"], times=given.get("times"))
    return {"parameters": sum(p.numel() for p in model.parameters()), "flops": counter.get_total_flops()}


def run(name: str, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    row = ROWS[name]
    model, step_s = train(row, seed, options)
    found: dict[str, Any] = {"step_s": step_s, **cost(row, options)}
    for jitter, delay in ((jitter, delay) for jitter, delays in TESTED.items() for delay in delays):
        key = f"{delay} {jitter:g}"
        found[key] = score(model, clips("test", (delay, delay), jitter, row, options))
        if name == "nearest":
            seconds = estimated(delay, jitter, options)
            frames = clips("test", (delay, delay), jitter, row, options, seconds)
            found |= {f"estimated {key}": seconds, f"corrected {key}": score(model, frames)}
    return {**found, "probes": probes(model, row, options)} if name.startswith("mea") else found


def results(options: argparse.Namespace) -> Found:
    """{row: {seed: result}} of all that were asked for, from files or made now."""
    found: Found = {}
    for seed, name in itertools.product(options.seeds, options.rows):
        path = options.out / f"{name}_{seed}_{options.steps}_{options.backbone}.json"
        if not path.exists() and not options.only_table:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(run(name, seed, options)))
            print(path.read_text(), flush=True)
        if path.exists():
            found.setdefault(name, {})[seed] = json.loads(path.read_text())
    return found


def shown(values: Sequence[float], form: str = ".3f") -> str:
    return f"{statistics.mean(values):{form}} ({', '.join(f'{x:{form}}' for x in values)})"


def table(found: Found) -> str:
    """Everything in Markdown."""
    rows = {ROWS[name].title: ("", seeds) for name, seeds in found.items()}
    if "nearest" in found:
        rows[CORRECTED] = ("corrected ", found["nearest"])
    lines, lost = [], {}
    for jitter, delays in TESTED.items():
        word = f"Jitter of {jitter:g} frames" if jitter else "Constant delay"
        lines += ["", f"## {word}", "", "mIoU at a delay of as many frames: mean (each seed).", ""]
        lines += [f"| row | {' | '.join(f'{d} (unseen)' if d in UNSEEN else f'{d}' for d in delays)} |"]
        lines += ["|---|" + "---|" * len(delays)]
        for title, (prefix, seeds) in rows.items():
            cells = [[each[f"{prefix}{d} {jitter:g}"] for each in seeds.values()] for d in delays]
            lines.append(f"| {title} | {' | '.join(shown(cell) for cell in cells)} |")
            by_delay = dict(zip(delays, cells, strict=True))
            lost[title, jitter] = {d: [a - b for a, b in zip(cells[0], by_delay[d], strict=True)] for d in UNSEEN}
    lines += [
        "",
        "## What unseen delays cost",
        "",
        "mIoU lost against the same row without delay: mean (each seed).",
        "",
    ]
    heads = [f"{d}{f' ± {j:g}' if j else ''}" for j in TESTED for d in UNSEEN]
    lines += [f"| row | {' | '.join(heads)} |", "|---|" + "---|" * len(heads)]
    for title in rows:
        lines.append(f"| {title} | {' | '.join(shown(lost[title, j][d], '+.3f') for j in TESTED for d in UNSEEN)} |")
    lines += [*bars(lost), *probe_lines(found), *cost_lines(found)]
    return "\n".join(lines)


def bars(lost: dict[tuple[str, float], dict[int, list[float]]]) -> list[str]:
    """Whether each row loses less than half of what nearest timestamp loses, by the means of the same seeds."""
    lines = ["", "The bar is less than half of what nearest timestamp loses:", ""]
    for title in dict.fromkeys(title for title, _ in lost):
        shares = {}
        for (name, jitter), values in lost.items():
            base = lost.get((ROWS["nearest"].title, jitter))
            if name == title and base and name != ROWS["nearest"].title:
                for d in UNSEEN:
                    shares[d, jitter] = statistics.mean(values[d]) / statistics.mean(base[d])
        if shares:
            each = ", ".join(f"{share:.0%} at {d}{f' ± {j:g}' if j else ''}" for (d, j), share in shares.items())
            lines.append(f"- {title}: {each}: {'met' if max(shares.values()) < 0.5 else 'missed'}")
    return lines


def probe_lines(found: Found) -> list[str]:
    lines = [
        "",
        "## Codes",
        "",
        "How often a probe names the modality of a test clip's code (chance 0.5), and R² of the ",
    ]
    lines[-1] += (
        'classes\' shares in the label from the codes. Bars: exclusive ≥ 0.9, agnostic ≤ 0.65, linear. "Measured": the '
    )
    lines[-1] += (
        "statistics by which codes are standardised were measured once more on the training clips, after training."
    )
    lines += ["", "| row | code | linear | MLP | R² |", "|---|---|---|---|---|"]
    for name, seeds in found.items():
        kinds = ("exclusive", "agnostic", "exclusive, measured", "agnostic, measured")
        for kind in kinds if name.startswith("mea") else ():
            cells = [[each["probes"][f"{kind} {of}"] for each in seeds.values()] for of in ("linear", "MLP", "R2")]
            lines.append(f"| {ROWS[name].title} | {kind} | {' | '.join(map(shown, cells))} |")
    return lines


def cost_lines(found: Found) -> list[str]:
    lines = ["", "## Cost", "", "Of one clip, and processor time of a training step of 8 clips.", ""]
    lines += ["| row | parameters, M | GFLOP | step, s |", "|---|---|---|---|"]
    for name, seeds in found.items():
        each = list(seeds.values())
        one, step = each[0], [x["step_s"] for x in each]
        lines.append(
            f"| {ROWS[name].title} | {one['parameters'] / 1e6:.2f} | {one['flops'] / 1e9:.3f} | {shown(step, '.2f')} |"
        )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--rows", nargs="+", default=list(ROWS), choices=list(ROWS))
    parser.add_argument("--steps", type=int, default=200, help="of 8 clips")
    parser.add_argument("--backbone", default="resnet10t")
    parser.add_argument("--data", type=Path, default=ROOT / "data/asynchronous", help="where rendered clips are kept")
    parser.add_argument("--out", type=Path, default=ROOT / "work_dirs/asynchronous", help="where results are kept")
    parser.add_argument("--only-table", action="store_true", help="of the results that are there")
    parser.add_argument("--table", type=Path, help="a Markdown file")
    options = parser.parse_args()
    text = (
        f"# Sensors that are not synchronised, on rendered rooms\n\n{options.backbone} from random weights, "
        f"{SIZE[0]}x{SIZE[1]}, {options.steps} steps of 8 clips of {TRAIN}, {TEST} test clips of other scenes, 1 frame "
        f"of RGB and {FRAMES} of depth at {RATE:g} Hz from the label's time on, a camera that turns by {SPEED:g} "
        f"degrees per second, delays of depth in training 0 to {SEEN} frames, seeds {options.seeds}. "
        f"{os.environ.get('OMP_NUM_THREADS', 'all')} threads ({platform.machine()}), torch {torch.__version__}, "
        f"{datetime.date.today()}. `python benchmarks/asynchronous.py`\n{table(results(options))}\n"
    )
    if options.table:
        options.table.write_text(text)
    print(text)


if __name__ == "__main__":
    main()
