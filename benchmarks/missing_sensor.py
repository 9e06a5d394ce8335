"""What translation between modalities is good for on rendered rooms: codes that are alike, and a missing sensor.

Codes: a network without the objective `modality_translation`, with it but without its adversary, and with it whole. Of
codes of the test frames at stride 8: the squared maximum mean discrepancy (MMD, Gaussian kernel, the median
distance as its width) between the modalities; R2 of the features that decoders give back; the accuracy of probes, which
are fitted to codes of training frames, for the class of a location and for its modality.

Missing: in rooms whose colour says the class, RGB alone solves what depth cannot. A network as it is (zeros in RGB's
place, or depth's branch alone), one with modality dropout 2/3 (depth's branch alone), and one that hallucinates, whose
steps run the network twice: modality dropout of four times as many steps takes about as long.

    OMP_NUM_THREADS=1 python benchmarks/missing_sensor.py --seeds 0 1 2 --out benchmarks/results/missing_sensor.md

Each run leaves a JSON file in --work-dir and is not made again: give another one after a change of the code.
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
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torch.utils.flop_counter import FlopCounterMode

from rgbx.datasets import SyntheticRooms
from rgbx.evaluate.session import Session
from rgbx.layers.codes import Codes
from rgbx.models import MultimodalModel, multimodal_segmentor
from rgbx.objectives.modality_translation import ModalityTranslation, class_shares
from rgbx.train.loops import training_step
from rgbx.train.optim import EncoderDecoderConstructor
from rgbx.transforms import HorizontalFlip, PackSample, collate

ROOT = Path(__file__).resolve().parents[1]
MODALITIES, SIZE, CLASSES, BATCH = ("rgb", "depth"), (60, 80), 10, 8
STATISTICS = {"depth": {"mean": (3.85,), "std": (1.40,)}}  # metres, of the training frames
STAGE, PROBED, COMPARED = 2, 60, 2000  # of the codes; frames of each split for probes; codes of a modality for the MMD
CODES: dict[str, dict[str, Any]] = {
    "without": {},
    "no adversary": {"objectives": [{"name": "modality_translation", "stages": [STAGE], "alpha": 0.0}]},
    "adversary": {"objectives": [{"name": "modality_translation", "stages": [STAGE]}]},
}
GAME = {"betas": (0.0, 0.999)}  # of AdamW: with a memory of gradients the adversary drives the modalities apart
MISSING: dict[str, dict[str, Any]] = {
    "as it is": {},
    "modality dropout 2/3": {"modality_dropout": 2 / 3},
    "hallucination": {"hallucinate": True},
    "modality dropout 2/3, 4 times the steps": {"modality_dropout": 2 / 3},
}
LONGER = {"modality dropout 2/3, 4 times the steps": 4}  # about the time that hallucination takes
Figures = dict[str, float]


def rooms(split: str, paints: str, options: argparse.Namespace, *, flipped: bool = False) -> SyntheticRooms:
    """Frames that are rendered once and kept."""
    root, flip = options.data / paints, [HorizontalFlip()] if flipped else []
    return SyntheticRooms(root=root, split=split, size=SIZE, paints=paints, transforms=(*flip, PackSample()))


def built(parameters: Mapping[str, Any], options: argparse.Namespace) -> MultimodalModel:
    """A network of random weights."""
    return multimodal_segmentor(
        modalities=MODALITIES,
        num_classes=CLASSES,
        backbone=options.backbone,
        decoder={"width": 64, "dropout": 0.1},
        statistics=STATISTICS,
        **parameters,
    )


def trained(
    parameters: Mapping[str, Any],
    paints: str,
    seed: int,
    options: argparse.Namespace,
    optimizer: Mapping[str, Any] | None = None,
) -> tuple[MultimodalModel, Figures]:
    """A network after `steps` steps, and what they took."""
    torch.manual_seed(seed)
    model = built(parameters, options)
    model.set_epoch_seed(seed)
    order = torch.Generator().manual_seed(seed)
    frames = rooms("train", paints, options, flipped=True)
    loader = DataLoader(frames, BATCH, shuffle=True, drop_last=True, collate_fn=collate, generator=order)
    given = {"type": "AdamW", "lr": 2e-3, "weight_decay": 0.01, **(optimizer or {})}
    constructor = EncoderDecoderConstructor(
        {"optimizer": given, "clip_grad": {"max_norm": 5.0}}, {"discriminator_lr": options.discriminator_lr}
    )
    wrapper = constructor(model)
    optimizers = [part.optimizer for part in wrapper.values()] if model.alternates else [wrapper.optimizer]
    warm = max(1, options.steps // 10)
    schedules = [
        torch.optim.lr_scheduler.LambdaLR(
            each, lambda step: min((step + 1) / warm, 1.0) * (1 - step / options.steps) ** 0.9
        )
        for each in optimizers
    ]
    seconds = []
    for batch in itertools.islice(itertools.chain.from_iterable(itertools.repeat(loader)), options.steps):
        start = time.process_time()
        training_step(model.train(), batch, wrapper)
        seconds.append(time.process_time() - start)
        for schedule in schedules:
            schedule.step()
    return model.eval(), {"step": statistics.median(seconds)}


def miou(model: MultimodalModel, paints: str, subset: Sequence[str], options: argparse.Namespace) -> float:
    """Of the ensemble."""
    session = Session(model, DataLoader(rooms(options.split, paints, options), BATCH, collate_fn=collate))
    return float(session.evaluate(subset)["labels"].scores("ensemble")["mIoU"])


@torch.no_grad()
def zeros_in_its_place(model: MultimodalModel, paints: str, options: argparse.Namespace) -> float:
    """mIoU of the ensemble where RGB is normalised zeros."""
    confusion = torch.zeros(CLASSES, CLASSES)
    for batch in DataLoader(rooms(options.split, paints, options), BATCH, collate_fn=collate):
        inputs = model.data_preprocessor(batch)["inputs"]
        inputs["rgb"] = torch.zeros_like(inputs["rgb"])
        found = model.outputs(inputs)["labels"]["ensemble"].argmax(1)
        counted = batch["label"] < CLASSES
        pairs = CLASSES * batch["label"][counted] + found[counted]
        confusion += pairs.bincount(minlength=CLASSES**2).view(CLASSES, CLASSES)
    hit = confusion.diag()
    union = confusion.sum(0) + confusion.sum(1) - hit
    return float((hit / union)[union > 0].mean())


@torch.no_grad()
def codes_of(model: MultimodalModel, split: str, options: argparse.Namespace) -> dict[str, Tensor]:
    """Codes of each modality [n, d] at the locations of a stage, classes [n], and R2 of each modality []."""
    objective = model.objectives["modality_translation"]
    assert isinstance(objective, ModalityTranslation)
    codes = objective.codes[f"{STAGE}"]
    assert isinstance(codes, Codes)
    found: dict[str, list[Tensor]] = {}
    frames = rooms(split, "random", options)
    for start in range(0, min(PROBED, len(frames)), 20):
        batch = collate([frames[index] for index in range(start, start + 20)])
        run = model.run(model.data_preprocessor(batch)["inputs"])
        parts = dict(zip(MODALITIES, run.features[STAGE - 1].split(20), strict=True))
        size = tuple(parts["rgb"].shape[-2:])
        shares = class_shares(batch["label"], CLASSES, (size[0], size[1]), objective.strides[STAGE])
        found.setdefault("class", []).append(shares.argmax(1).flatten())
        for name, code in codes.codes_of(parts).items():
            wanted, given = codes.wanted(parts[name], name), codes.decoded(code, name)
            for key, x in ((name, code), (f"{name} wanted", wanted), (f"{name} given", given)):
                found.setdefault(key, []).append(x.movedim(1, -1).flatten(0, 2))
    whole = {name: torch.cat(parts) for name, parts in found.items()}
    for name in MODALITIES:
        wanted, given = whole.pop(f"{name} wanted"), whole.pop(f"{name} given")
        rest = (wanted - given).square().sum() / (wanted - wanted.mean(0)).square().sum()
        whole[f"{name} R2"] = 1 - rest
    return whole


def discrepancy(
    a: Tensor,  # [n, d]
    b: Tensor,  # [n, d]
) -> float:
    """The unbiased estimate of the squared MMD by a Gaussian kernel of the median distance."""
    both = torch.cat([a, b]).double()
    squares = torch.cdist(both, both).square()
    n = len(a)
    off = ~torch.eye(2 * n, dtype=torch.bool)
    kernel = (-squares / (2 * squares[off].median())).exp() * off
    within = (kernel[:n, :n].sum() + kernel[n:, n:].sum()) / (n * (n - 1))
    across = (kernel[:n, n:].sum() - kernel[:n, n:].diag().sum()) / (n * (n - 1))
    return float(within - 2 * across)


def probe(
    x: Tensor,  # [n, d]
    truth: Tensor,  # int64 [n]
    tests: Sequence[tuple[Tensor, Tensor]],
    hidden: int = 0,
) -> float:
    """Accuracy on the tests of a classifier, linear or of one hidden layer, that is fitted to x."""
    torch.manual_seed(0)
    mean, deviation, count = x.mean(0), x.std(0) + 1e-6, int(truth.max()) + 1
    layers: list[nn.Module] = [nn.Linear(x.shape[1], hidden), nn.ReLU()] if hidden else []
    network = nn.Sequential(*layers, nn.Linear(hidden or x.shape[1], count))
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-2, weight_decay=1e-2)
    for _ in range(400):
        optimizer.zero_grad()
        F.cross_entropy(network((x - mean) / deviation), truth).backward()
        optimizer.step()
    with torch.no_grad():
        right = [network((z - mean) / deviation).argmax(1) == y for z, y in tests]
    return float(torch.cat(right).float().mean())


def told_by_codes(model: MultimodalModel, options: argparse.Namespace) -> Figures:
    """MMD, R2 and probes."""
    fit, test = (codes_of(model, split, options) for split in ("train", options.split))
    both = [torch.cat([part[name] for name in MODALITIES]) for part in (fit, test)]
    modality = [torch.arange(2).repeat_interleave(len(part["class"])) for part in (fit, test)]
    classes = [part["class"].repeat(2) for part in (fit, test)]
    torch.manual_seed(0)
    return {
        "MMD": discrepancy(*(test[name][torch.randperm(len(test[name]))[:COMPARED]] for name in MODALITIES)),
        "R2": float(min(test[f"{name} R2"] for name in MODALITIES)),
        "class": probe(both[0], classes[0], [(both[1], classes[1])]),
        "modality, linear": probe(both[0], modality[0], [(both[1], modality[1])]),
        "modality, MLP": probe(both[0], modality[0], [(both[1], modality[1])], hidden=64),
    }


def of_codes(kind: str, seed: int, options: argparse.Namespace) -> Figures:
    """All figures of a network of `CODES`."""
    parameters = dict(CODES[kind])
    if kind == "adversary":
        parameters["objectives"] = [{**CODES[kind]["objectives"][0], "alpha": options.alpha}]
    model, figures = trained(parameters, "random", seed, options, GAME)
    figures["mIoU"] = miou(model, "random", MODALITIES, options)
    return figures | (told_by_codes(model, options) if len(model.objectives) else {})


def of_missing(kind: str, seed: int, options: argparse.Namespace) -> Figures:
    """All figures of a network of `MISSING`."""
    longer = argparse.Namespace(**{**vars(options), "steps": options.steps * LONGER.get(kind, 1)})
    model, figures = trained(MISSING[kind], "class", seed, longer)
    for title, subset in (("both", MODALITIES), ("RGB alone", ("rgb",)), ("depth alone", ("depth",))):
        figures[title] = miou(model, "class", subset, options)
    if kind == "as it is":
        figures["zeros for RGB"] = zeros_in_its_place(model, "class", options)
    return figures


def costs(parameters: Mapping[str, Any], options: argparse.Namespace) -> Figures:
    """Parameters of what predicts and of training alone, and multiply-adds of a frame with both maps and with depth."""
    model = built(parameters, options).eval()
    count = lambda modules: sum(p.numel() for module in modules for p in module.parameters())  # noqa: E731
    extra = count([model.objectives])
    found = {"parameters": count([model]) - extra, "of training": extra}
    frame = {"rgb": torch.zeros(1, 3, *SIZE), "depth": torch.zeros(1, 1, *SIZE)}
    for title, names in (("both", MODALITIES), ("depth alone", ("depth",))):
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            model.outputs({name: frame[name] for name in names})
        found[f"GMACs {title}"] = counter.get_total_flops() / 2e9
    return found


def measured(
    name: str,
    kind: str,
    seed: int,
    make: Callable[[str, int, argparse.Namespace], Figures],
    options: argparse.Namespace,
) -> Figures:
    """The figures of one run, from its file if it is there."""
    path = options.work_dir / f"{name}_{kind.replace(' ', '_').replace('/', '_')}_seed{seed}.json"
    if path.is_file():
        found: Figures = json.loads(path.read_text())
        return found
    if options.kept:
        return {}
    start = time.process_time()
    found = make(kind, seed, options)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found))
    print(name, kind, seed, *(f"{key} {value:.3f}" for key, value in found.items()), flush=True)
    print(f"  {time.process_time() - start:.0f} s of a core", flush=True)
    return found


def cell(rows: Sequence[Figures], key: str, digits: int = 3) -> str:
    """The mean and each seed's figure."""
    values = [row[key] for row in rows if key in row]
    each = ", ".join(f"{value:.{digits}f}" for value in values)
    return f"{statistics.mean(values):.{digits}f} ({each})" if values else "-"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """In Markdown."""
    return [f"| {' | '.join(row)} |" for row in (header, ["---"] * len(header), *rows)]


