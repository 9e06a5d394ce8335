"""The page of a report: opening, the sections of every head, and where the numbers come from, in one file."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from html import escape
from pathlib import Path, PurePosixPath

from rgbx._text import modality_title
from rgbx._whole import writing
from rgbx.evaluate.comparison import headline_interval
from rgbx.evaluate.result import headline, read_result, score_table
from rgbx.evaluate.result_form import HeadResult, Json, Result, look_up
from rgbx.maps.files import replace_file
from rgbx.report import sections
from rgbx.report.markup import Link, breakable, document, facts, number, percent
from rgbx.report.tables import word, write_csv_files

KINDS = {"classes": "Segmentation", "map": "Map"}
UNITS = {
    "rgb8": "8-bit colours",
    "encoded": "8-bit code",
    "metre": "metres",
    "unit_vector": "unit vectors",
    "relative": "0..1",
    "sensor": "the sensor's own unit",
}
Section = tuple[str, str, str]  # id, heading, HTML


def write_report(result_file: str | Path, folder: str | Path | None = None) -> Path:
    """Writes report.html, the CSV files, and copies of the result file and its pictures.

    Files of an earlier report in the same folder are replaced.

    Args:
        result_file: see `rgbx.evaluate.result`; the paths of its pictures start beside it.
        folder: made where absent; by default the folder of the result file.

    Returns:
        The path of report.html, which needs none of the other files.

    Raises:
        ValueError: the result file lacks a field, or a picture is no PNG.
        FileNotFoundError: the result file or one of its pictures is not there.
    """
    result_file = Path(result_file)
    folder = result_file.parent if folder is None else Path(folder)
    result = read_result(result_file)
    html = render_page(result, result_file.parent)
    _copy(result_file, folder / "results.json")
    for head in result["heads"].values():
        for entry in head.get("pictures") or []:
            for name in entry["files"].values():
                _copy(result_file.parent / name, folder / name)
    write_csv_files(result, folder)
    page = folder / "report.html"
    replace_file(page, html.encode())
    return page


def _copy(source: Path, target: Path) -> None:
    if target.exists() and target.samefile(source):
        return
    with source.open("rb") as file, writing(target, many=True) as copy:
        shutil.copyfileobj(file, copy)


def render_page(result: Result, folder: str | Path) -> str:
    """The whole page as HTML; it needs no other file.

    Args:
        result: a checked result.
        folder: where the pictures' relative paths start.

    Raises:
        ValueError: a picture that lies outside `folder` or is no PNG.
        FileNotFoundError: a picture that is not there.
    """
    heads = result["heads"]
    title = _title(result)
    groups = {name: head_sections(head, Path(folder)) for name, head in heads.items()}
    ends = [
        ("rules", "What the numbers mean", sections.rules(result)),
        ("provenance", "Where the numbers come from", provenance(result)),
    ]
    if len(heads) == 1:
        ((name, head),) = heads.items()
        kind = f"{KINDS.get(head['task'], head['task'].capitalize())} result"
        opening = summary(result, head)
        parts = [*groups[name], *ends]
        body, links = "".join(_section(*part) for part in parts), f"<ul>{_links(parts)}</ul>"
    else:
        kind, opening = f"Result of {len(heads)} heads", facts(shared_facts(result)) + _warning(result)
        body = "".join(_group(result, name, groups[name]) for name in heads)
        body += "".join(_section(*part) for part in ends)
        links = "".join(
            f'<ul><li><a href="#head-{name}"><b>{escape(name)}</b></a></li>{_links(_prefixed(name, groups[name]))}</ul>'
            for name in heads
        )
        links += f"<ul>{_links(ends)}</ul>"
    header = f'<p class="kind">{escape(kind)}</p>\n<h1>{breakable(title)}</h1>\n{opening}'
    return document(title, f'{header}<nav aria-label="Sections">{links}</nav>\n', body)


def _title(result: Result) -> str:
    """The run on its data; a config that is called so has its name from its folder, as a declared dataset has."""
    file, data = PurePosixPath(result["config"]["file"]), result["dataset"]
    run = file.parent.name if file.name == "config.py" and file.parent.name else file.stem
    return f"{run} on {data.get('folder') or data['type']}"


def head_sections(head: HeadResult, folder: Path) -> list[Section]:
    """What there is to show of a head."""
    parts = [
        ("classes", "Classes", sections.classes(head)),
        ("confusion", "Confusion", sections.confusion(head)),
        ("calibration", "Calibration", sections.calibration(head)),
        ("robustness", "Damaged modalities", sections.robustness(head)),
        ("benchmarks", "Benchmarks of failing sensors", sections.benchmarks(head)),
        ("images", "Images", sections.images(head)),
        ("frames", "Frames", sections.frames(head, folder)),
    ]
    return [part for part in parts if part[2]]


def _group(result: Result, name: str, parts: list[Section]) -> str:
    """Everything of one of several heads."""
    body = "".join(_section(*part, head=name) for part in _prefixed(name, parts))
    kind = KINDS.get(result["heads"][name]["task"], result["heads"][name]["task"]).lower()
    return (
        f'<div class="head"><h2 id="head-{name}">{escape(name)} <span>{escape(kind)}</span></h2>\n'
        f"{summary(result, result['heads'][name], alone=False)}{body}</div>\n"
    )


def _prefixed(name: str, parts: Iterable[Section]) -> list[Section]:
    return [(f"{name}-{key}", heading, html) for key, heading, html in parts]


def summary(result: Result, head: HeadResult, *, alone: bool = True) -> str:
    """The one number with what it means, the other scores, and one row per prediction."""
    subset, _, score = main = headline(head)
    about = head["about"]
    pairs = [("Given", " + ".join(map(modality_title, subset.split("+"))))]
    if head["task"] == "map":
        pairs.append(("Target", f"{about.get('name')} in {UNITS.get(str(about.get('unit')), about.get('unit'))}"))
    pairs = [*pairs, *shared_facts(result)] if alone else pairs
    title = "mean IoU" if score.name == "mIoU" else word(score)
    ends = headline_interval(head, result["protocol"].get("absent", "skip"))
    sign = f" {score.sign}" if score.sign else ""
    interval = f"95 % interval {number(score, ends[0])} to {number(score, ends[1])}{sign}" if ends else "no interval"
    scores = score_table(head)
    units = "Scores are percentages. " * all(each.percent for each in scores)
    units += "↓: lower is better. " * any(each.lower for each in scores)
    return (
        f'<div class="headline"><div><p class="figure"><b>{number(score, main.value)}</b>'
        f"<span>{escape(f'{score.sign} {title}'.strip())}{', lower is better' * score.lower}</span></p>\n"
        f'<p class="interval"><a href="#rules">{interval}</a></p></div>\n'
        f"{facts(pairs)}</div>\n{_warning(result) * alone}"
        f'{sections.predictions(head)}<p class="note">{units}{sections.words(head)}</p>\n'
    )


def shared_facts(result: Result) -> list[tuple[str, Json]]:
    """What all heads have in common."""
    return [
        ("Evaluated", stated_share(result)),
        ("Checkpoint", PurePosixPath(result["checkpoint"]["file"]).name),
        ("Protocol", Link(result["protocol"]["name"], "#rules")),
    ]


def _warning(result: Result) -> str:
    """Where the checkpoint was chosen on the very frames that are scored."""
    overlap = result["checkpoint"].get("overlap")
    if not overlap:
        return ""
    return (
        f'<p class="warning">The checkpoint was chosen on {escape(overlap)} scored here, so that its scores are better '
        "than on frames it has never seen.</p>\n"
    )


def stated_share(result: Result) -> str:
    """How many images were evaluated: "164 images, every fourth of the split"."""
    images, every = result["dataset"]["samples"], result["dataset"]["every"]
    text = f"{images:,} {'image' if images == 1 else 'images'}".replace(",", "\u2009")
    return text if every == 1 else f"{text}, every {sections.ordinal(every)} of the split"


def provenance(result: Result) -> str:
    """Protocol, files, versions and machine."""
    protocol = [(key.replace("_", " "), _plain(value)) for key, value in result["protocol"].items()]
    files = [
        ("config", result["config"]["file"]),
        ("config sha256", result["config"].get("sha256")),
        ("checkpoint", result["checkpoint"]["file"]),
        ("checkpoint sha256", result["checkpoint"]["sha256"]),
        ("chosen on", result["checkpoint"].get("selected_on")),
        ("chosen on what is scored here", result["checkpoint"].get("overlap")),
        ("dataset", result["dataset"]["type"]),
    ]
    for name, head in result["heads"].items():
        own = f"{name} " if len(result["heads"]) > 1 else ""
        classes, weights = head["about"].get("classes"), head["about"].get("weights") or {}
        files += [(f"{own}classes", len(classes) if classes else None), (f"{own}fingerprint", head["fingerprint"])]
        files += [(f"{own}{key} sha256", look_up(file, "sha256")) for key, file in weights.items()]
    files += [("images", stated_share(result)), ("precision", result.get("dtype"))]
    speed = result.get("speed") or {}
    made = [
        ("date", result.get("date")),
        ("machine", result.get("machine")),
        ("versions", ", ".join(f"{name} {version}" for name, version in (result.get("versions") or {}).items())),
        ("speed", f"{speed['images_per_second']:.1f} images/s" if speed.get("images_per_second") else None),
        ("share of the metrics", f"{percent(speed['metric_share'])} %" if speed.get("metric_share") else None),
    ]
    groups = [("Protocol", protocol), ("Data and model", files), ("Measured", made)]
    blocks = [f"<div><h3>{heading}</h3>{facts(pairs)}</div>" for heading, pairs in groups]
    return f'<div class="provenance">{"".join(blocks)}</div>\n'


def _plain(value: Json) -> str:
    if value is None or isinstance(value, bool):
        return {None: "none", True: "yes", False: "no"}[value]
    return ", ".join(map(_plain, value)) or "none" if isinstance(value, list) else str(value)


def _section(key: str, heading: str, html: str, head: str = "") -> str:
    of = f'<span class="unseen">{escape(head)}: </span>' if head else ""
    return f'<section id="{key}" aria-labelledby="{key}-h">\n<h2 id="{key}-h">{of}{heading}</h2>\n{html}</section>\n'


def _links(parts: Iterable[Section]) -> str:
    return "".join(f'<li><a href="#{key}">{heading}</a></li>' for key, heading, _ in parts)
