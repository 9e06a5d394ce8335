"""Two result files against each other, head by head: differences of scores with bootstrap intervals over images."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import torch
from torch import Tensor

from rgbx._text import percent, text_table
from rgbx.evaluate.result import headline, score_table, shown
from rgbx.evaluate.result_form import HeadResult, Json, Result, Scores
from rgbx.metrics import draw_weights, image_counts, mean_iou, percentile_interval, resampled_iou
from rgbx.tasks import ENSEMBLE, Score
from rgbx.tasks.score import FRACTION

RULES = {  # how the values of images make that of the set: weighed by their numbers of values, squared on the way
    "pixels": (True, False),
    "pixels, squared": (True, True),
    "images": (False, False),
}
OTHERWISE = "mean of images"
IOU = Score("IoU", FRACTION)
Pair = tuple[HeadResult, HeadResult]
Weights = tuple[Tensor, Tensor]  # how often each image is in each draw of A and of B: [R, I] each


@dataclasses.dataclass(frozen=True)
class Row:
    """A score of A and of B, their difference and the interval around it; None for what is no number.

    Attributes:
        name: of the score or class.
        score: what the numbers are: fractions of 1 or in its unit.
        rule: how images add up to the score; `OTHERWISE` where no rule gives it, None where images do not have it.
    """

    name: str
    score: Score
    rule: str | None
    a: float | None
    b: float | None
    difference: float | None
    low: float | None
    high: float | None

    @property
    def verdict(self) -> str:
        """ "better" or "worse" where the interval leaves out 0: what B is."""
        if self.low is None or self.high is None or self.low <= 0 <= self.high:
            return ""
        return "better" if (self.low > 0) != self.score.lower else "worse"


@dataclasses.dataclass(frozen=True)
class HeadComparison:
    """The scores of one head, and of segmentation the IoU of every class; pairs are of A and B."""

    task: str
    subsets: tuple[str, str]
    images: tuple[int, int]
    paired: bool
    scores: list[Row]
    classes: list[Row]


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Two results, head by head; `forced` is what differs between them."""

    forced: list[str]
    draws: int
    level: float
    seed: int
    heads: dict[str, HeadComparison]

    def as_dict(self) -> dict[str, Json]:
        """In plain types."""
        return dataclasses.asdict(self)