def bar(what: str, values: Sequence[float], most: float | None, least: float | None = None) -> list[str]:
    """A row of the bars: the mean decides."""
    mean, each = statistics.mean(values), ", ".join(f"{value:.3f}" for value in values)
    reached = (most is None or mean <= most) and (least is None or mean >= least)
    wanted = f"at most {most:g}" if most is not None else f"at least {least:g}"
    return [what, f"{mean:.3f} ({each})", wanted, "yes" if reached else "NO"]


def bars(codes: Mapping[str, Sequence[Figures]], missing: Mapping[str, Sequence[Figures]]) -> list[list[str]]:
    """What was to be reached, the figures and whether they do."""
    without, plain, whole = (codes[kind] for kind in CODES)
    pairs = list(zip(plain, whole, strict=True))
    rows = [
        bar("MMD, as a share of that without adversary", [b["MMD"] / a["MMD"] for a, b in pairs], 0.2),
        bar("R2 of the features given back, the worse modality", [row["R2"] for row in whole], None, 0.5),
        bar("accuracy of classes lost by the adversary", [a["class"] - b["class"] for a, b in pairs], 0.02),
        bar("linear probe for the modality", [row["modality, linear"] for row in whole], 0.75),
        bar("mIoU lost by the objective", [a["mIoU"] - b["mIoU"] for a, b in zip(without, whole, strict=True)], 0.02),
    ]
    plain, dropped, filled = (missing[kind] for kind in list(MISSING)[:3])
    best = [max(a["zeros for RGB"], a["depth alone"], b["depth alone"]) for a, b in zip(plain, dropped, strict=True)]
    lost = [b - row["depth alone"] for b, row in zip(best, filled, strict=True)]
    return [*rows, bar("mIoU of depth that hallucination is below the best of the others", lost, 0.02)]


