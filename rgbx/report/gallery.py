"""Predictions of many frames as a page to look through: pictures in a folder, and one index.html that shows them."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import cv2

from rgbx._files import read_text
from rgbx._refusing import refusing
from rgbx._text import modality_title
from rgbx.evaluate.result_form import Json
from rgbx.maps.drawing import Bar, Panel
from rgbx.maps.files import append_line, replace_file
from rgbx.report.markup import Cell, count_cell, document, facts, percent, percent_cell, sortable_table, swatch
from rgbx.report.tables import Table

if TYPE_CHECKING:
    from rgbx.models.result import Result

RECORDS, PAGE, PICTURES = "predictions.jsonl", "index.html", "pictures"
LONGEST_SIDE = 960  # of the page's pictures
JPEG = (  # colours as fine as brightness: classes differ in colour alone
    *(cv2.IMWRITE_JPEG_QUALITY, 90, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444),
)
Record = dict[str, Json]  # what the page is told of a frame, one line of RECORDS


def add_to_gallery(result: Result, folder: str | Path) -> None:
    """Writes the pictures of a result into a folder, and notes them for its page.

    Args:
        result: of one frame; files that `Result.save` has written into the folder are linked.
        folder: made where absent. A frame of the same name is replaced.

    Raises:
        ValueError: a sample's name that leads out of the folder.
    """
    folder = Path(folder)
    panels = [
        _kept(panel, result.place(folder / PICTURES, f"/{number}_{_slug(panel.title)}.jpg"), folder)
        for number, panel in enumerate(result.panels())
    ]
    files = {name: result.place(folder / name, ".png") for name in result}
    record: Record = {
        "sample_id": result.sample_id,
        "size": list(next(iter(result.inputs.values())).shape[-2:]),
        "paths": dict(result.paths),
        "panels": panels,
        "shown": min(len(result.input_titles), len(panels) - 1),
        "heads": {name: head.facts() for name, head in result.items()},
        "files": {name: file.relative_to(folder).as_posix() for name, file in files.items() if file.is_file()},
    }
    folder.mkdir(parents=True, exist_ok=True)
    append_line(folder / RECORDS, json.dumps(record, ensure_ascii=False))


def write_gallery(folder: str | Path, *, title: str = "") -> Path:
    """Writes index.html of the predictions in a folder; it needs the pictures beside it, and no network.

    Args:
        folder: that `add_to_gallery` filled.
        title: of the page; by default the folder's name.

    Returns:
        The path of the page.

    Raises:
        FileNotFoundError, ValueError: no predictions, or notes that are damaged.
    """
    folder = Path(folder)
    records = read_records(folder / RECORDS)
    name = title or folder.resolve().name
    with refusing(str(folder / RECORDS), "its fields cannot be used"):
        heads = list(dict.fromkeys(head for record in records for head in record["heads"]))
        main = _MAIN.format(
            classes="".join(_classes(records, head) for head in heads),
            order=_order(records, heads),
            thumbnails="".join(_thumbnail(record, number) for number, record in enumerate(records)),
            frames="".join(_frame(record, number) for number, record in enumerate(records)),
        )
        header = f'<p class="kind">Predictions</p>\n<h1>{escape(name)}</h1>\n{facts(_facts(records, heads))}\n'
        page = document(name, header, main, images="'self' file: data:", beside=("gallery.css", "gallery.js")).encode()
    replace_file(folder / PAGE, page)
    return folder / PAGE


def read_records(path: Path) -> list[Record]:
    """The frames of a gallery in the order in which they were first added, each as it was last.

    Raises:
        FileNotFoundError, ValueError: no such file, or a line that is no record, which is named.
    """
    found: dict[str, Record] = {}
    for number, line in enumerate(read_text(path, limit=sys.maxsize).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
            missing = {"sample_id", "size", "paths", "panels", "shown", "heads", "files"} - set(record)
        except (ValueError, TypeError, RecursionError) as error:
            raise ValueError(f"{path}:{number}: expected the JSON of a frame ({error})") from None
        if missing:
            raise ValueError(f"{path}:{number}: the frame lacks {sorted(missing)}")
        with refusing(f"{path}:{number}", "the frame's fields cannot be used"):
            _check_numbers(record)
            found[record["sample_id"]] = record
    if not found:
        raise ValueError(f"{path}: no predictions")
    return list(found.values())


def _check_numbers(record: Record) -> None:
    """Refuses what a page would show as a number, without escaping it, and is none."""
    height, width = record["size"]
    ids = [entry["id"] for told in record["heads"].values() for entry in told.get("classes", ())]
    if not all(type(number) is int and number >= 0 for number in (height, width, *ids)):
        raise ValueError(
            f"expected a size [height, width] and ids of classes as whole numbers, found {[height, width]}"
        )


def _kept(panel: Panel, path: Path, folder: Path) -> dict[str, Json]:
    """Writes a panel's picture, made smaller where it is large, and says what it shows."""
    picture, longest = panel.picture, max(panel.picture.shape[:2])
    if longest > LONGEST_SIDE:
        height, width = (max(1, round(side * LONGEST_SIDE / longest)) for side in picture.shape[:2])
        picture = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
    encoded = cv2.imencode(".jpg", picture[..., ::-1], JPEG)[1]
    replace_file(path, encoded.tobytes(), many=True)
    bar = panel.bar and {"limits": list(panel.bar.limits), "scale": panel.bar.scale, "sign": panel.bar.sign}
    return {"title": panel.title, "file": path.relative_to(folder).as_posix(), "bar": bar}


