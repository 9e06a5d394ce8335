"""Two result files against each other: differences of IoU with bootstrap intervals over images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from rgbx._text import percent, text_table
from rgbx.evaluate.result_reading import ENSEMBLE, Result, headline, look_up
from rgbx.metrics import draw_weights, image_counts, mean_iou, percentile_interval, resampled_iou


def reasons_against(a: Result, b: Result) -> list[str]:
    """What differs between two results so that their numbers do not mean the same; empty if they can be compared."""
    names = sorted({*a["protocol"], *b["protocol"]} - {"source"})
    fields = [f"protocol.{name}" for name in names] + ["dataset.fingerprint", "dataset.every"]
    return [
        f"{field}: {_short(look_up(a, field))} against {_short(look_up(b, field))}"
        for field in fields
        if look_up(a, field) != look_up(b, field)
    ]


def _short(value: Any) -> str:
    return f"{value[:12]}..." if isinstance(value, str) and len(value) > 32 else repr(value)


def compare_results(
    a: Result, b: Result, *, force: bool = False, draws: int = 2000, level: float = 0.95, seed: int = 0
) -> dict[str, Any]:
    """IoU of B minus IoU of A, of the ensemble of each result's first subset, overall and per class.

    Images are drawn with replacement; where both results have the same sample ids, both get the same draw, which
    takes the difficulty of the images out of the difference. The intervals tell how much another set of images
    would change the numbers; they know nothing of how another training run would.

    Args:
        a: a checked result file.
        b: another one.
        force: compare although protocol or dataset differ.
        draws: resamples.
        level: of the percentile intervals.
        seed: of the draws.

    Returns:
        Plain types, fractions of 1 and None for NaN: `forced` (what differs), `paired`, `images` [A, B], `subsets`
        [A, B], `mIoU` and `classes`, each with `a`, `b`, `difference`, `low`, `high`.

    Raises:
        ValueError: protocol, dataset or `every` differ and `force` is not given; the classes differ; or the images
            of a file do not add up to its scores.
    """
    reasons = reasons_against(a, b)
    if reasons and not force:
        raise ValueError(f"these results cannot be compared ({'; '.join(reasons)}); --force compares them all the same")
    classes = a["dataset"]["classes"]
    if classes != b["dataset"]["classes"]:
        raise ValueError(f"the classes differ: {len(classes)} in A, {len(b['dataset']['classes'])} in B")
    paired = _ids(a) == _ids(b) and len(set(_ids(a))) == len(_ids(a))
    first, second = _counts(a, "A"), _counts(b, "B")
    weights = draw_weights(len(first), draws, seed=seed)
    other = weights if paired else draw_weights(len(second), draws, seed=seed + 1)
    samples = _with_mean(second, other, b) - _with_mean(first, weights, a)
    low, high = percentile_interval(samples, level=level)
    ends = torch.stack([_whole(first, a), _whole(second, b), _whole(second, b) - _whole(first, a), low, high], 1)
    rows = [
        {key: None if math.isnan(value) else value for key, value in zip(KEYS, row, strict=True)}
        for row in ends.tolist()
    ]
    return {
        "forced": reasons,
        "paired": paired,
        "images": [len(first), len(second)],
        "subsets": [headline(a)[0], headline(b)[0]],
        "draws": draws,
        "level": level,
        "seed": seed,
        "mIoU": rows[0],
        "classes": [{"class": name, **row} for name, row in zip(classes, rows[1:], strict=True)],
    }


KEYS = ("a", "b", "difference", "low", "high")


def _ids(result: Result) -> list[str]:
    return sorted(image["sample_id"] for image in result["images"])


def _counts(result: Result, name: str) -> Tensor:
    """The images by their ids, int64 [I, 3, K], checked against the scores of the file."""
    images = sorted(result["images"], key=lambda image: image["sample_id"])
    counts = image_counts([image["confusion"] for image in images], len(result["dataset"]["classes"]))
    found, noted = float(_whole(counts, result)[0]), headline(result)[1][ENSEMBLE]["mIoU"]
    if not math.isclose(found, math.nan if noted is None else noted, abs_tol=1e-6):
        raise ValueError(
            f"{name}: the images add up to an mIoU of {percent(found)}, the file says {percent_or_dash(noted)}"
        )
    return counts


def _whole(counts: Tensor, result: Result) -> Tensor:
    """mIoU and IoU per class [1 + K] of all images as they are."""
    return _with_mean(counts, torch.ones(1, len(counts)), result)[0]


def _with_mean(counts: Tensor, weights: Tensor, result: Result) -> Tensor:
    """[R, 1 + K] by the result's own rule for absent classes."""
    iou = resampled_iou(counts, weights)
    absent = look_up(result, "protocol.absent") or "skip"
    return torch.cat([mean_iou(iou, absent=absent)[:, None], iou], 1)


def comparison_text(comparison: dict[str, Any], names: Sequence[str] = ("A", "B")) -> str:
    """The comparison for a terminal, in percent: by falling difference, the mean last.

    Args:
        comparison: as `compare_results` gives it.
        names: of the two result files.
    """
    rows = sorted(comparison["classes"], key=lambda row: (row["difference"] is None, -(row["difference"] or 0.0)))
    cells = [_cells(row["class"], row) for row in rows] + [_cells("mean", comparison["mIoU"])]
    level = f"{100 * comparison['level']:g} %"
    table = text_table(["class", "A", "B", "B - A", f"{level} interval", ""], cells, rule_before_last=True)
    a, b = comparison["images"]
    images = f"the same {a} images" if comparison["paired"] else f"{a} and {b} images, not paired"
    files = zip("AB", names, comparison["subsets"], strict=True)
    lines = [
        *(f"{letter}: {name} ({subset})" for letter, name, subset in files),
        *(f"COMPARED BY FORCE although {reason}" for reason in comparison["forced"]),
        f"IoU of the ensemble in percent; intervals: {comparison['draws']} bootstrap draws of {images}.",
        "* the interval leaves out 0. It covers the choice of images, not the randomness of training.",
    ]
    return "\n".join([*lines, "", table])


def _cells(name: str, row: dict[str, Any]) -> list[str]:
    if row["difference"] is None or row["low"] is None:
        return [name, percent_or_dash(row["a"]), percent_or_dash(row["b"]), "-", "-", ""]
    interval = f"[{100 * row['low']:+.1f}, {100 * row['high']:+.1f}]"
    mark = "*" if row["low"] > 0 or row["high"] < 0 else ""
    return [name, percent(row["a"]), percent(row["b"]), f"{100 * row['difference']:+.1f}", interval, mark]


def percent_or_dash(value: float | None) -> str:
    """A fraction in percent with one decimal, a dash for None."""
    return "-" if value is None else percent(value)
