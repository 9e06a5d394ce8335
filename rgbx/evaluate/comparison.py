"""Two result files against each other, head by head: differences of scores with bootstrap intervals over images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NotRequired, TypedDict

import torch
from torch import Tensor

from rgbx._text import percent, text_table
from rgbx.evaluate.result import headline, score_table, shown
from rgbx.evaluate.result_form import HeadResult, Json, Result, look_up
from rgbx.metrics import draw_weights, image_counts, mean_iou, percentile_interval, resampled_iou
from rgbx.tasks import ENSEMBLE
from rgbx.tasks.score import FRACTION, Score

KEYS = ("a", "b", "difference", "low", "high")
RULES = {  # how the values of images make that of the set: weighed by their pixels, and squared on the way
    "pixels": (True, False),
    "pixels, squared": (True, True),
    "images": (False, False),
}
OTHERWISE = "mean of images"


class Difference(TypedDict):
    """B − A and the interval around it, fractions of 1 or in the score's unit; None for what is no number."""

    a: float | None
    b: float | None
    difference: float | None
    low: float | None
    high: float | None


class ScoreDifference(Difference):
    """Of one score; `rule` says how images add up to it, None where they do not."""

    score: str
    unit: str
    digits: int
    lower: bool
    rule: str | None


class ClassDifference(Difference):
    """Of the IoU of one class."""

    name: str


class HeadComparison(TypedDict):
    """Of one head; pairs are of A and B."""

    task: str
    subsets: list[str]
    images: list[int]
    paired: bool
    scores: list[ScoreDifference]
    classes: NotRequired[list[ClassDifference]]


class Comparison(TypedDict):
    """Of two results; `forced` says what differs between them."""

    forced: list[str]
    draws: int
    level: float
    seed: int
    heads: dict[str, HeadComparison]


def reasons_against(a: Result, b: Result, heads: Sequence[str]) -> list[str]:
    """What differs between two results so that their numbers do not mean the same; empty if they can be compared."""
    rules = sorted({*a["protocol"], *b["protocol"]} - {"source"})
    pairs = {f"protocol.{name}": (a["protocol"].get(name), b["protocol"].get(name)) for name in rules}
    pairs["dataset.every"] = a["dataset"]["every"], b["dataset"]["every"]
    for name in heads:
        one, other = a["heads"][name], b["heads"][name]
        pairs[f"heads.{name}.fingerprint"] = one["fingerprint"], other["fingerprint"]
    return [f"{field}: {_short(x)} against {_short(y)}" for field, (x, y) in pairs.items() if x != y]


def _short(value: Json) -> str:
    return f"{value[:12]}..." if isinstance(value, str) and len(value) > 32 else repr(value)


def common_heads(a: Result, b: Result, names: Sequence[str] | None = None) -> list[str]:
    """The heads to compare: those named, or all that both results have.

    Raises:
        ValueError: no such head in one of them, or heads of one name and different tasks.
    """
    chosen = [name for name in a["heads"] if name in b["heads"]] if names is None else list(names)
    absent = [name for name in chosen if name not in a["heads"] or name not in b["heads"]]
    if not chosen or absent:
        what = f"no head {absent[0]!r} in both" if absent else "no head in common"
        raise ValueError(f"these results have {what}: A has {', '.join(a['heads'])}; B has {', '.join(b['heads'])}")
    for name in chosen:
        tasks = a["heads"][name]["task"], b["heads"][name]["task"]
        if tasks[0] != tasks[1]:
            raise ValueError(f"the tasks of head {name!r} differ: {tasks[0]} in A, {tasks[1]} in B")
    return chosen


