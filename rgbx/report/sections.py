"""The sections of a report, each the HTML of one head; an empty text where there is nothing to show."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping
from html import escape
from pathlib import Path, PurePosixPath

from rgbx._text import branch_title, mask_title, modality_title
from rgbx.evaluate.result import damaged_score, given_titles, headline, score_table, titled
from rgbx.evaluate.result_form import HeadResult, Json, Picture, Result
from rgbx.report import tables
from rgbx.report.charts import confusion_html, histogram_svg, reliability_svg
from rgbx.report.frames import ERRORS
from rgbx.report.markup import (
    Cell,
    Draw,
    count_cell,
    difference_cell,
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
PNG = b"\x89PNG\r\n\x1a\n"
ORDINALS = {2: "second", 3: "third", 4: "fourth", 5: "fifth", 8: "eighth", 10: "tenth"}
ENDINGS = {1: "st", 2: "nd", 3: "rd"}
MIX = (
    '<p class="mix" hidden><label>Colours over the image '
    '<input type="range" min="0" max="100" value="70"></label></p>\n'
)
INTERVAL = (
    "<b>95 % interval</b>: where the score would mostly lie on other images of the kind, from 2000 draws of the images "
    "with replacement. It says nothing about how much another training would change the score. There is none where the "
    "scores of the single images do not add up to the headline."
)
MEANINGS = {
    "mIoU": "mean over the classes of the IoU, which is the pixels of a class that truth and prediction share, divided "
    "by those that either has",
    "mAcc": "mean over the classes of the share of a class’s true pixels that are right",
    "aAcc": "share of all pixels that are right",
    "fwIoU": "mean of the classes’ IoU, weighed by their true pixels",
    "boundary_f": "how well the outlines of classes meet those of the truth, within 0.75 % of the image’s diagonal",
    "ece": "mean distance between how sure the prediction is and how often it is right; lower is better",
    "MAE": "mean absolute error; lower is better",
    "RMSE": "root of the mean squared error; lower is better",
    "AbsRel": "mean of the error divided by the true value; lower is better",
    "delta1": "share of pixels within a factor of 1.25 of the truth",
    "angle_mean": "mean angle between prediction and truth; lower is better",
    "angle_median": "median of these angles; lower is better",
    "PSNR": "ratio of the largest value to the error, on a logarithmic scale; higher is better",
    "SSIM": "likeness of local structure, at most 1",
    "FID": "distance between the distributions of network features of predictions and truth; lower is better",
    "KID": "a distance of the same kind, without bias for few images; lower is better",
    "mAP": "mean over the queries of the precision down to each relevant result, over all results",
    "LPIPS": "distance of network features, image by image; lower is better",
}


def ordinal(count: int) -> str:
    """4 as "fourth", for small numbers, else "32nd"."""
    ending = "th" if count // 10 % 10 == 1 else ENDINGS.get(count % 10, "th")
    return ORDINALS.get(count, f"{count}{ending}")


def predictions(head: HeadResult) -> str:
    """One row per prediction: of the first subset the ensemble and its branches, of each other subset the ensemble."""
    table, score = tables.summary_table(head), headline(head).score
    start: dict[str, Draw] = {"given": text_cell("given"), score.name: score_cell(score, strong=True)}
    if len(table.rows) > 1:
        scale = max((abs(row["difference"]) for row in table.rows if row["difference"] is not None), default=0.0)
        start["difference"] = difference_cell(score, "difference", scale=scale)
    draws = score_draws(table, head, start)
    return sortable_table(table, draws, caption="Scores of every prediction", name="predictions")


def words(head: HeadResult) -> str:
    """What the names of predictions mean that this head has."""
    subset, found, score = headline(head)
    titles = given_titles(head["subsets"], head.get("hallucinated"))
    modalities = [modality_title(name) for name in subset.split("+")]
    first, said = titles[subset], []
    if len(modalities) > 1:
        given = " and ".join(filter(None, [", ".join(modalities[:-1]), modalities[-1]]))
        joined = "" if len(found) < 3 else ", and its branches answer together"
        said.append(f"<b>{escape(first)}</b>: the model is given {escape(given)}{joined}.")
    if len(found) > 2:
        name = next(name for name in found if name != ENSEMBLE)
        said.append(f"<b>{escape(branch_title(name))}</b>: the answer of one branch, the model still given {first}.")
    single = next((key for key in titles if "+" not in key and key != subset), None)
    if single is not None:
        only = escape(modality_title(single))
        said.append(f"<b>{escape(titles[single])}</b>: the same model, given {only} and nothing else.")
    if len(head["subsets"]) > 1:
        points = "percentage points" if score.percent else score.unit
        said.append(f"Differences of {escape(tables.word(score))} are in {points}." if points else "")
    return " ".join(filter(None, said))


def classes(head: HeadResult) -> str:
    """The table per class, by falling gap."""
    table = tables.class_table(head)
    if table is None:
        return ""
    colours = head["about"]["palette"]
    branches = {key: key.removeprefix("IoU of ") for key in table.columns if key.startswith("IoU of ")}
    branches = branches if len(branches) > 1 else {}
    titles = given_titles(head["subsets"], head.get("hallucinated"))
    first, *others = head["subsets"]
    columns = {**table.columns, "IoU": titles[first], **{key: branch_title(name) for key, name in branches.items()}}
    for subset in others:
        columns[subset] = titles[subset]
        for row in table.rows:
            row[subset] = head["subsets"][subset][ENSEMBLE]["IoU"][row["id"]]
    scale = max((abs(row["gap"]) for row in table.rows if row["gap"] is not None), default=0.0)

    def named(row: Mapping[str, Json]) -> Cell:
        return Cell(f"{swatch(colours[row['id']])}{escape(row['class'])}", row["class"])

    draws: dict[str, Draw] = {"class": named, "gap": difference_cell(Score("IoU", FRACTION), "gap", scale=scale)}
    draws |= {"IoU": percent_cell("IoU", strong=True)}
    draws |= {key: percent_cell(key) for key in (*branches, *others)}
    draws |= {"Acc": percent_cell("Acc"), "share": percent_cell("share", digits=2)}
    wins = sum(1 for row in table.rows if (row["gap"] or 0) > 0)
    counted = sum(1 for row in table.rows if row["gap"] is not None)
    explained = (
        f"The gap is “{titles[first]}” minus the best branch, in percentage points: "
        f"right of the line, joining the branches helped ({wins} of {counted} classes). "
    )
    if not branches:
        del draws["gap"]
        explained = ""
    table = tables.Table(columns, table.rows, sorted_by=table.sorted_by)
    accuracy = f"Accuracy, given {titles[first]}: the share of a class’s true pixels that are right."
    return (
        f"<p>IoU of every class. {explained}{accuracy} Choose a column’s heading to sort by it.</p>\n"
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
    title = escape(given_titles(head["subsets"], head.get("hallucinated"))[headline(head).subset])
    return (
        f"<p>Where the pixels of each true class went, given {title}. A row adds up to 100, in whole percent; the "
        "outlined diagonal is what was right.</p>\n"
        f"{confusion_html(matrix, names, colours)}\n<h3>Most pixels lost</h3>\n"
        f"{sortable_table(table, draws, caption='The largest confusions')}"
    )


def calibration(head: HeadResult) -> str:
    """One reliability diagram per prediction."""
    panels = []
    for title, scores in titled(head["subsets"], head.get("hallucinated")).items():
        if scores.get("reliability"):
            svg = reliability_svg(title, scores["reliability"], scores["ece"])
            ece = f"calibration error {percent(scores['ece'])} %"
            panels.append(f"<figure>{svg}<figcaption><b>{escape(title)}</b> {ece}</figcaption></figure>")
    if not panels:
        return ""
    return (
        "<p>How often a pixel is right, given how sure the prediction is. Below the diagonal a prediction is too "
        "sure of itself; the error is the mean distance from it, weighted by pixels. The bars show how the pixels "
        f'are spread over confidence.</p>\n<div class="panels">{"".join(panels)}</div>\n'
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

    def damaged(row: Mapping[str, Json]) -> Cell:
        return Cell(escape(modality_title(row["modality"])), row["modality"])

    draws: dict[str, Draw] = {"corruption": named, "modality": damaged}
    draws |= {key: shaded(key) for key in table.columns if key.startswith("severity") or key == "mean"}
    draws["drop"] = percent_cell("drop")
    table.columns["drop"] += "" if score.percent else ", %"
    details = [*filter(None, [score.beside]), *["lower is better"] * score.lower]
    name = escape(tables.word(score) + f" ({', '.join(details)})" * bool(details))
    title = given_titles(head["subsets"], head.get("hallucinated"))[headline(head).subset]
    return (
        f"<p>{name}{images}, given {escape(title)} with one modality damaged, at severities 1 (mild) to 5 (severe). "
        f"Clean: <b>{number(score, clean)}</b>; mean over all corruptions: <b>{number(score, measured['mean'])}</b>. "
        "The stronger the colour, the worse it is than the clean score.</p>\n"
        f"{sortable_table(table, draws, caption='Scores by corruption and severity', name='robustness')}"
    )


def benchmarks(head: HeadResult) -> str:
    """Named benchmarks of failing sensors, each with its source and where the measurement differs."""
    parts = []
    for name, found in head.get("benchmarks", {}).items():
        table = tables.benchmark_table(head, name)
        score = next((x for x in score_table(head) if x.name == found["score"]), Score(found["score"]))

        def value(key: str, score: Score = score) -> Draw:
            return lambda row: Cell(number(score, row[key]), row[key], "", "n")

        draws: dict[str, Draw] = {"failure": lambda row: Cell(escape(row["failure"]), row["failure"])}
        draws |= {key: value(key) for key in found["columns"]}
        every = "" if found["every"] == 1 else f" of every {ordinal(found['every'])} image"
        told = "".join(f"<li>{escape(text)}</li>" for text in found["deviations"])
        parts.append(
            f"<h3>{escape(name)}</h3>\n<p>{escape(tables.word(score))}{every}. {escape(found['source'])}. "
            f"Where this measurement differs:</p>\n<ul>{told}</ul>\n"
            f"{sortable_table(table, draws, caption=f'Scores of {escape(name)}', name=f'benchmark_{name}')}"
        )
    return "".join(parts)


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
    masked = any(name.startswith("mask/") for entry in entries for name in entry["files"])
    masks = "Masks are yellow where the network believes a modality, dark where it does not." * masked
    name = escape(tables.word(headline(head).score))
    title = given_titles(head["subsets"], head.get("hallucinated"))[headline(head).subset]
    mixed = head["task"] == "classes" and any("input/rgb" in entry["files"] for entry in entries)
    return (
        f"<p>The frames with the best, the median and the worst {name} of a single image, given {escape(title)}. "
        f"{errors if any(ERRORS in entry['files'] for entry in entries) else ''} {masks}</p>\n{MIX * mixed}"
        + "".join(_frame(entry, head, folder) for entry in entries)
    )


def _frame(entry: Picture, head: HeadResult, folder: Path) -> str:
    """Heading, pictures and legend of one frame."""
    score = headline(head).score
    figures = "".join(_figure(title, entry, head, folder) for title in entry["files"])
    said = f"{tables.word(score)} {number(score, entry['value'])} {score.sign}".strip()
    return (
        f'<article class="frame"><h3>{escape(entry["kind"].capitalize())} <span>{escape(entry["sample_id"])}, '
        f'{escape(said)}</span></h3>\n<div class="pictures">{figures}</div>\n'
        f"{_legend(entry, head)}</article>\n"
    )


def _figure(title: str, entry: Picture, head: HeadResult, folder: Path) -> str:
    """One picture; those of classes can be laid over RGB."""
    first = given_titles(head["subsets"], head.get("hallucinated"))[headline(head).subset]
    caption = {ENSEMBLE: first, ERRORS: f"errors, given {first}"}.get(title) or title
    of_input = title.startswith(("input/", "mask/"))
    if of_input:
        kind, _, name = title.partition("/")
        caption = modality_title(name) if kind == "input" else mask_title(name)
    alt = escape(f"{caption} of the {entry['kind']} frame, {entry['sample_id']}")
    uri = picture_uri(folder, entry["files"][title])
    of_classes = head["task"] == "classes" and title != ERRORS and not of_input
    look = ' class="smooth"' if head["task"] != "classes" or of_input else ""
    look += " data-rgb" if title == "input/rgb" else ""
    image = f'<img{look} src="{uri}" alt="{alt}">'
    image = f'<div class="over">{image}</div>' if of_classes else image
    return f"<figure>{image}<figcaption>{escape(caption)}</figcaption></figure>"


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


def _legend(entry: Picture, head: HeadResult) -> str:
    """What occurs in the pictures of a frame, in the dataset's order; of older files in truth and ensemble."""
    legend = entry.get("legend")
    if legend is None and head["task"] == "classes":
        cells: list[list[int]] = next(
            (image["confusion"] for image in head["images"] if image["sample_id"] == entry["sample_id"]), []
        )
        there = sorted({k for true, predicted, _ in cells for k in (true, predicted)})
        legend = {head["about"]["classes"][k]: head["about"]["palette"][k] for k in there}
        legend |= {"not labelled": list(IGNORED)}
    items = [f"<li>{swatch(colour)}{escape(name)}</li>" for name, colour in (legend or {}).items()]
    return f'<ul class="legend">{"".join(items)}</ul>\n' if items else ""