def reasons_against(a: Result, b: Result, heads: Sequence[str]) -> list[str]:
    """What differs between two results so that their numbers do not mean the same; empty if they can be compared."""
    rules = sorted({*a["protocol"], *b["protocol"]} - {"source"})
    pairs = {f"protocol.{name}": (a["protocol"].get(name), b["protocol"].get(name)) for name in rules}
    pairs["dataset.every"] = a["dataset"]["every"], b["dataset"]["every"]
    for name in heads:
        pairs[f"heads.{name}.fingerprint"] = a["heads"][name]["fingerprint"], b["heads"][name]["fingerprint"]
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
        ValueError: protocol, data or `every` differ and `force` is not given; the classes or tasks differ; there are no
            images; or the confusions of a file's images do not add up to its mIoU.
    """
    names = common_heads(a, b, heads)
    reasons = reasons_against(a, b, names)
    if reasons and not force:
        raise ValueError(f"these results cannot be compared ({'; '.join(reasons)}); --force compares them all the same")
    absent = a["protocol"].get("absent", "skip"), b["protocol"].get("absent", "skip")
    found = {}
    for name in names:
        pair = a["heads"][name], b["heads"][name]
        for letter, head in zip("AB", pair, strict=True):
            if not head["images"]:
                raise ValueError(
                    f"head {name!r} of {letter} holds 0 images (--no-images), among which a comparison draws"
                )
        ids = [[image["sample_id"] for image in _in_order(head)] for head in pair]
        paired = ids[0] == ids[1] and len(set(ids[0])) == len(ids[0])
        first = draw_weights(len(ids[0]), draws, seed=seed)
        weights = first, first if paired else draw_weights(len(ids[1]), draws, seed=seed + 1)
        of_classes = pair[0]["task"] == "classes"
        rows = _compare_classes(pair, weights, absent, level) if of_classes else _compare_scores(pair, weights, level)
        scores, classes = (rows[:1], rows[1:]) if of_classes else (rows, [])
        subsets = headline(pair[0]).subset, headline(pair[1]).subset
        found[name] = HeadComparison(pair[0]["task"], subsets, (len(ids[0]), len(ids[1])), paired, scores, classes)
    return Comparison(reasons, draws, level, seed, found)


def headline_interval(
    head: HeadResult, absent: str = "skip", *, draws: int = 2000, level: float = 0.95, seed: int = 0
) -> tuple[float, float] | None:
    """Between which values the headline of a head would mostly lie on other images of the kind.

    Args:
        head: of a result.
        absent: how its protocol treats classes without pixels, "skip" or "zero".
        draws: resamples of the images.
        level: of the percentile interval.
        seed: of the draws.

    Returns:
        Low and high end, as the file has the score; None for less than two images, or where the file's images do not
        add up to the score, as of a median over all pixels.
    """
    if len(head["images"]) < 2:
        return None
    drawn = _drawn(head, absent, draw_weights(len(head["images"]), draws, seed=seed))
    if drawn is None:
        return None
    low, high = (float(end) for end in percentile_interval(drawn, level=level))
    return None if math.isnan(low) else (low, high)


def _drawn(
    head: HeadResult,
    absent: str,
    weights: Tensor,  # [R, I], of the images by their ids
) -> Tensor | None:
    """The headline of a head on draws of its images, [R]; None where its images do not add up to it."""
    main = headline(head)
    if main.value is None:
        return None
    if head["task"] == "classes":
        counts = _counts(head)
        if not math.isclose(float(_whole(counts, absent)[0]), main.value, abs_tol=1e-6):
            return None
        return _with_mean(counts, weights, absent)[:, 0]
    images = _values(head, main.score.name)
    rule = next((rule for rule in RULES if _gives([images], [main.value], rule)), None)
    return None if rule is None else add_up(*images, weights, rule)


def interval_over_runs(
    pairs: Sequence[Pair], absent: str = "skip", *, draws: int = 2000, level: float = 0.95, seed: int = 0
) -> tuple[float, float] | None:
    """Between which values the difference of two methods would mostly lie, with other seeds and on other images.

    A bootstrap of two levels: each draw takes as many seeds as there are, with replacement, and a set of images, the
    same for all runs, as all are tested on the same; the difference is the mean over the drawn seeds. Seeds and
    images cross, so both are drawn once (Owen, The pigeonhole bootstrap, 2007). Few seeds make it too narrow: of three,
    the spread of their mean is taken for 0.82 of what it is.

    Args:
        pairs: the heads of the two methods' results, A and B, of each seed that both have.
        absent: how their protocol treats classes without pixels, "skip" or "zero".
        draws, level, seed: see `compare_results`.

    Returns:
        Low and high end of B minus A, as the file has the score; None for no pair, less than two images, results of
        other images, or where the images of one do not add up to its score.
    """
    ids = {tuple(image["sample_id"] for image in _in_order(head)) for pair in pairs for head in pair}
    if len(ids) != 1 or len(first := ids.pop()) < 2:
        return None
    images = draw_weights(len(first), draws, seed=seed)
    drawn = [[_drawn(head, absent, images) for head in pair] for pair in pairs]
    found = [b - a for a, b in drawn if a is not None and b is not None]
    if len(found) < len(pairs):
        return None
    seeds = draw_weights(len(pairs), draws, seed=seed + 1).double()  # [R, S]
    samples = (torch.stack(found, 1).double() * seeds).sum(1) / len(pairs)
    low, high = (float(end) for end in percentile_interval(samples, level=level))
    return None if math.isnan(low) else (low, high)


def _in_order(head: HeadResult) -> list[Scores]:
    return sorted(head["images"], key=lambda image: image["sample_id"])


def _row(
    score: Score,
    rule: str | None,
    a: Tensor,  # [] the score
    b: Tensor,  # []
    samples: Tensor,  # [R], of the difference
    level: float,
    name: str = "",
) -> Row:
    low, high = percentile_interval(samples, level=level)
    ends = [None if math.isnan(x) else x for x in torch.stack([a, b, b - a, low, high]).tolist()]
    return Row(name or score.name, score, rule, *ends)


def _compare_classes(pair: Pair, weights: Weights, absent: tuple[str, str], level: float) -> list[Row]:
    """mIoU, and the IoU of each class."""
    classes = pair[0]["about"]["classes"]
    if classes != pair[1]["about"]["classes"]:
        raise ValueError(f"the classes differ: {len(classes)} in A, {len(pair[1]['about']['classes'])} in B")
    counts = [_checked_counts(head, rule, name) for head, rule, name in zip(pair, absent, "AB", strict=True)]
    a, b = (_whole(*parts) for parts in zip(counts, absent, strict=True))
    drawn = [_with_mean(*parts) for parts in zip(counts, weights, absent, strict=True)]
    samples = drawn[1] - drawn[0]
    rows = [_row(Score("mIoU", FRACTION), "confusions", a[0], b[0], samples[:, 0], level)]
    return rows + [_row(IOU, "confusions", a[k], b[k], samples[:, k], level, name) for k, name in enumerate(classes, 1)]


def _counts(head: HeadResult) -> Tensor:
    """The images by their ids, int64 [I, 3, K]."""
    return image_counts([image["confusion"] for image in _in_order(head)], len(head["about"]["classes"]))


def _checked_counts(head: HeadResult, absent: str, name: str) -> Tensor:
    """The same, checked against the scores of the file."""
    counts = _counts(head)
    found, noted = float(_whole(counts, absent)[0]), headline(head).predictions[ENSEMBLE]["mIoU"]
    if not math.isclose(found, math.nan if noted is None else noted, abs_tol=1e-6):
        said = "-" if noted is None else percent(noted)
        raise ValueError(f"{name}: the images add up to an mIoU of {percent(found)}, the file says {said}")
    return counts


def _whole(
    counts: Tensor,  # [I, 3, K]
    absent: str,
) -> Tensor:
    """mIoU and IoU per class [1 + K] of all images as they are."""
    return _with_mean(counts, torch.ones(1, len(counts)), absent)[0]


def _with_mean(
    counts: Tensor,  # [I, 3, K]
    weights: Tensor,  # [R, I]
    absent: str,
) -> Tensor:
    """[R, 1 + K] by the result's own rule for absent classes."""
    iou = resampled_iou(counts, weights)
    return torch.cat([mean_iou(iou, absent=absent)[:, None], iou], 1)


