"""The tables of a report as plain rows; the page and the CSV files show the same ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rgbx.evaluate.result_reading import ENSEMBLE, Result, headline

SCORES = {
    "mIoU": "mIoU",
    "mAcc": "mean accuracy",
    "aAcc": "pixel accuracy",
    "fwIoU": "weighted IoU",
    "boundary_f": "boundary F",
    "ece": "calibration error",
}  # key of the result file -> heading; all are fractions of 1
BINS = ("count", "confidence", "accuracy")  # of a reliability diagram


@dataclass
class Table:
    """Rows of cells under keyed columns.

    Attributes:
        columns: key -> heading.
        rows: key -> text, number (a fraction of 1 unless it is an int) or None for "not measured".
        sorted_by: the key by whose falling values the rows are in order, or None.
    """

    columns: dict[str, str]
    rows: list[dict[str, Any]] = field(default_factory=list)
    sorted_by: str | None = None


def prediction_table(result: Result) -> Table:
    """The headline: one row per prediction of the first subset, the ensemble first."""
    _, predictions = headline(result)
    names = [ENSEMBLE, *(name for name in predictions if name != ENSEMBLE)]
    return Table(
        {"prediction": "Prediction", **SCORES},
        [{"prediction": name, **_scores(predictions[name])} for name in names],
    )


def headline_table(result: Result) -> Table:
    """`prediction_table` with what the numbers belong to in every row, so that a line stands on its own."""
    identity = {
        "protocol": result["protocol"]["name"],
        "modalities": headline(result)[0],
        **{key: result["dataset"][key] for key in ("type", "fingerprint", "samples", "every")},
        "checkpoint": result["checkpoint"]["file"],
        "checkpoint_sha256": result["checkpoint"]["sha256"],
    }
    table = prediction_table(result)
    columns = {**table.columns, **{key: key for key in identity}}
    return Table(columns, [{**row, **identity} for row in table.rows])


def subset_table(result: Result) -> Table:
    """One row per subset of modalities: the ensemble of those present, and its mIoU against the first subset."""
    first = headline(result)[1][ENSEMBLE]["mIoU"]
    rows = [
        {"subset": name, "difference": _minus(predictions[ENSEMBLE]["mIoU"], first), **_scores(predictions[ENSEMBLE])}
        for name, predictions in result["subsets"].items()
    ]
    columns = {"subset": "Modalities", "mIoU": SCORES["mIoU"], "difference": "against the first", **SCORES}
    return Table(columns, rows)


def class_table(result: Result) -> Table:
    """One row per class, by falling gap between the ensemble and the best branch; classes without a gap last.

    A branch is the best where it alone of several has the highest IoU, and that is above zero.
    """
    _, predictions = headline(result)
    branches = [name for name in predictions if name != ENSEMBLE]
    main = predictions[ENSEMBLE]
    pixels = sum(main["pixels"]) or 1
    rows = []
    for k, name in enumerate(result["dataset"]["classes"]):
        of_branch = {branch: predictions[branch]["IoU"][k] for branch in branches}
        highest = max((value for value in of_branch.values() if value is not None), default=None)
        leaders = [branch for branch, value in of_branch.items() if value is not None and value == highest]
        rows.append(
            {
                "id": k,
                "class": name,
                "share": main["pixels"][k] / pixels,
                "gap": _minus(main["IoU"][k], highest),
                "IoU": main["IoU"][k],
                **{f"IoU of {branch}": value for branch, value in of_branch.items()},
                "best": leaders[0] if len(leaders) == 1 < len(of_branch) and highest else None,
                "Acc": main["Acc"][k],
            }
        )
    rows.sort(key=lambda row: (row["gap"] is None, -(row["gap"] or 0.0)))
    columns = {"id": "Id", "class": "Class", "share": "share of pixels", "gap": "gap", "IoU": ENSEMBLE}
    columns |= {f"IoU of {branch}": branch for branch in branches}
    return Table({**columns, "best": "best branch", "Acc": "accuracy"}, rows, sorted_by="gap")


def robustness_table(result: Result) -> Table | None:
    """One row per corruption, one column per severity (mIoU), the mean over severities and its relative drop."""
    robustness = result.get("robustness")
    if not robustness or not robustness["corruptions"]:
        return None
    severities = sorted({entry["severity"] for entry in robustness["corruptions"]})
    groups: dict[tuple[str, str], dict[int, Any]] = {}
    for entry in robustness["corruptions"]:
        key = (entry["modality"], entry["corruption"])
        groups.setdefault(key, {})[entry["severity"]] = entry["mIoU"]
    clean = robustness["clean"]["mIoU"]
    rows = []
    for (modality, corruption), by_severity in groups.items():
        cells = {f"severity {s}": by_severity.get(s) for s in severities}
        measured = [value for value in cells.values() if value is not None]
        mean = sum(measured) / len(measured) if measured else None
        drop = None if mean is None or not clean else 1 - mean / clean
        rows.append({"modality": modality, "corruption": corruption, **cells, "mean": mean, "drop": drop})
    columns = {"modality": "Modality", "corruption": "Corruption"}
    columns |= {f"severity {s}": f"{s}" for s in severities}
    return Table({**columns, "mean": "mean", "drop": "relative drop"}, rows)


def image_table(result: Result) -> Table:
    """One row per image, in the order of evaluation."""
    rows = [{key: image[key] for key in ("sample_id", "mIoU", "aAcc")} for image in result["images"]]
    return Table({"sample_id": "Sample", "mIoU": "mIoU", "aAcc": "pixel accuracy"}, rows)


def confusion_table(result: Result) -> Table:
    """Pixel counts: one row per true class, one column per predicted class."""
    names = [f"{k} {name}" for k, name in enumerate(result["dataset"]["classes"])]
    confusion = headline(result)[1][ENSEMBLE]["confusion"]
    rows = [{"true": name, **dict(zip(names, row, strict=True))} for name, row in zip(names, confusion, strict=True)]
    return Table({"true": "true \\ predicted", **{name: name for name in names}}, rows)


def reliability_table(result: Result) -> Table | None:
    """One row per prediction and bin of confidence, None where calibration was not measured."""
    rows = []
    for name, scores in headline(result)[1].items():
        bins = scores.get("reliability")
        if bins:
            for i, values in enumerate(zip(*(bins[key] for key in BINS), strict=True)):
                rows.append({"prediction": name, "bin": i, **dict(zip(BINS, values, strict=True))})
    headings = ("Prediction", "Bin", "pixels", "confidence", "accuracy")
    return Table(dict(zip(("prediction", "bin", *BINS), headings, strict=True)), rows) if rows else None


def _scores(scores: Mapping[str, Any]) -> dict[str, Any]:
    return {key: scores.get(key) for key in SCORES}


def _minus(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else a - b
