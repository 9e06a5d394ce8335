"""Do gates find where a sensor is not to be believed, and what do they cost? Three networks a seed, on rendered rooms.

All have the same architecture, frames, damage and schedule; training damages RGB and depth by noise, blocks of other
frames and holes. One network has no gates, one has gates that are told where the damage was, and one has gates with the
penalty of the paper. Tests damage one map of every frame by one kind at a time, of which stripes, constant and mirrored
blocks never were in training. The area under the ROC curve is that of all pixels, damage against the belief, and stands
beside detectors without training: how far a depth lies from the median of 5x5 pixels, alone and as the mean over 15x15,
and the share of 5x5 pixels that have none.

    OMP_NUM_THREADS=1 python benchmarks/purification.py --seeds 0 1 2 --work-dir work_dirs/purification

Networks that are trained are not trained again: give another --work-dir after a change of the code.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from rgbx.datasets import SampleKey
from rgbx.datasets.rooms import SyntheticRooms
from rgbx.datasets.sample import Transforms
from rgbx.metrics import scores
from rgbx.models import MultimodalModel, multimodal_segmentor
from rgbx.transforms import DamageBlocks, PackSample, collate

SIZE, TRAINED_ON, TESTED_ON, BATCH, CLASSES = (60, 80), 600, 100, 8, 10
MODALITIES = ("rgb", "depth")
SEEN, UNSEEN = ("noise", "foreign", "holes"), ("stripes", "constant", "mirrored")
FORMS: dict[str, dict[str, Any] | None] = {
    "no gates": None,
    "synthetic": {"context": "cross", "supervision": "synthetic"},
    "literal": {"context": "cross", "supervision": "literal"},
}
DETECTORS: dict[str, Callable[[np.ndarray], np.ndarray]] = {  # of a depth map, float32 [H, W]
    "median residual": lambda depth: np.abs(depth - cv2.medianBlur(depth, 5)),
    "its mean over 15x15": lambda depth: cv2.blur(np.abs(depth - cv2.medianBlur(depth, 5)), (15, 15)),
    "share of zeros": lambda depth: cv2.blur((depth <= 0).astype(np.float32), (5, 5)),
}
TEST_SEED = 7
MOST_LOST = 0.02  # of the mIoU
LEAST_AUC = {"stripes": 0.93, "constant": 0.75, "mirrored": 0.78}
LEAST_CLOSED, MOST_CLOSED = 0.5, 0.1  # of damaged and of clean pixels


def rooms(split: str, transforms: Transforms, folder: Path) -> SyntheticRooms:
    """Frames that are rendered once and kept."""
    count = TRAINED_ON if split == "train" else TESTED_ON
    kept = folder / "frames"
    return SyntheticRooms(
        split=split, num_frames=count, size=SIZE, modalities=MODALITIES, transforms=transforms, root=kept
    )


def built(form: str) -> MultimodalModel:
    """A network of random weights."""
    return multimodal_segmentor(
        modalities=MODALITIES,
        num_classes=CLASSES,
        backbone="resnet10t",
        decoder={"name": "light", "width": 64, "dropout": 0.1},
        statistics={"depth": {"mean": (3.85,), "std": (1.40,)}},
        purification=FORMS[form],
    )


def trained(form: str, seed: int, steps: int, folder: Path) -> MultimodalModel:
    """The network of a form and seed, from the folder if it is there."""
    torch.manual_seed(seed)
    model = built(form)
    path = folder / f"{form.replace(' ', '_')}_seed{seed}.pth"
    if path.is_file():
        model.load_state_dict(torch.load(path))
        return model.eval()
    data = rooms("train", [DamageBlocks(MODALITIES, kinds=SEEN), PackSample()], folder)
    order = np.random.default_rng(seed)
    indices = np.concatenate([order.permutation(TRAINED_ON) for _ in range(-(-steps * BATCH // TRAINED_ON))])
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda i: min((i + 1) / 20, 1) * (1 - i / steps) ** 0.9)
    start = time.process_time()
    for step in range(steps):
        keys = [SampleKey(int(index), seed * steps + step) for index in indices[step * BATCH :][:BATCH]]
        batch = collate([data[key] for key in keys])
        losses = model.train()(**model.data_preprocessor(batch, training=True), mode="loss")
        optimizer.zero_grad(set_to_none=True)
        torch.stack(list(losses.values())).sum().backward()
        optimizer.step()
        schedule.step()
    print(f"{form}, seed {seed}: {steps} steps in {time.process_time() - start:.0f} s of a core", flush=True)
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(model.state_dict(), path)
    return model.eval()


@torch.no_grad()
def tested(model: MultimodalModel, folder: Path, damage: Sequence[DamageBlocks] = ()) -> dict[str, Any]:
    """mIoU, and over all pixels where each map was damaged, its belief and, of depth, what the detectors say."""
    data = rooms("test", [*damage, PackSample()], folder)
    confusion = torch.zeros(CLASSES, CLASSES, dtype=torch.int64)
    found: dict[str, list[np.ndarray]] = {}
    for start in range(0, TESTED_ON, 20):
        batch = collate([data[SampleKey(index, TEST_SEED)] for index in range(start, start + 20)])
        run = model.run(model.data_preprocessor(batch)["inputs"], beliefs=True)
        predicted, truth = run.outputs["labels"]["ensemble"].argmax(1), batch["label"]
        counted = truth < CLASSES
        pairs = CLASSES * truth[counted] + predicted[counted]
        confusion += pairs.bincount(minlength=CLASSES**2).view(CLASSES, CLASSES)
        for name in MODALITIES:
            if name in run.beliefs:
                found.setdefault(f"{name} belief", []).append(run.beliefs[name].numpy().ravel())
            damaged = batch.get(f"{name}_corrupted", torch.zeros(20, *SIZE, dtype=torch.bool))
            found.setdefault(f"{name} damaged", []).append(damaged.numpy().ravel())
        for name, detector in DETECTORS.items():
            found.setdefault(name, []).append(np.stack([detector(x) for x in batch["depth"][:, 0].numpy()]).ravel())
    return {"mIoU": scores(confusion)["mIoU"], **{name: np.concatenate(parts) for name, parts in found.items()}}


def area(
    score: np.ndarray,  # [n]
    truth: np.ndarray,  # bool [n]
) -> float:
    """Under the ROC curve: the chance that a true pixel scores above a false one, ties by half."""
    _, inverse, counts = np.unique(score, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    positive = int(truth.sum())
    return float((ranks[truth].sum() - positive * (positive + 1) / 2) / (positive * (truth.size - positive)))


def measured(form: str, seed: int, steps: int, folder: Path) -> dict[str, Any]:
    """All figures of a network."""
    model = trained(form, seed, steps, folder)
    clean = tested(model, folder)
    gated = [name for name in MODALITIES if f"{name} belief" in clean]
    result: dict[str, Any] = {"clean mIoU": clean["mIoU"]}
    result |= {f"{name} closed, clean frames": float((clean[f"{name} belief"] < 0.5).mean()) for name in gated}
    for name in MODALITIES:
        for kind in (*SEEN, *UNSEEN):
            test = tested(model, folder, [DamageBlocks((name,), kinds=(kind,), probability=1.0)])
            damaged, row = test[f"{name} damaged"], {"mIoU": test["mIoU"]}
            if name in gated:
                closed = test[f"{name} belief"] < 0.5
                row |= {"AUC": area(-test[f"{name} belief"], damaged)}
                row |= {
                    "closed, damaged": float(closed[damaged].mean()),
                    "closed, clean": float(closed[~damaged].mean()),
                }
            if name == "depth":
                row |= {detector: area(test[detector], damaged) for detector in DETECTORS}
            result[f"{name} {kind}"] = row
    return result


def mean_of(rows: Sequence[Any]) -> Any:
    """Of numbers, or of dicts of such."""
    if isinstance(rows[0], Mapping):
        return {key: mean_of([row[key] for row in rows]) for key in rows[0]}
    return statistics.mean(rows)


def bars(found: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[str]:
    """What was to be reached, the figures over the seeds and whether they do."""
    gates, plain = found["synthetic"], found["no gates"]
    lines = []

    def line(what: str, values: Sequence[float], bar: str, reached: bool) -> None:
        each = ", ".join(f"{value:.3f}" for value in values)
        lines.append(f"| {what} | {statistics.mean(values):.3f} ({each}) | {bar} | {'yes' if reached else 'NO'} |")

    for kind, least in LEAST_AUC.items():
        values = [row[f"depth {kind}"]["AUC"] for row in gates]
        others = {name: statistics.mean(row[f"depth {kind}"][name] for row in gates) for name in DETECTORS}
        above = "".join(f", {name} {value:.3f}" for name, value in others.items())
        need = least if kind == "stripes" else max(least, *others.values())
        line(f"AUC, depth, {kind}", values, f"at least {least}{above}", statistics.mean(values) >= need)
    for which, kinds in (("all kinds", (*SEEN, *UNSEEN)), ("kinds seen", SEEN), ("kinds not seen", UNSEEN)):
        for part, reach in (
            ("damaged", lambda x: x >= LEAST_CLOSED),
            ("clean", lambda x: x <= MOST_CLOSED),
        ):
            values = [statistics.mean(row[f"depth {kind}"][f"closed, {part}"] for kind in kinds) for row in gates]
            bar = f"at least {LEAST_CLOSED}" if part == "damaged" else f"at most {MOST_CLOSED}"
            line(f"closed on {part} depth, {which}", values, bar, reach(statistics.mean(values)))
    lost = [none["clean mIoU"] - row["clean mIoU"] for none, row in zip(plain, gates, strict=True)]
    line("clean mIoU lost by gates", lost, f"at most {MOST_LOST}", statistics.mean(lost) <= MOST_LOST)
    return lines


def main() -> None:
    """Trains, tests and prints."""
    parser = argparse.ArgumentParser(description="Gates on rendered rooms.")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--forms", nargs="+", choices=list(FORMS), default=list(FORMS))
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--work-dir", type=Path, default=Path("work_dirs/purification"))
    options = parser.parse_args()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    found: dict[str, list[dict[str, Any]]] = {form: [] for form in options.forms}
    for seed in options.seeds:
        for form in options.forms:
            found[form].append(measured(form, seed, options.steps, options.work_dir))
    print(json.dumps(found))
    for form, rows in found.items():
        print(f"\n{form}, mean of seeds {options.seeds}")
        for key, value in mean_of(rows).items():
            shown = value if isinstance(value, dict) else {"": value}
            print(f"  {key:28}", *(f"{name} {figure:.3f}" for name, figure in shown.items()), sep="  ")
    if set(found) >= {"no gates", "synthetic"}:
        print("\n| what | mean (seeds) | bar | reached |\n|---|---|---|---|")
        print(*bars(found), sep="\n")


if __name__ == "__main__":
    main()