def _compare_scores(pair: Pair, weights: Weights, level: float) -> list[Row]:
    """Every score that both results have, in the order of A's table.

    Each by the rule by which the images of both files give the scores of the files, or else as a mean over images.
    """
    known, rows = [score.name for score in score_table(pair[1])], []
    for score in score_table(pair[0]):
        if score.name not in known:
            continue
        noted = [_number(headline(head).predictions[ENSEMBLE].get(score.name)) for head in pair]
        images = [_values(head, score.name) for head in pair]
        if all(bool(values.isfinite().any()) for values, _ in images):
            rule = next((rule for rule in RULES if _gives(images, noted, rule)), OTHERWISE)
            a, b = (_whole_score(*part, rule) for part in images)
            drawn = [add_up(*part, drawn, rule) for part, drawn in zip(images, weights, strict=True)]
            rows.append(_row(score, rule, a, b, drawn[1] - drawn[0], level))
        else:
            a, b = torch.tensor(noted, dtype=torch.float64)
            rows.append(_row(score, None, a, b, torch.tensor([math.nan], dtype=torch.float64), level))
    return rows


def _values(head: HeadResult, name: str) -> tuple[Tensor, Tensor]:
    """A score of each image by their ids, and the number of values behind it, float64 [I] each."""
    images = _in_order(head)
    values = [[_number(image.get(name)), float(image.get("values", 1))] for image in images]
    scores, sizes = torch.tensor(values, dtype=torch.float64).reshape(-1, 2).unbind(1)
    return scores, sizes


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def _gives(
    images: Sequence[tuple[Tensor, Tensor]],  # ([I], [I]) of A and of B
    noted: Sequence[float],
    rule: str,
) -> bool:
    """Whether a rule makes the scores that both files note of their images."""
    found = [float(_whole_score(*part, rule)) for part in images]
    return all(math.isclose(x, y, rel_tol=1e-6, abs_tol=1e-9) for x, y in zip(found, noted, strict=True))


