"""Result files made up from random labels: right in form, and with every score computed by a plain loop."""

import copy
import math

import numpy as np

WORDS = ("wall", "floor", "chair", "table & lamp", "<b>bed</b>", "sofa")
CLASS_SCORES = ("mIoU", "mAcc", "aAcc", "fwIoU", "boundary_f", "ece")
PROTOCOL = {"name": "rgbx", "scales": [1.0], "flip": False, "absent": "skip", "window": None, "source": "ours"}


def confusion_of(truth, predicted, classes):
    counts = np.zeros((classes, classes), int)
    for t, p in zip(truth, predicted, strict=True):
        counts[t, p] += 1
    return counts


def scores_of(confusion, rng):
    """SCORES of the format; absent classes are None. Calibration and boundaries are made up."""
    right, true, predicted = confusion.diagonal(), confusion.sum(1), confusion.sum(0)
    iou = [r / (t + p - r) if t + p - r else None for r, t, p in zip(right, true, predicted, strict=True)]
    acc = [r / t if t else None for r, t in zip(right, true, strict=True)]
    edges = (np.arange(10) + 0.5) / 10
    count = rng.integers(0, 900, 10)
    count[0] = 0
    return {
        "mIoU": mean(iou),
        "mAcc": mean(acc),
        "aAcc": right.sum() / true.sum(),
        "fwIoU": sum(i * t for i, t in zip(iou, true, strict=True) if i is not None) / true.sum(),
        "IoU": iou,
        "Acc": acc,
        "pixels": true.tolist(),
        "confusion": confusion.tolist(),
        "boundary_f": 0.37,
        "ece": 0.062,
        "reliability": {
            "count": count.tolist(),
            "confidence": [c if n else None for c, n in zip(edges, count, strict=True)],
            "accuracy": [c**1.3 if n else None for c, n in zip(edges, count, strict=True)],
        },
    }


def mean(values):
    measured = [value for value in values if value is not None]
    return float(np.mean(measured)) if measured else None


def make_result(classes=WORDS, images=9, pixels=400, right=0.6, seed=0, absent=(5,)):
    """A result of "rgb+depth", "rgb" and "depth"; the classes `absent` occur nowhere."""
    rng = np.random.default_rng(seed)
    count = len(classes)
    present = np.array([k for k in range(count) if k not in absent])
    weights = 1 / (1 + np.arange(len(present)))
    truth = [rng.choice(present, pixels, p=weights / weights.sum()) for _ in range(images)]

    def predict(skill, seed):
        draw = np.random.default_rng(seed)
        ease = np.random.default_rng(5).uniform(0.5, 1.4, count)
        chance = [skill * ease[t] * draw.uniform(0.5, 1.3) for t in truth]
        return [
            np.where(draw.random(pixels) < c, t, draw.choice(present, pixels))
            for t, c in zip(truth, chance, strict=True)
        ]

    def scored(skill, seed):
        predictions = predict(skill, seed)
        matrices = [confusion_of(*pair, count) for pair in zip(truth, predictions, strict=True)]
        return scores_of(sum(matrices), rng), matrices

    (ensemble, matrices) = scored(right, 1)
    branches = {"rgb": scored(right * 0.97, 2)[0], "depth": scored(right * 0.9, 3)[0]}
    head = {
        "task": "classes",
        "about": {
            "classes": list(classes),
            "palette": np.random.default_rng(9).integers(0, 256, (count, 3)).tolist(),
            "ignore_index": 255,
        },
        "fingerprint": "f1" * 32,
        "scores": [score(name, "fraction", lower=name == "ece") for name in CLASS_SCORES],
        "subsets": subsets_of(ensemble, branches),
        "images": [image_entry(f"frame/{i:03d}", matrix) for i, matrix in enumerate(matrices)],
        "robustness": robustness_of("mIoU", ensemble["mIoU"], -1),
        "pictures": None,
    }
    return result_of({"labels": head}, images)