def _facts(records: Sequence[Record], heads: Sequence[str]) -> list[tuple[str, Json]]:
    sizes = list(dict.fromkeys("×".join(map(str, record["size"])) for record in records))
    maps = list(dict.fromkeys(name for record in records for name in record["paths"]))
    shown = ", ".join(sizes[:3]) + (f" and {len(sizes) - 3} more" if len(sizes) > 3 else "")
    return [
        ("Frames", f"{len(records)} of {shown} pixels (height × width)"),
        ("From", ", ".join(map(modality_title, maps))),
        ("Predicted", ", ".join(heads)),
    ]


def _classes(records: Sequence[Record], head: str) -> str:
    """The classes that occur anywhere, in their order, with their share of all pixels and the frames that have them."""
    rows: dict[int, dict[str, Json]] = {}
    pixels = sum(record["size"][0] * record["size"][1] for record in records if head in record["heads"])
    for record in records:
        for entry in record["heads"].get(head, {}).get("classes", ()):
            row = rows.setdefault(entry["id"], {**entry, "pixels": 0.0, "frames": 0})
            row["pixels"] += entry["share"] * record["size"][0] * record["size"][1]
            row["frames"] += 1
    if not rows:
        return ""
    table = Table({"name": f"Class of {head}", "share": "% of all pixels", "frames": "Frames with it"})
    table.rows = [{**rows[k], "share": rows[k]["pixels"] / pixels} for k in sorted(rows)]
    draws = {
        "name": lambda row: Cell(f"{swatch(row['colour'])}{escape(row['name'])}", row["name"]),
        "share": percent_cell("share", digits=2, strong=True),
        "frames": count_cell("frames"),
    }
    body = sortable_table(table, draws, caption=f"Classes of {head}")
    return f'<section aria-label="Classes of {escape(head)}"><h2>Classes of {escape(head)}</h2>\n{body}</section>\n'


def _order(records: Sequence[Record], heads: Sequence[str]) -> str:
    """Choices of the order of the thumbnails, of what they are told in `data-v`."""
    options = ['<option value="">as they came</option>']
    for head in heads:
        if any("confidence" in record["heads"].get(head, {}) for record in records):
            options.append(f'<option value="{escape(head)}" data-up>least confident {escape(head)} first</option>')
        names = {
            entry["id"]: entry["name"]
            for record in records
            for entry in record["heads"].get(head, {}).get("classes", ())
        }
        options += [f'<option value="{escape(head)}:{k}">most {escape(names[k])} first</option>' for k in sorted(names)]
    return "".join(options)