def compare_results(
    a: Result,
    b: Result,
    *,
    heads: Sequence[str] | None = None,
    force: bool = False,
    draws: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> Comparison:
    """Scores of B minus those of A, of the ensemble of each result's first subset; of classes mIoU and each IoU.

    Images are drawn with replacement; where both results have the same sample ids, both get the same draw, which
    takes the difficulty of the images out of the difference. The intervals tell how much another set of images
    would change the numbers; they know nothing of how another training run would.

    Args:
        a: a result, as `read_result` gives it.
        b: another one.
        heads: to compare; None takes all that both have.
        force: compare although protocol or data differ.
        draws: resamples.
        level: of the percentile intervals.
        seed: of the draws.

    Raises:
        ValueError: protocol, data or `every` differ and `force` is not given; the classes or tasks differ; or the
            confusions of a file's images do not add up to its mIoU.
    """
    names = common_heads(a, b, heads)
    reasons = reasons_against(a, b, names)
    if reasons and not force:
        raise ValueError(f"these results cannot be compared ({'; '.join(reasons)}); --force compares them all the same")
    found: Comparison = {"forced": reasons, "draws": draws, "level": level, "seed": seed, "heads": {}}
    for name in names:
        pair = a["heads"][name], b["heads"][name]
        ids = [_ids(head) for head in pair]
        paired = ids[0] == ids[1] and len(set(ids[0])) == len(ids[0])
        first = draw_weights(len(ids[0]), draws, seed=seed)
        weights = first, first if paired else draw_weights(len(ids[1]), draws, seed=seed + 1)
        entry: HeadComparison = {
            "task": pair[0]["task"],
            "subsets": [headline(head).subset for head in pair],
            "images": [len(part) for part in ids],
            "paired": paired,
            "scores": [],
        }
        if entry["task"] == "classes":
            absent = [look_up(result, "protocol.absent") or "skip" for result in (a, b)]
            entry |= _compare_classes(pair, weights, absent, level)  # type: ignore[typeddict-item]
        else:
            entry["scores"] = _compare_scores(pair, weights, level)
        found["heads"][name] = entry
    return found


def _ids(head: HeadResult) -> list[str]:
    return sorted(image["sample_id"] for image in head["images"])


def _in_order(head: HeadResult) -> list[dict[str, Json]]:
    return sorted(head["images"], key=lambda image: image["sample_id"])


def _rows(a: Tensor, b: Tensor, samples: Tensor, level: float) -> list[Difference]:  # [S], [S], [R, S]
    """One row for each of S scores."""
    low, high = percentile_interval(samples, level=level)
    ends = torch.stack([a, b, b - a, low, high], 1).tolist()
    return [
        dict(zip(KEYS, [None if math.isnan(value) else value for value in row], strict=True))  # type: ignore[misc]
        for row in ends
    ]


def _compare_classes(
    pair: tuple[HeadResult, HeadResult], weights: tuple[Tensor, Tensor], absent: Sequence[str], level: float
) -> dict[str, Json]:
    """The `scores` and `classes` of a comparison: mIoU, and the IoU of each class."""
    classes = pair[0]["about"]["classes"]
    if classes != pair[1]["about"]["classes"]:
        raise ValueError(f"the classes differ: {len(classes)} in A, {len(pair[1]['about']['classes'])} in B")
    counts = [_counts(head, rule, name) for head, rule, name in zip(pair, absent, "AB", strict=True)]
    drawn = [_with_mean(*parts) for parts in zip(counts, weights, absent, strict=True)]
    whole = [_whole(*parts) for parts in zip(counts, absent, strict=True)]
    mean, *rows = _rows(whole[0], whole[1], drawn[1] - drawn[0], level)
    score = next(score for score in score_table(pair[0]) if score.name == "mIoU")
    return {
        "scores": [_named(score, mean, "confusions")],
        "classes": [{"name": name, **row} for name, row in zip(classes, rows, strict=True)],
    }


def _counts(head: HeadResult, absent: str, name: str) -> Tensor:
    """The images by their ids, int64 [I, 3, K], checked against the scores of the file."""
    counts = image_counts([image["confusion"] for image in _in_order(head)], len(head["about"]["classes"]))
    found, noted = float(_whole(counts, absent)[0]), headline(head).predictions[ENSEMBLE]["mIoU"]
    if not math.isclose(found, math.nan if noted is None else noted, abs_tol=1e-6):
        said = "-" if noted is None else percent(noted)
        raise ValueError(f"{name}: the images add up to an mIoU of {percent(found)}, the file says {said}")
    return counts


def _whole(counts: Tensor, absent: str) -> Tensor:
    """mIoU and IoU per class [1 + K] of all images as they are."""
    return _with_mean(counts, torch.ones(1, len(counts)), absent)[0]


def _with_mean(counts: Tensor, weights: Tensor, absent: str) -> Tensor:  # [I, 3, K], [R, I]
    """[R, 1 + K] by the result's own rule for absent classes."""
    iou = resampled_iou(counts, weights)
    return torch.cat([mean_iou(iou, absent=absent)[:, None], iou], 1)


def _compare_scores(
    pair: tuple[HeadResult, HeadResult], weights: tuple[Tensor, Tensor], level: float
) -> list[ScoreDifference]:
    """Every score that both results have, in the order of A's table."""
    known = [score.name for score in score_table(pair[1])]
    return [_compare_score(score, pair, weights, level) for score in score_table(pair[0]) if score.name in known]


def _compare_score(
    score: Score, pair: tuple[HeadResult, HeadResult], weights: tuple[Tensor, Tensor], level: float
) -> ScoreDifference:
    """By the rule by which the images of both files give the scores of the files; or of their means over images."""
    noted = [_number(headline(head).predictions[ENSEMBLE].get(score.name)) for head in pair]
    images = [_values(head, score.name) for head in pair]
    own = torch.tensor(noted, dtype=torch.float64)
    if not all(bool(values.isfinite().any()) for values, _ in images):
        row = _rows(own[:1], own[1:], torch.full((1, 1), math.nan), level)[0]
        return _named(score, row, None)
    rule = next((rule for rule in RULES if _gives(images, noted, rule)), OTHERWISE)
    whole = [add_up(*part, torch.ones(1, len(part[0])), rule) for part in images]
    drawn = [add_up(*part, drawn, rule) for part, drawn in zip(images, weights, strict=True)]
    return _named(score, _rows(whole[0], whole[1], (drawn[1] - drawn[0])[:, None], level)[0], rule)


def _values(head: HeadResult, name: str) -> tuple[Tensor, Tensor]:
    """A score of each image by their ids, and the number of values behind it, float64 [I] each."""
    images = _in_order(head)
    values, sizes = (
        [_number(image.get(key, other)) for image in images] for key, other in ((name, None), ("values", 1))
    )
    return torch.tensor(values, dtype=torch.float64), torch.tensor(sizes, dtype=torch.float64)


def _number(value: Json) -> float:
    return math.nan if value is None else float(value)


def _gives(images: Sequence[tuple[Tensor, Tensor]], noted: Sequence[float], rule: str) -> bool:
    found = [float(add_up(*part, torch.ones(1, len(part[0])), rule)) for part in images]
    return all(math.isclose(x, y, rel_tol=1e-6, abs_tol=1e-9) for x, y in zip(found, noted, strict=True))


def add_up(values: Tensor, sizes: Tensor, weights: Tensor, rule: str) -> Tensor:  # [I], [I], [R, I]
    """A score of each weighted set of images, float64 [R]; images without the score are left out."""
    by_size, squared = RULES.get(rule, (False, False))
    there = values.isfinite()
    weights = weights[:, there].double() * (sizes[there] if by_size else 1.0)
    found = weights @ (values[there].square() if squared else values[there]) / weights.sum(1)
    return found.sqrt() if squared else found


def _named(score: Score, row: Difference, rule: str | None) -> ScoreDifference:
    return {"score": score.name, "unit": score.unit, "digits": score.digits, "lower": score.lower, "rule": rule, **row}


def verdict(row: Difference, lower: bool = False) -> str:
    """ "better" or "worse" where the interval leaves out 0: what B is."""
    low, high = row["low"], row["high"]
    if low is None or high is None or low <= 0 <= high:
        return ""
    return "better" if (low > 0) != lower else "worse"


def comparison_text(comparison: Comparison, names: Sequence[str] = ("A", "B")) -> str:
    """The comparison for a terminal, fractions in percent; classes by falling difference, the mean last.

    Args:
        comparison: as `compare_results` gives it.
        names: of the two result files.
    """
    lines = [f"{letter}: {name}" for letter, name in zip("AB", names, strict=True)]
    lines += [f"COMPARED BY FORCE although {reason}" for reason in comparison["forced"]]
    lines += [
        "better, worse: the interval leaves out 0. It covers the choice of images, not the randomness of training."
    ]
    for name, head in comparison["heads"].items():
        a, b = head["images"]
        images = f"the same {a} images" if head["paired"] else f"{a} and {b} images, not paired"
        one, other = head["subsets"]
        subsets = one if one == other else f"{one} in A, {other} in B"
        what = "IoU of the ensemble in percent" if "classes" in head else "scores of the ensemble"
        lines += ["", f"{name} ({subsets}): {what}; intervals: {comparison['draws']} bootstrap draws of {images}."]
        lines += [_head_table(head, comparison["level"])]
        if any(row["rule"] == OTHERWISE for row in head["scores"]):
            lines += ["† mean over the images; the score of the whole set is that of all pixels together."]
    return "\n".join(lines)


def _head_table(head: HeadComparison, level: float) -> str:
    header = ["A", "B", "B - A", f"{100 * level:g} % interval", ""]
    if "classes" not in head:
        rows = [_cells(_title(row), _score(row), row) for row in head["scores"]]
        return text_table(["score", *header], rows)
    iou = Score("IoU", FRACTION)
    ranked = sorted(head["classes"], key=lambda row: (row["difference"] is None, -(row["difference"] or 0.0)))
    rows = [_cells(row["name"], iou, row) for row in ranked] + [_cells("mean", iou, head["scores"][0])]
    return text_table(["class", *header], rows, rule_before_last=True)


def _score(row: ScoreDifference) -> Score:
    return Score(row["score"], row["unit"], row["digits"], row["lower"])


def _title(row: ScoreDifference) -> str:
    score = _score(row)
    heading = score.heading().replace(score.name, f"{score.name}, %", 1) if score.percent else score.heading()
    return heading + " †" * (row["rule"] == OTHERWISE)


def _cells(name: str, score: Score, row: Difference) -> list[str]:
    values = [shown(score, row["a"]), shown(score, row["b"])]
    if row["difference"] is None:
        return [name, *values, "-", "-", ""]
    values.append(shown(score, row["difference"], signed=True))
    if row["low"] is None or row["high"] is None:
        return [name, *values, "-", ""]
    interval = f"[{shown(score, row['low'], signed=True)}, {shown(score, row['high'], signed=True)}]"
    return [name, *values, interval, verdict(row, score.lower)]
