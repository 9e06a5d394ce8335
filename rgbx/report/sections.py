"""The sections of a report, each the HTML of one head; an empty text where there is nothing to show."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping
from html import escape
from pathlib import Path, PurePosixPath

from rgbx.evaluate.result import damaged_score, headline
from rgbx.evaluate.result_form import HeadResult, Json, Picture
from rgbx.maps.colour import modality_title
from rgbx.report import tables
from rgbx.report.charts import confusion_html, histogram_svg, reliability_svg
from rgbx.report.frames import ERRORS
from rgbx.report.markup import (
    Cell,
    Draw,
    count_cell,
    difference_cell,
    listed,
    number,
    percent,
    percent_cell,
    score_cell,
    score_draws,
    sortable_table,
    swatch,
    text_cell,
)
from rgbx.tasks import ENSEMBLE
from rgbx.tasks.classes import IGNORED
from rgbx.tasks.score import FRACTION, Score

CONFUSIONS_SHOWN = 8
CLASSES_SHOWN = 14
PNG = b"\x89PNG\r\n\x1a\n"
ORDINALS = {2: "second", 3: "third", 4: "fourth", 5: "fifth", 8: "eighth", 10: "tenth"}
ENDINGS = {1: "st", 2: "nd", 3: "rd"}


def ordinal(count: int) -> str:
    """4 as "fourth", for small numbers, else "32nd"."""
    ending = "th" if count // 10 % 10 == 1 else ENDINGS.get(count % 10, "th")
    return ORDINALS.get(count, f"{count}{ending}")


def predictions(head: HeadResult) -> str:
    """One row per prediction of the first subset, and what the scores are."""
    table = tables.prediction_table(head)
    for row in table.rows:
        row["prediction"] = row["prediction"].replace("_", " ")
    draws = score_draws(table, head, {"prediction": text_cell("prediction")})
    return sortable_table(table, draws, caption="Scores of every prediction")


def classes(head: HeadResult) -> str:
    """The table per class, by falling gap."""
    table = tables.class_table(head)
    if table is None:
        return ""
    colours = head["about"]["palette"]
    branches = [key for key in table.columns if key.startswith("IoU of ")]
    scale = max((abs(row["gap"]) for row in table.rows if row["gap"] is not None), default=0.0)

    def named(row: Mapping[str, Json]) -> Cell:
        return Cell(f"{swatch(colours[row['id']])}{escape(row['class'])}", row["class"])

    draws: dict[str, Draw] = {"class": named, "gap": difference_cell(Score("IoU", FRACTION), "gap", scale=scale)}
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


def confusion(head: HeadResult) -> str:
    """The matrix, and the largest of its errors in words."""
    if head["task"] != "classes":
        return ""
    names, colours = head["about"]["classes"], head["about"]["palette"]
    matrix = headline(head).predictions[ENSEMBLE]["confusion"]
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


def calibration(head: HeadResult) -> str:
    """One reliability diagram per prediction."""
    panels = []
    for name, scores in headline(head).predictions.items():
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


def subsets(head: HeadResult) -> str:
    """One row per subset of modalities."""
    table, score = tables.subset_table(head), headline(head).score
    if len(table.rows) < 2:
        return ""
    for row in table.rows:
        row["subset"] = listed(row["subset"])
    start: dict[str, Draw] = {"subset": text_cell("subset"), score.name: score_cell(score, strong=True)}
    start["difference"] = difference_cell(score, "difference")
    points = "percentage points" if score.percent else score.unit
    unit = f" is in {points}" if points else " has no unit"
    return (
        f"<p>One checkpoint, given only some of its modalities. The difference of {escape(tables.word(score))}"
        f"{escape(unit)}.</p>\n"
        f"{sortable_table(table, score_draws(table, head, start), caption='Scores by modalities present')}"
    )


def robustness(head: HeadResult) -> str:
    """Corruption by severity, shaded by how much worse than the clean score it is."""
    table, measured = tables.robustness_table(head), head.get("robustness")
    if table is None or measured is None:
        return ""
    score, clean = damaged_score(head), measured["clean"]
    images = "" if measured["every"] == 1 else f" of every {ordinal(measured['every'])} image"

    def shaded(key: str) -> Draw:
        def draw(row: Mapping[str, Json]) -> Cell:
            change = 0.0 if row[key] is None or not clean else row[key] / clean - 1
            lost = min(max(change if score.lower else -change, 0), 1)
            return Cell(number(score, row[key]), row[key], f"--v:{lost:.3f}", "n lost")

        return draw

    def named(row: Mapping[str, Json]) -> Cell:
        return Cell(escape(row["corruption"].replace("_", " ")), row["corruption"])

    draws: dict[str, Draw] = {"corruption": named, "modality": text_cell("modality")}
    draws |= {key: shaded(key) for key in table.columns if key.startswith("severity") or key == "mean"}
    draws["drop"] = percent_cell("drop")
    table.columns["drop"] += "" if score.percent else ", %"
    details = [*filter(None, [score.beside]), *["lower is better"] * score.lower]
    name = escape(tables.word(score) + f" ({', '.join(details)})" * bool(details))
    return (
        f"<p>{name}{images} with one modality damaged, at severities 1 (mild) to 5 (severe). Clean: "
        f"<b>{number(score, clean)}</b>; mean over all corruptions: <b>{number(score, measured['mean'])}</b>. "
        "The stronger the colour, the worse it is than the clean score.</p>\n"
        f"{sortable_table(table, draws, caption='Scores by corruption and severity', name='robustness')}"
    )


def images(head: HeadResult) -> str:
    """How the headline is spread over the images."""
    score = headline(head).score
    values = [image.get(score.name) for image in head["images"]]
    measured = [value for value in values if value is not None and math.isfinite(value)]
    if len(measured) < 2:
        return ""
    without = len(values) - len(measured)
    note = f" {without} {'image has' if without == 1 else 'images have'} none." if without else ""
    return (
        f"<p>How the {escape(tables.word(score))} of single images is spread"
        f"{'; lower is better' * score.lower}.{note}</p>\n"
        f"<figure>{histogram_svg(measured, score)}</figure>\n"
    )


def frames(head: HeadResult, folder: Path) -> str:
    """The best, median and worst frame."""
    entries = head.get("pictures")
    if not entries:
        return ""
    errors = "Errors are bright."
    if head["task"] == "classes":
        errors = "In the error map, wrong pixels are red and pixels without a label grey."
    name = escape(tables.word(headline(head).score))
    return (
        f"<p>The frames with the best, the median and the worst {name} of a single image. "
        f"{errors if any(ERRORS in entry['files'] for entry in entries) else ''}</p>\n"
        + "".join(_frame(entry, head, folder) for entry in entries)
    )


def _frame(entry: Picture, head: HeadResult, folder: Path) -> str:
    """Heading, pictures and legend of one frame."""
    score = headline(head).score
    figures = "".join(
        _figure(title, entry, folder, smooth=title.startswith("input/") or head["task"] != "classes")
        for title in entry["files"]
    )
    said = f"{tables.word(score)} {number(score, entry['value'])} {score.beside}".strip()
    return (
        f'<article class="frame"><h3>{escape(entry["kind"].capitalize())} <span>{escape(entry["sample_id"])}, '
        f'{escape(said)}</span></h3>\n<div class="pictures">{figures}</div>\n'
        f"{_legend(entry['sample_id'], head)}</article>\n"
    )


def _figure(title: str, entry: Picture, folder: Path, *, smooth: bool) -> str:
    caption = modality_title(title.removeprefix("input/"))
    alt = escape(f"{caption} of the {entry['kind']} frame, {entry['sample_id']}")
    uri = picture_uri(folder, entry["files"][title])
    look = ' class="smooth"' if smooth else ""
    return f'<figure><img{look} src="{uri}" alt="{alt}"><figcaption>{escape(caption)}</figcaption></figure>'


def picture_uri(folder: Path, relative: str) -> str:
    """A PNG below `folder` as a data URI.

    Raises:
        ValueError: the path leaves the folder, or the file is no PNG.
        FileNotFoundError: no such file.
    """
    path = PurePosixPath(relative)
    if path.is_absolute() or ".." in path.parts:
        raise ValueError(f"pictures: expected a path below the result file, found {relative!r}")
    data = (folder / path).read_bytes()
    if not data.startswith(PNG):
        raise ValueError(f"pictures: {folder / path} is no PNG file")
    return f"data:image/png;base64,{base64.b64encode(data).decode()}"


def _legend(sample_id: str, head: HeadResult) -> str:
    """The classes of the frame's truth and ensemble, most pixels first."""
    if head["task"] != "classes":
        return ""
    pixels: dict[int, int] = {}
    for true, predicted, count in next((i["confusion"] for i in head["images"] if i["sample_id"] == sample_id), []):
        for k in {true, predicted}:
            pixels[k] = pixels.get(k, 0) + count
    ranked = sorted(pixels, key=lambda k: -pixels[k])
    names, colours = head["about"]["classes"], head["about"]["palette"]
    items = [f"<li>{swatch(colours[k])}{escape(names[k])}</li>" for k in ranked[:CLASSES_SHOWN]]
    if len(ranked) > CLASSES_SHOWN:
        items.append(f"<li>and {len(ranked) - CLASSES_SHOWN} more</li>")
    items.append(f"<li>{swatch(IGNORED)}not labelled</li>")
    return f'<ul class="legend">{"".join(items)}</ul>\n'
