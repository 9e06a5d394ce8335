"""The sections of a report, each as HTML; an empty text where there is nothing to show."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

from rgbx.evaluate.result_reading import ENSEMBLE, Result, headline
from rgbx.report import tables
from rgbx.report.charts import confusion_html, reliability_svg
from rgbx.report.frames_html import frame_html
from rgbx.report.markup import (
    Cell,
    Draw,
    count_cell,
    percent,
    percent_cell,
    points_cell,
    sortable_table,
    swatch,
    text_cell,
)
from rgbx.report.overview import listed, ordinal, score_draws

CONFUSIONS_SHOWN = 8


def classes(result: Result) -> str:
    """The table per class, by falling gap."""
    table = tables.class_table(result)
    colours = result["dataset"]["palette"]
    branches = [key for key in table.columns if key.startswith("IoU of ")]
    scale = max((abs(row["gap"]) for row in table.rows if row["gap"] is not None), default=0.0)

    def named(row: Mapping[str, Any]) -> Cell:
        return Cell(f"{swatch(colours[row['id']])}{escape(row['class'])}", row["class"])

    draws: dict[str, Draw] = {"class": named, "gap": points_cell("gap", scale=scale)}
    draws |= {"IoU": percent_cell("IoU", strong=True)}
    draws |= {key: percent_cell(key) for key in branches}
    draws |= {"best": text_cell("best"), "Acc": percent_cell("Acc"), "share": percent_cell("share", digits=2)}
    wins = sum(1 for row in table.rows if (row["gap"] or 0) > 0)
    counted = sum(1 for row in table.rows if row["gap"] is not None)
    explained = (
        "The gap is the ensemble minus the best single branch, in percentage points: "
        f"right of the line, combining the branches helped ({wins} of {counted} classes). "
    )
    if not branches:
        del draws["gap"], draws["best"]
        explained = ""
    return (
        f"<p>IoU of every class. {explained}Choose a column’s heading to sort by it.</p>\n"
        f"{sortable_table(table, draws, caption='IoU per class, in percent', name='classes')}"
    )


def confusion(result: Result) -> str:
    """The matrix, and the largest of its errors in words."""
    names, colours = result["dataset"]["classes"], result["dataset"]["palette"]
    matrix = headline(result)[1][ENSEMBLE]["confusion"]
    errors = [(n, t, p) for t, row in enumerate(matrix) for p, n in enumerate(row) if t != p and n]
    rows = []
    for pixels, true, predicted in sorted(errors, reverse=True)[:CONFUSIONS_SHOWN]:
        share = pixels / sum(matrix[true])
        rows.append({"true": true, "predicted": predicted, "share": share, "pixels": pixels})
    columns = {"true": "True class", "predicted": "predicted as", "share": "of its pixels", "pixels": "pixels"}

    def named(key: str) -> Draw:
        return lambda row: Cell(f"{swatch(colours[row[key]])}{escape(names[row[key]])}", names[row[key]])

    draws = {"true": named("true"), "predicted": named("predicted")}
    draws |= {"share": percent_cell("share"), "pixels": count_cell("pixels")}
    table = tables.Table(columns, rows, sorted_by="pixels")
    return (
        "<p>Each row is a true class and adds up to 100: where its pixels went, in whole percent. "
        "The outlined diagonal is what was right.</p>\n"
        f"{confusion_html(matrix, names, colours)}\n<h3>Most pixels lost</h3>\n"
        f"{sortable_table(table, draws, caption='The largest confusions')}"
    )


def calibration(result: Result) -> str:
    """One reliability diagram per prediction."""
    panels = []
    for name, scores in headline(result)[1].items():
        if scores.get("reliability"):
            svg = reliability_svg(name, scores["reliability"], scores["ece"])
            ece = f"calibration error {percent(scores['ece'])} %"
            panels.append(f"<figure>{svg}<figcaption><b>{escape(name)}</b> {ece}</figcaption></figure>")
    if not panels:
        return ""
    return (
        "<p>How often a pixel is right, given how sure the prediction is. Below the diagonal a prediction is too "
        "sure of itself; the error is the mean distance from it, weighted by pixels. The bars show how the pixels "
        f'are spread over confidence.</p>\n<div class="panels">{"".join(panels)}</div>\n'
    )


def subsets(result: Result) -> str:
    """One row per subset of modalities."""
    table = tables.subset_table(result)
    if len(table.rows) < 2:
        return ""
    for row in table.rows:
        row["subset"] = listed(row["subset"])
    start: dict[str, Draw] = {"subset": text_cell("subset"), "mIoU": percent_cell("mIoU", strong=True)}
    start["difference"] = points_cell("difference")
    return (
        "<p>One checkpoint, given only some of its modalities. The difference of mIoU is in percentage points.</p>\n"
        f"{sortable_table(table, score_draws(table, start), caption='Scores by modalities present')}"
    )


def robustness(result: Result) -> str:
    """Corruption by severity, shaded by how much of the clean mIoU is lost."""
    table = tables.robustness_table(result)
    if table is None:
        return ""
    measured = result["robustness"]
    clean = measured["clean"]["mIoU"]
    images = "" if measured["every"] == 1 else f" of every {ordinal(measured['every'])} image"

    def shaded(key: str) -> Draw:
        def draw(row: Mapping[str, Any]) -> Cell:
            lost = 0.0 if row[key] is None or not clean else min(max(1 - row[key] / clean, 0), 1)
            return Cell(percent(row[key]), row[key], f"--v:{lost:.3f}", "n lost")

        return draw

    def named(row: Mapping[str, Any]) -> Cell:
        return Cell(escape(row["corruption"].replace("_", " ")), row["corruption"])

    draws: dict[str, Draw] = {"corruption": named, "modality": text_cell("modality")}
    draws |= {key: shaded(key) for key in table.columns if key.startswith("severity") or key == "mean"}
    draws["drop"] = percent_cell("drop")
    return (
        f"<p>mIoU{images} with one modality damaged, at severities 1 (mild) to 5 (severe). Clean: "
        f"<b>{percent(clean)}</b>; mean over all corruptions: <b>{percent(measured['mean_corruption_mIoU'])}</b>. "
        "The stronger the colour, the more of the clean score is lost.</p>\n"
        f"{sortable_table(table, draws, caption='mIoU by corruption and severity, in percent', name='robustness')}"
    )


def frames(result: Result, folder: Path) -> str:
    """The best, median and worst frame."""
    entries = result.get("pictures")
    if not entries:
        return ""
    return (
        "<p>The frames with the best, the median and the worst mIoU of a single image. In the error map, wrong pixels "
        "are red and pixels without a label grey.</p>\n"
        + "".join(frame_html(entry, result, folder) for entry in entries)
    )