def rules(result: Result) -> str:
    """In plain sentences: what the protocol does, what the scores are, and what an interval says."""
    absent = result["protocol"].get("absent", "skip")
    lines = [protocol_sentence(result["protocol"])]
    names = [score.name for head in result["heads"].values() for score in score_table(head)]
    for name in dict.fromkeys(names):
        if meaning := MEANINGS.get(name):
            lines.append(f"<b>{escape(tables.word(Score(name)))}</b>: {meaning}.")
    if any(head["task"] == "classes" for head in result["heads"].values()):
        how = "count as 0 in means" if absent == "zero" else "are left out of means"
        lines.append(f"Classes that are in neither truth nor prediction {how}.")
    lines.append(INTERVAL)
    return "".join(f"<p>{line}</p>\n" for line in lines)


def protocol_sentence(protocol: Mapping[str, Json]) -> str:
    """What a protocol does to an image, by its rules."""
    scales, window = protocol.get("scales") or [1], protocol.get("window")
    size = (
        "at its own size" if list(scales) == [1] else f"at {_series([f'{scale:g}' for scale in scales])} times its size"
    )
    twice = ", also mirrored" if protocol.get("flip") else ""
    parts = f"in windows of {window[0]}×{window[1]} pixels where it is larger" if window else "whole"
    joined = ", and the predictions are added up" if protocol.get("flip") or len(scales) > 1 else ""
    return f"Protocol <b>{escape(str(protocol['name']))}</b>: each image is predicted {parts}, {size}{twice}{joined}."


def _series(texts: list[str]) -> str:
    return " and ".join(filter(None, [", ".join(texts[:-1]), texts[-1]]))