def _whole_score(
    values: Tensor,  # [I]
    sizes: Tensor,  # [I]
    rule: str,
) -> Tensor:
    return add_up(values, sizes, torch.ones(1, len(values)), rule)[0]


def add_up(
    values: Tensor,  # [I]
    sizes: Tensor,  # [I]
    weights: Tensor,  # [R, I]
    rule: str,
) -> Tensor:
    """A score of each weighted set of images, float64 [R]; images without the score are left out."""
    by_size, squared = RULES.get(rule, (False, False))
    there = values.isfinite()
    weights = weights[:, there].double() * (sizes[there] if by_size else 1.0)
    found = weights @ (values[there].square() if squared else values[there]) / weights.sum(1)
    return found.sqrt() if squared else found


def comparison_text(comparison: Comparison, names: Sequence[str] = ("A", "B")) -> str:
    """The comparison for a terminal, fractions in percent; classes by falling difference, the mean last.

    Args:
        comparison: as `compare_results` gives it.
        names: of the two result files.
    """
    lines = [f"{letter}: {name}" for letter, name in zip("AB", names, strict=True)]
    lines += [f"COMPARED BY FORCE although {reason}" for reason in comparison.forced]
    lines += [
        "better, worse: the interval leaves out 0. It covers the choice of images, not the randomness of training."
    ]
    for name, head in comparison.heads.items():
        (a, b), (one, other) = head.images, head.subsets
        images = f"the same {a} images" if head.paired else f"{a} and {b} images, not paired"
        subsets = one if one == other else f"{one} in A, {other} in B"
        what = "IoU of the ensemble in percent" if head.classes else "scores of the ensemble"
        lines += ["", f"{name} ({subsets}): {what}; intervals: {comparison.draws} bootstrap draws of {images}."]
        lines += [_head_table(head, comparison.level)]
        if any(row.rule == OTHERWISE for row in head.scores):
            lines += ["† mean over the images; the score of the whole set is that of all pixels together."]
    return "\n".join(lines)


def _head_table(head: HeadComparison, level: float) -> str:
    header = ["class" if head.classes else "score", "A", "B", "B - A", f"{100 * level:g} % interval", ""]
    if not head.classes:
        return text_table(header, [_cells(_title(row), row) for row in head.scores])
    ranked = sorted(head.classes, key=lambda row: (row.difference is None, -(row.difference or 0.0)))
    rows = [_cells(row.name, row) for row in ranked] + [_cells("mean", head.scores[0])]
    return text_table(header, rows, rule_before_last=True)


def _title(row: Row) -> str:
    heading = row.score.heading()
    if row.score.percent:
        heading = heading.replace(row.name, f"{row.name}, %", 1)
    return heading + " †" * (row.rule == OTHERWISE)


def _cells(name: str, row: Row) -> list[str]:
    difference, low, high = (shown(row.score, x, signed=True) for x in (row.difference, row.low, row.high))
    interval = "-" if row.low is None else f"[{low}, {high}]"
    return [name, shown(row.score, row.a), shown(row.score, row.b), difference, interval, row.verdict]