def result_of(heads, images):
    """A result file of some heads."""
    return {
        "format": "rgbx-result/2",
        "protocol": dict(PROTOCOL),
        "config": {"file": "configs/rooms/tiny_r18.py", "sha256": "c0" * 32},
        "checkpoint": {"file": "work_dirs/tiny/best_mIoU_epoch_8.pth", "sha256": "ab" * 32},
        "dataset": {"type": "Rooms", "samples": images, "every": 4},
        "versions": {"rgbx": "0.2.0", "torch": "2.13.0"},
        "machine": "two cores",
        "date": "2026-11-21T16:10:00+00:00",
        "dtype": "float32",
        "speed": {"images_per_second": 11.2, "metric_share": 0.021},
        "heads": heads,
    }


def score(name, unit="", digits=3, lower=False):
    return {"name": name, "unit": unit, "digits": digits, "lower": lower}


def subsets_of(ensemble, branches):
    return {
        "+".join(branches): {"ensemble": ensemble, **copy.deepcopy(branches)},
        **{name: {"ensemble": scores, name: copy.deepcopy(scores)} for name, scores in branches.items()},
    }


def make_map_result(images=9, noise=0.3, seed=0, shift=0.0):
    """A result of a head "depth" in metres, from "rgb+thermal", of images that are measured to different shares."""
    rng = np.random.default_rng(seed)
    truth = [rng.uniform(1, 6, rng.integers(40, 400)) for _ in range(images)]

    def errors(noise, seed):
        draw = np.random.default_rng([seed, 1])
        return [draw.normal(shift, noise * draw.uniform(0.5, 2), len(t)) for t in truth]

    def scores(found, truth):
        count = len(found)
        relative = sum(abs(e) / t for e, t in zip(found, truth, strict=True))
        near = sum(max((t + e) / t, t / max(t + e, 1e-3)) < 1.25 for e, t in zip(found, truth, strict=True))
        return {
            "MAE": sum(map(abs, found)) / count,
            "RMSE": math.sqrt(sum(e * e for e in found) / count),
            "AbsRel": relative / count,
            "delta1": near / count,
        }

    def scored(noise, seed):
        found = errors(noise, seed)
        return scores(np.concatenate(found), np.concatenate(truth)), found

    ensemble, found = scored(noise, 1)
    branches = {"rgb": scored(noise * 1.1, 2)[0], "thermal": scored(noise * 1.4, 3)[0]}
    head = {
        "task": "map",
        "about": {"name": "depth", "unit": "metre", "channels": 1, "weights": {}, "kernel": {}},
        "fingerprint": "d1" * 32,
        "scores": [
            score("MAE", "m", lower=True),
            score("AbsRel", "fraction", lower=True),
            score("delta1", "fraction"),
            score("RMSE", "m", lower=True),
        ],
        "subsets": subsets_of(ensemble, branches),
        "images": [
            {"sample_id": f"frame/{i:03d}", **scores(*pair), "values": len(pair[0])}
            for i, pair in enumerate(zip(found, truth, strict=True))
        ],
        "robustness": robustness_of("MAE", ensemble["MAE"], 1),
        "pictures": None,
    }
    return result_of({"depth": head}, images)


def make_joint_result(**options):
    """A result of two heads, "labels" and "depth"."""
    labels, depth = make_result(**options), make_map_result(**options)
    return {**labels, "heads": {**labels["heads"], **depth["heads"]}}


def image_entry(sample_id, matrix):
    cells = [[int(t), int(p), int(matrix[t, p])] for t, p in np.argwhere(matrix)]
    union = matrix.sum(0) + matrix.sum(1) - matrix.diagonal()
    iou = [r / u for r, u in zip(matrix.diagonal(), union, strict=True) if u]
    accuracy = matrix.trace() / matrix.sum() if matrix.sum() else math.nan
    return {"sample_id": sample_id, "mIoU": mean(iou), "aAcc": float(accuracy), "confusion": cells}


def robustness_of(name, clean, sign):
    """By how much of the clean score each severity moves it."""
    changes = {("rgb", "gaussian_noise"): 0.08, ("rgb", "darkness"): 0.15, ("depth", "depth_noise"): 0.03}
    rows = [
        {
            "modality": modality,
            "corruption": corruption,
            "severity": severity,
            "value": clean * (1 + sign * change * severity),
            "relative_change": sign * change * severity,
        }
        for (modality, corruption), change in changes.items()
        for severity in range(1, 6)
    ]
    return {
        "every": 8,
        "score": name,
        "clean": clean,
        "corruptions": rows,
        "mean": mean([row["value"] for row in rows]),
    }