def _sorted_by(record: Record) -> dict[str, float]:
    """The values that thumbnails can be sorted by."""
    found: dict[str, float] = {}
    for head, told in record["heads"].items():
        found |= {head: round(told["confidence"], 4)} if "confidence" in told else {}
        found |= {f"{head}:{entry['id']}": round(entry["share"], 4) for entry in told.get("classes", ())}
    return found


def _thumbnail(record: Record, number: int) -> str:
    panel = record["panels"][record["shown"]]
    return (
        f'<li data-v="{escape(json.dumps(_sorted_by(record)))}"><a href="#f{number}">{_image(panel, record)}'
        f"<span>{escape(record['sample_id'])}</span></a></li>\n"
    )


def _frame(record: Record, number: int) -> str:
    height, width = record["size"]
    pictures = "".join(
        f'<figure><a href="{_url(panel["file"])}">{_image(panel, record)}</a>'
        f"<figcaption>{escape(panel['title'])}{_bar(panel['bar'])}</figcaption></figure>\n"
        for panel in record["panels"]
    )
    files = ", ".join(f'<a href="{_url(file)}">{escape(file)}</a>' for file in record["files"].values())
    read = ", ".join(escape(Path(path).name) for path in record["paths"].values() if path)
    notes = "".join(
        f"<p class=note>{text}</p>" for text in (read and f"Read: {read}", files and f"Written: {files}") if text
    )
    return (
        f'<article class="frame" id="f{number}"><h3>{escape(record["sample_id"])} <span>{height}×{width}</span></h3>\n'
        f'<div class="pictures">{pictures}</div>\n{"".join(_told(*item) for item in record["heads"].items())}{notes}'
        "</article>\n"
    )


def _told(head: str, told: Mapping[str, Json]) -> str:
    """What is known of a head's prediction of a frame: classes in their order with their shares, or values."""
    if "classes" in told:
        entries = [
            f"<li>{swatch(entry['colour'])}{escape(entry['name'])} <b>{_share(entry['share'])} %</b></li>"
            for entry in sorted(told["classes"], key=lambda entry: entry["id"])
        ]
        if "confidence" in told:
            entries.append(f"<li>mean confidence <b>{told['confidence']:.2f}</b></li>")
        return f'<ul class="legend" aria-label="{escape(head)}">{"".join(entries)}</ul>\n'
    if "median" not in told:
        return ""
    values = " · ".join(f"{key} <b>{_number(told[key], told['sign'])}</b>" for key in ("least", "median", "largest"))
    return f'<ul class="legend"><li>{escape(head)}: {values}</li></ul>\n'


def _share(share: float) -> str:
    return "&lt; 0.1" if share < 0.0005 else percent(share)


def _image(panel: Mapping[str, Json], record: Record) -> str:
    height, width = record["size"]
    alt = escape(f"{panel['title']} of {record['sample_id']}")
    return (
        f'<img class="smooth" loading="lazy" width="{width}" height="{height}" src="{_url(panel["file"])}" alt="{alt}">'
    )


def _bar(bar: Mapping[str, Json] | None) -> str:
    """The colours of a picture as a bar between the numbers that its ends stand for."""
    if bar is None:
        return ""
    found = Bar((bar["limits"][0], bar["limits"][1]), bar["scale"], bar["sign"])
    stops = ",".join(found.stops())
    low, high = _number(found.limits[0]), _number(found.limits[1], found.sign)
    return f' <span class="bar">{low} <i style="background:linear-gradient(90deg,{stops})"></i> {high}</span>'


def _number(value: float, sign: str = "") -> str:
    return escape(f"{value:.3g} {sign}".strip().replace("-", "−"))


def _slug(title: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", title.lower()).strip("_")


def _url(file: str) -> str:
    return escape(quote(file))


_MAIN = """<section aria-labelledby="overview">
<h2 id="overview">Overview</h2>
<p class="order"><label>Order <select id="order">{order}</select></label></p>
<ol class="thumbnails" id="thumbnails">
{thumbnails}</ol>
</section>
{classes}<section aria-labelledby="frames">
<h2 id="frames">Frames</h2>
{frames}</section>
"""
