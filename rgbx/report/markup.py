"""Small pieces of HTML: numbers, cells and sortable tables. Everything that comes from a file is escaped."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import NamedTuple

from rgbx.evaluate.result import score_table, shown
from rgbx.evaluate.result_form import HeadResult, Json
from rgbx.report.tables import Table
from rgbx.tasks.score import FRACTION, Score

DASH = "–"
OF_PAGES = ("style.css", "sort.js")


@dataclass(frozen=True)
class Cell:
    """One cell: its HTML, the value that its column is sorted by (None comes last), and how it looks."""

    html: str
    value: float | str | None = None
    style: str = ""
    name: str = ""


class Link(NamedTuple):
    """A text that leads to a place of the page."""

    text: str
    place: str


Draw = Callable[[Mapping[str, Json]], Cell]


def number(score: Score, value: float | None) -> str:
    """A value as people read it, fractions in percent without the sign; a dash where nothing was measured."""
    return DASH if value is None else shown(score, value).replace("-", "−")


def difference(score: Score, value: float | None) -> str:
    """With its sign, and without one where it rounds to 0; of fractions in percentage points."""
    if value is None:
        return DASH
    text = shown(score, value, signed=True)
    return (text if float(text) else text[1:]).replace("-", "−")


def percent(value: float | None, digits: int = 1) -> str:
    """A fraction in percent without the sign, a dash where nothing was measured."""
    return number(Score("", FRACTION, digits + 2), value)


def text_cell(key: str) -> Draw:
    """Cells of plain text."""

    def draw(row: Mapping[str, Json]) -> Cell:
        return Cell(DASH if row[key] is None else escape(str(row[key])), row[key])

    return draw


def score_cell(score: Score, key: str = "", *, strong: bool = False) -> Draw:
    """Cells of a score's values."""
    key = key or score.name

    def draw(row: Mapping[str, Json]) -> Cell:
        return Cell(number(score, row[key]), row[key], name="n strong" if strong else "n")

    return draw


def percent_cell(key: str, *, digits: int = 1, strong: bool = False) -> Draw:
    """Cells of fractions in percent."""
    return score_cell(Score(key, FRACTION, digits + 2), strong=strong)


def score_draws(table: Table, head: HeadResult, start: dict[str, Draw]) -> dict[str, Draw]:
    """`start`, then every score that at least one row has."""
    rest = [score for score in score_table(head) if score.name not in start]
    measured = [score for score in rest if any(row.get(score.name) is not None for row in table.rows)]
    return {**start, **{score.name: score_cell(score) for score in measured}}


def count_cell(key: str) -> Draw:
    """Cells of whole numbers with thin spaces between the thousands."""

    def draw(row: Mapping[str, Json]) -> Cell:
        return Cell(f"{row[key]:,}".replace(",", "\u2009"), row[key], name="n")

    return draw


def difference_cell(score: Score, key: str, *, scale: float | None = None) -> Draw:
    """Cells of differences of a score; with a `scale` after a bar from zero to either side, coloured where it is worse.

    Args:
        score: what differs.
        key: of the column.
        scale: the difference that fills half of the bar's width.
    """

    def draw(row: Mapping[str, Json]) -> Cell:
        value = row[key]
        html = f'<span class="signed">{difference(score, value)}</span>'
        if scale and value is not None:
            sign, share = "less" if value < 0 else "more", min(abs(value) / scale, 1)
            worse = " worse" * ((value < 0) != score.lower)
            bar = f'<i class="{sign}{worse}" style="--v:{share:.3f}"></i>'
            html = f'<span class="gap" aria-hidden="true">{bar}</span>{html}'
        return Cell(html, value, name="n")

    return draw


def swatch(colour: Sequence[int]) -> str:
    """A small square of a class's colour."""
    return f'<i class="swatch" style="background:#{bytes(colour).hex()}"></i>'


def facts(pairs: Sequence[tuple[str, Json]]) -> str:
    """Names and values, those without a value left out."""
    items = [f"<div><dt>{escape(key)}</dt>{_fact(key, value)}</div>" for key, value in pairs if value]
    return f'<dl class="facts">{"".join(items)}</dl>'


def _fact(key: str, value: Json) -> str:
    name = ' class="hash"' if key.endswith(("sha256", "fingerprint")) else ""
    if isinstance(value, Link):
        return f'<dd><a href="{escape(value.place)}">{escape(value.text)}</a></dd>'
    return f"<dd{name}>{breakable(str(value))}</dd>"


def breakable(text: str) -> str:
    """Escaped, with places where long file names may break."""
    return escape(text).replace("_", "_<wbr>").replace("/", "/<wbr>")


def scroll_box(inner: str, label: str) -> str:
    """Wide content scrolls inside its own box, also by keyboard."""
    return f'<div class="scroll" role="region" aria-label="{escape(label)}" tabindex="0">{inner}</div>'


def sortable_table(table: Table, draws: Mapping[str, Draw], *, caption: str, name: str = "") -> str:
    """A table whose column headers are buttons; the first drawn column heads its row.

    Args:
        table: its rows in their first order.
        draws: column key -> how its cells look; columns without an entry are left out.
        caption: told to screen readers.
        name: CSS class.
    """
    cells = [[draw(row) for draw in draws.values()] for row in table.rows]
    head = "".join(
        _header(table.columns[key], "n" if any(row[i].name.startswith("n") for row in cells) else "", table, key)
        for i, key in enumerate(draws)
    )
    body = "".join(
        f"<tr>{''.join(_cell(cell, 'th scope=row' if i == 0 else 'td') for i, cell in enumerate(row))}</tr>\n"
        for row in cells
    )
    html = (
        f'<table class="sortable {name}"><caption class="unseen">{escape(caption)}</caption>\n'
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody></table>"
    )
    return scroll_box(html, caption)


def _header(heading: str, name: str, table: Table, key: str) -> str:
    order = ' aria-sort="descending"' if key == table.sorted_by else ""
    return f'<th scope="col" class="{name}"{order}><button type="button">{escape(heading)}</button></th>'


def _cell(cell: Cell, tag: str) -> str:
    attributes = "".join(
        f' {key}="{escape(str(value))}"'
        for key, value in (("class", cell.name), ("style", cell.style), ("data-v", cell.value))
        if value not in ("", None)
    )
    return f"<{tag}{attributes}>{cell.html}</{tag.split()[0]}>"


def document(title: str, header: str, main: str, *, images: str = "data:", beside: Sequence[str] = ()) -> str:
    """A whole page, which opens from a disk and asks for nothing else.

    Args:
        title: as text.
        header, main: HTML, each with a line's end.
        images: where pictures may come from, as in a Content-Security-Policy.
        beside: files of this folder that the page has besides `style.css` and `sort.js`.
    """
    texts = {name: Path(__file__).with_name(name).read_text(encoding="utf-8") for name in (*OF_PAGES, *beside)}
    style, script = ("".join(text for name, text in texts.items() if name.endswith(end)) for end in (".css", ".js"))
    return _DOCUMENT.format(
        policy=f"default-src 'none'; img-src {images}; style-src 'unsafe-inline'; script-src 'unsafe-inline'",
        title=escape(title),
        style=style,
        script=script,
        header=header,
        main=main,
    )


_DOCUMENT = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>
{style}</style>
</head>
<body>
<header>
{header}</header>
<main>
{main}</main>
<p class="unseen" role="status" id="told"></p>
<script>
{script}</script>
</body>
</html>
"""