def page(
    codes: Mapping[str, Sequence[Figures]], missing: Mapping[str, Sequence[Figures]], options: argparse.Namespace
) -> str:
    """All tables."""
    keys = ["mIoU", "MMD", "R2", "class", "modality, linear", "modality, MLP"]
    alone = ["both", "RGB alone", "depth alone", "zeros for RGB"]
    base = {"codes": codes["without"], "missing": missing["as it is"]}
    cost = []
    for group, kinds, rows in (("codes", CODES, codes), ("missing", MISSING, missing)):
        for kind, parameters in kinds.items():
            found = costs(parameters, options)
            step = statistics.mean(a["step"] / b["step"] for a, b in zip(rows[kind], base[group], strict=False))
            cost.append(
                [
                    f"{group}: {kind}",
                    f"{found['parameters'] / 1e6:.2f} M",
                    f"{found['of training'] / 1e6:.2f} M",
                    f"{found['GMACs both']:.3f}",
                    f"{found['GMACs depth alone']:.3f}",
                    f"{step:.2f}",
                ]
            )
    header = ["network", "parameters", "of training alone", "GMACs, both", "GMACs, depth alone", "time of a step"]
    lines = [
        "# Translation between modalities on rendered rooms",
        "",
        f"{options.backbone} from random weights, 60x80, {options.steps} steps of {BATCH} frames, α "
        f"{options.alpha:g} and a discriminator's rate of {options.discriminator_lr:g}, AdamW with β1 "
        f"{GAME['betas'][0]:g} in all of the first table, seeds {options.seeds}, each in brackets behind the mean; the "
        f"split `{options.split}`, protocol `rgbx`. "
        f"{os.environ.get('OMP_NUM_THREADS', 'all')} threads ({platform.machine()}), torch {torch.__version__}, "
        f"{datetime.date.today()}.",
        "",
        "## Codes",
        "",
        *table(
            ["objective", *keys],
            [[kind, *(cell(rows, key, 4 if key == "MMD" else 3) for key in keys)] for kind, rows in codes.items()],
        ),
        "",
        "## A sensor is missing: mIoU in rooms whose colour says the class",
        "",
        *table(["trained", *alone], [[kind, *(cell(rows, key) for key in alone)] for kind, rows in missing.items()]),
        "",
        "## Bars",
        "",
        *table(["what", "mean (seeds)", "bar", "reached"], bars(codes, missing)),
        "",
        "## Cost",
        "",
        "Of a frame of 60x80 (padded to 64x96); the time of a training step against the first network of its group.",
        "",
        *table(header, cost),
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=150, help="of 8 frames")
    parser.add_argument("--kept", action="store_true", help="make no run, and the page of those that are there")
    parser.add_argument("--alpha", type=float, default=0.1, help="of the adversary")
    parser.add_argument("--discriminator-lr", type=float, default=1e-2)
    parser.add_argument("--backbone", default="resnet10t")
    parser.add_argument("--split", choices=("test", "val"), default="test", help="val to choose options by")
    parser.add_argument("--only", choices=("codes", "missing"), help="train these alone, and write no page")
    parser.add_argument(
        "--data", type=Path, default=ROOT / "data/rooms_60x80_paints", help="where frames are rendered to"
    )
    parser.add_argument("--work-dir", type=Path, default=ROOT / "work_dirs/missing_sensor")
    parser.add_argument("--out", type=Path, help="a Markdown file")
    options = parser.parse_args()
    torch.set_num_threads(1)
    groups: dict[str, dict[str, list[Figures]]] = {"codes": {}, "missing": {}}
    kinds = {"codes": (CODES, of_codes), "missing": (MISSING, of_missing)}
    for seed in options.seeds:
        for group, (rows, make) in kinds.items():
            for kind in rows if options.only in (None, group) else ():
                found = measured(group, kind, seed, make, options)
                groups[group].setdefault(kind, []).extend([found] if found else [])
    if options.only is None:
        text = page(groups["codes"], groups["missing"], options)
        if options.out:
            options.out.write_text(text)
        print(text)


if __name__ == "__main__":
    main()
