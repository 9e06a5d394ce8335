"""The tables of a report as plain rows: the page shows them, and CSV files hold them in full precision."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from rgbx._text import csv_text
from rgbx.evaluate.result import damage_rows, damaged_score, headline, score_table, titled
from rgbx.evaluate.result_form import HeadResult, Json, Result, Scores
from rgbx.maps.files import replace_file
from rgbx.tasks import ENSEMBLE, ensemble_first
from rgbx.tasks.score import Score

WORDS = {  # scores whose names are short for something
    "mAcc": "mean accuracy",
    "aAcc": "pixel accuracy",
    "fwIoU": "weighted IoU",
    "boundary_f": "boundary F",
    "ece": "calibration error",
    "angle_mean": "mean angle",
    "angle_median": "median angle",
}
BINS = ("count", "confidence", "accuracy")  # of a reliability diagram


@dataclass
class Table:
    """Rows of cells under keyed columns.

    Attributes:
        columns: key -> heading.
        rows: key -> text, number (a fraction of 1 or in the score's unit) or None for "not measured".
        sorted_by: the key by whose falling values the rows are in order, or None.
    """

    columns: dict[str, str]
    rows: list[dict[str, Json]] = field(default_factory=list)
    sorted_by: str | None = None


def word(score: Score) -> str:
    """A score's name as people read it."""
    return WORDS.get(score.name, score.name.replace("_", " "))


def headings(head: HeadResult) -> dict[str, str]:
    """Score -> heading; ↓ where lower is better, and with its unit where not all scores of the head are fractions."""
    table = score_table(head)
    mixed = not all(score.percent for score in table)
    return {
        score.name: ", ".join(filter(None, [word(score), score.sign * mixed])) + " ↓" * score.lower for score in table
    }


def prediction_table(head: HeadResult) -> Table:
    """The headline: one row per prediction of the first subset, the ensemble first."""
    predictions = headline(head).predictions
    rows = [{"prediction": name, **_scores(head, predictions[name])} for name in ensemble_first(predictions)]
    return Table({"prediction": "Prediction", **headings(head)}, rows)


def summary_table(head: HeadResult) -> Table:
    """What the page begins with: predictions by their titles, see `titled`, and each headline against the first."""
    main = headline(head)
    rows = [
        {"given": title, "difference": _minus(scores.get(main.score.name), main.value), **_scores(head, scores)}
        for title, scores in titled(head["subsets"], head.get("hallucinated")).items()
    ]
    first, rows[0]["difference"] = rows[0]["given"], None
    names = headings(head)
    columns = {"given": "Prediction", main.score.name: names[main.score.name], "difference": f"minus {first}"}
    return Table({**columns, **names}, rows)


def headline_table(result: Result, head: HeadResult) -> Table:
    """`prediction_table` with what the numbers belong to in every row, so that a line stands on its own."""
    identity = {
        "protocol": result["protocol"]["name"],
        "modalities": headline(head).subset,
        "type": result["dataset"]["type"],
        "fingerprint": head["fingerprint"],
        "samples": result["dataset"]["samples"],
        "every": result["dataset"]["every"],
        "checkpoint": result["checkpoint"]["file"],
        "checkpoint_sha256": result["checkpoint"]["sha256"],
    }
    table = prediction_table(head)
    columns = {**table.columns, **{key: key for key in identity}}
    return Table(columns, [{**row, **identity} for row in table.rows])


def subset_table(head: HeadResult) -> Table:
    """One row per subset of modalities: the ensemble of those present, and its headline against the first subset."""
    main = headline(head)
    name = main.score.name
    rows = [
        {
            "subset": subset,
            "difference": _minus(predictions[ENSEMBLE][name], main.value),
            **_scores(head, predictions[ENSEMBLE]),
        }
        for subset, predictions in head["subsets"].items()
    ]
    scores = headings(head)
    return Table({"subset": "Modalities", name: scores[name], "difference": "against the first", **scores}, rows)


def class_table(head: HeadResult) -> Table | None:
    """One row per class, by falling gap between the ensemble and the best branch; classes without a gap last.

    A branch is the best where it alone of several has the highest IoU, and that is above zero.
    """
    if head["task"] != "classes":
        return None
    predictions = headline(head).predictions
    branches = [name for name in predictions if name != ENSEMBLE]
    main = predictions[ENSEMBLE]
    pixels = sum(main["pixels"]) or 1
    rows = []
    for k, name in enumerate(head["about"]["classes"]):
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


def robustness_table(head: HeadResult) -> Table | None:
    """One row per corruption: the score at each severity, their mean, and how much worse that is, relatively."""
    rows, lower = damage_rows(head), damaged_score(head).lower
    if not rows:
        return None
    severities = sorted({severity for row in rows for severity in row.values})
    columns = {"modality": "Modality", "corruption": "Corruption"}
    columns |= {f"severity {s}": f"{s}" for s in severities}
    columns |= {"mean": "mean", "drop": "relative rise" if lower else "relative drop"}
    cells = [
        {
            "modality": row.modality,
            "corruption": row.corruption,
            **{f"severity {s}": row.values.get(s) for s in severities},
            "mean": row.mean,
            "drop": row.loss,
        }
        for row in rows
    ]
    return Table(columns, cells)


def benchmark_table(head: HeadResult, name: str) -> Table:
    """One row per kind of failure and one for each of what follows from them."""
    found = head["benchmarks"][name]
    columns = {"failure": found["label"].capitalize(), **{column: column for column in found["columns"]}}
    listed = [*found["rows"], *found["summary"]]
    rows = [{"failure": x["name"], **dict(zip(found["columns"], x["values"], strict=True))} for x in listed]
    return Table(columns, rows)


def image_table(head: HeadResult) -> Table:
    """One row per image, in the order of evaluation, with the scores that images have."""
    kept = {key: text for key, text in headings(head).items() if any(key in image for image in head["images"])}
    rows = [{key: image.get(key) for key in ("sample_id", *kept)} for image in head["images"]]
    return Table({"sample_id": "Sample", **kept}, rows)


def confusion_table(head: HeadResult) -> Table | None:
    """Pixel counts: one row per true class, one column per predicted class."""
    if head["task"] != "classes":
        return None
    names = [f"{k} {name}" for k, name in enumerate(head["about"]["classes"])]
    confusion = headline(head).predictions[ENSEMBLE]["confusion"]
    rows = [{"true": name, **dict(zip(names, row, strict=True))} for name, row in zip(names, confusion, strict=True)]
    return Table({"true": "true \\ predicted", **{name: name for name in names}}, rows)


def reliability_table(head: HeadResult) -> Table | None:
    """One row per prediction and bin of confidence, None where calibration was not measured."""
    rows = []
    for name, scores in headline(head).predictions.items():
        bins = scores.get("reliability")
        if bins:
            for i, values in enumerate(zip(*(bins[key] for key in BINS), strict=True)):
                rows.append({"prediction": name, "bin": i, **dict(zip(BINS, values, strict=True))})
    titles = ("Prediction", "Bin", "pixels", "confidence", "accuracy")
    return Table(dict(zip(("prediction", "bin", *BINS), titles, strict=True)), rows) if rows else None


def _scores(head: HeadResult, scores: Scores) -> dict[str, float | None]:
    return {score.name: scores.get(score.name) for score in score_table(head)}


def _minus(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else a - b


def write_csv_files(result: Result, folder: str | Path) -> list[Path]:
    """Writes each table that the result has and returns the files; of several heads each has a folder of its name."""
    written = []
    for name, head in result["heads"].items():
        place = head_folder(Path(folder), result, name)
        tables = {
            "headline": headline_table(result, head),
            "classes": class_table(head),
            "subsets": subset_table(head),
            "robustness": robustness_table(head),
            "reliability": reliability_table(head),
            "confusion": confusion_table(head),
            "images": image_table(head),
            **{f"benchmark_{key}": benchmark_table(head, key) for key in head.get("benchmarks", ())},
        }
        for title, table in tables.items():
            if table is not None:
                written.append(place / f"{title}.csv")
                _write_csv(table, written[-1])
    return written


def head_folder(folder: Path, result: Result, name: str) -> Path:
    """Where the files of a head lie: of several, each in a folder of its name."""
    return folder / name if len(result["heads"]) > 1 else folder


def _write_csv(table: Table, path: Path) -> None:
    """Columns are the keys of the table; empty where nothing was measured."""
    text = csv_text(list(table.columns), [[row.get(key) for key in table.columns] for row in table.rows])
    replace_file(path, text.encode(), many=True)
