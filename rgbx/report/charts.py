"""Drawings of a report: histogram and reliability diagram as SVG, the confusion matrix as a shaded table."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from html import escape

from rgbx.report.markup import number, percent, scroll_box, swatch
from rgbx.report.tables import word
from rgbx.tasks.score import Score

WIDTH, HEIGHT, MARGIN = 320, 90, 26  # of a histogram's bars and the space around them, in SVG units
BINS_PER_TICK = 4
SIDE, LEFT, TOP, STRIP = 200, 34, 8, 34  # of the diagram and of the histogram below it, in SVG units
DARK = 0.55  # a share whose cell takes light letters
MANY = 20  # classes whose confusion matrix has small cells


def histogram_svg(values: Sequence[float], score: Score) -> str:
    """How many images have which value of a score, and their median.

    Args:
        values: of the images, at least one.
        score: what they are.
    """
    factor = 100 if score.percent else 1
    start, step, ticks = _ticks(factor * min(values), factor * max(values))
    bins = [0] * (BINS_PER_TICK * (ticks - 1))
    for value in values:
        bins[min(int((factor * value - start) / step * BINS_PER_TICK), len(bins) - 1)] += 1
    most, width, base = max(bins), WIDTH / len(bins), MARGIN + HEIGHT
    bars = "".join(
        f'<rect x="{MARGIN + i * width + 0.5:.1f}" y="{base - HEIGHT * n / most:.1f}" '
        f'width="{width - 1:.1f}" height="{HEIGHT * n / most:.1f}"/>'
        for i, n in enumerate(bins)
        if n
    )
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    labels = "".join(
        f'<text x="{MARGIN + i * WIDTH / (ticks - 1):.1f}" y="{base + 15}" class="mid">'
        f"{f'{start + i * step:.{digits}f}'.replace('-', '−')}</text>"
        for i in range(ticks)
    )
    median = statistics.median(values)
    x = MARGIN + WIDTH * (factor * median - start) / (step * (ticks - 1))
    title = ", ".join(filter(None, [word(score), score.sign]))
    summary = f"{title} of {len(values)} images: from {number(score, min(values))} to {number(score, max(values))}"
    return (
        f'<svg class="histogram" viewBox="0 0 {WIDTH + 2 * MARGIN} {base + 32}" role="img" '
        f'aria-label="{escape(summary)}, median {number(score, median)}">'
        f'<text x="{MARGIN - 5}" y="{MARGIN + 4}" class="end">{most}</text>'
        f'<path class="grid" d="M{MARGIN} {MARGIN}h{WIDTH}"/>'
        f'<g class="bars">{bars}<path d="M{MARGIN} {base}h{WIDTH}"/></g>{labels}'
        f'<path class="diagonal" d="M{x:.1f} {base}V{MARGIN - 6}"/>'
        f'<text x="{x:.1f}" y="{MARGIN - 10}" class="mid">median {number(score, median)}</text>'
        f'<text x="{MARGIN + WIDTH / 2:g}" y="{base + 29}" class="mid">{escape(title)}</text></svg>'
    )


def _ticks(low: float, high: float) -> tuple[float, float, int]:
    """The first tick, the step to the next, and their number, at least two: they enclose the values."""
    raw = (high - low) / 5 or abs(low) / 5 or 0.2
    power = 10 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return first * step, step, max(last - first, 1) + 1


def reliability_svg(name: str, bins: Mapping[str, Sequence[float | None]], ece: float | None) -> str:
    """Accuracy against confidence per bin, the diagonal, and below it the share of pixels in each bin.

    Args:
        name: of the prediction.
        bins: `count`, `confidence` and `accuracy`, each [B]; the latter None where a bin is empty.
        ece: the expected calibration error, a fraction.
    """
    rows = zip(bins["count"], bins["confidence"], bins["accuracy"], strict=True)
    filled = [(n, c, a) for n, c, a in rows if n and c is not None and a is not None]
    dots = [(_x(c), _y(a)) for _, c, a in filled]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in dots)
    back = " ".join(f"{_x(c):.1f},{_y(c):.1f}" for _, c, _ in reversed(filled))
    marks = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3"/>' for x, y in dots)
    summary = f"{name}: calibration error {percent(ece)} %; accuracy at confidence: " + ", ".join(
        f"{percent(a, 0)} at {percent(c, 0)}" for _, c, a in filled
    )
    return (
        f'<svg viewBox="0 0 {LEFT + SIDE + 10} {TOP + SIDE + STRIP + 42}" role="img" aria-label="{escape(summary)}">'
        f"{_axes()}"
        f'<polygon class="area" points="{line} {back}"/><polyline class="line" points="{line}"/>'
        f'<g class="dots">{marks}</g>{_histogram(bins["count"])}</svg>'
    )


def _x(value: float) -> float:
    return LEFT + SIDE * value


def _y(value: float) -> float:
    return TOP + SIDE * (1 - value)


def _axes() -> str:
    parts = [f'<path class="diagonal" d="M{_x(0)} {_y(0)}L{_x(1)} {_y(1)}"/>']
    for tick in (0, 0.25, 0.5, 0.75, 1):
        parts.append(f'<path class="grid" d="M{_x(tick):g} {_y(0)}V{_y(1)}M{_x(0)} {_y(tick):g}H{_x(1)}"/>')
        if tick in (0, 0.5, 1):
            parts.append(f'<text x="{LEFT - 6}" y="{_y(tick) + 3.5:g}" class="end">{100 * tick:.0f}</text>')
            parts.append(f'<text x="{_x(tick):g}" y="{_y(0) + STRIP + 22}" class="mid">{100 * tick:.0f}</text>')
    parts.append(f'<text x="{_x(0.5):g}" y="{_y(0) + STRIP + 37}" class="mid">confidence, %</text>')
    parts.append(f'<text x="{LEFT + 7}" y="{TOP + 15}">accuracy, %</text>')
    return "".join(parts)


def _histogram(counts: Sequence[float | None]) -> str:
    values = [count or 0.0 for count in counts]
    most, width = max([*values, 1.0]), SIDE / max(1, len(values))
    base = _y(0) + STRIP + 8
    bars = "".join(
        f'<rect x="{LEFT + i * width + 0.5:.1f}" y="{base - STRIP * value / most:.1f}" '
        f'width="{width - 1:.1f}" height="{STRIP * value / most:.1f}"/>'
        for i, value in enumerate(values)
    )
    return f'<g class="bars">{bars}<path d="M{LEFT} {base}h{SIDE}"/></g>'


def confusion_html(confusion: Sequence[Sequence[int]], classes: Sequence[str], palette: Sequence[Sequence[int]]) -> str:
    """The matrix with each row divided by its sum, in whole percent; what rounds to 0 is shaded but not written.

    Args:
        confusion: pixels [K][K], rows are true classes.
        classes: K names.
        palette: K colours.
    """
    head = "".join(
        f'<th scope="col"><span>{escape(name)}{swatch(colour)}</span></th>'
        for name, colour in zip(classes, palette, strict=False)
    )
    rows = []
    for k, (name, counts) in enumerate(zip(classes, confusion, strict=True)):
        total = sum(counts)
        cells = "".join(_confusion_cell(count, total, j == k) for j, count in enumerate(counts))
        rows.append(f"<tr><th scope=row>{swatch(palette[k])}{escape(name)}</th>{cells}</tr>\n")
    caption = "Confusion matrix: rows are true classes, columns predicted ones, in percent of the true pixels"
    size = "small" if len(classes) > MANY else "large"
    html = (
        f'<table class="confusion {size}"><caption class="unseen">{caption}</caption>\n'
        f"<thead><tr><td>true ↓ predicted →</td>{head}</tr></thead>\n<tbody>\n{''.join(rows)}</tbody></table>"
    )
    return f'{scroll_box(html, "Confusion matrix")}<p class="pointed" hidden></p>'


def _confusion_cell(count: int, total: int, diagonal: bool) -> str:
    if not count and not diagonal:
        return "<td>"  # the end tag may be left out; 40 classes have 1600 cells
    share = count / total if total else 0.0
    names = " ".join(name for name, wanted in (("d", diagonal), ("x", share > DARK)) if wanted)
    text = f"{100 * share:.0f}" if round(100 * share) else ""
    attribute = f' class="{names}"' if names else ""
    return f"<td{attribute} data-n={count} style=--v:{share:.4f}>{text}"
