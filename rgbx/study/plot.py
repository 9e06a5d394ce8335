"""The plot of a study: each seed a dot, mean and standard deviation, one line per method."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rgbx._text import subset_titles
from rgbx._whole import writing
from rgbx.study.scores import Gathered, Row

INK, GREY = "#222222", "#8a8a8a"
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")  # Okabe & Ito, told apart by all eyes
LIFT = 0.13  # of mean and deviation above a method's line, and of its dots below
MARKS = ("o", "s", "^", "D", "v", "P")


def plot_study(gathered: Gathered, path: Path) -> None:
    """Draws the headline on the left and, where there are any, the other subsets on the right.

    Args:
        gathered: methods from top to bottom in declared order; those without a score keep an empty line.
        path: the PNG to write.
    """
    rows = gathered.rows
    others = [name for name in gathered.subsets if any(_secondary(row, name) for row in rows)]
    width, height = (10.5 if others else 7.5), 1.3 + 0.3 * len(rows)
    figure = Figure(figsize=(width, height), layout="constrained")
    ratios = {"width_ratios": [1.7, 1]} if others else {}
    panels = figure.subplots(1, 2 if others else 1, sharey=True, squeeze=False, gridspec_kw=ratios)[0]
    _draw_headlines(panels[0], rows, gathered)
    if others:
        _draw_others(panels[1], others, gathered)
    for axes in panels:
        _dress(axes, rows)
    panels[0].set_yticks(range(len(rows)), [_label(row, gathered) for row in rows])
    with writing(path, suffix=path.suffix) as file:
        figure.savefig(file.name, dpi=150)


def _draw_headlines(axes: Axes, rows: Sequence[Row], gathered: Gathered) -> None:
    for y, row in enumerate(rows):
        found, values = row.summary(), list(row.scores[row.headline].values())
        colour = _colour(row.headline, gathered)
        if found is None:
            axes.text(0.01, y, "no result", transform=axes.get_yaxis_transform(), va="center", color=GREY, fontsize=8)
            continue
        axes.errorbar(found.mean, y - LIFT, xerr=found.sd, fmt="|", color=INK, capsize=2.5, markersize=9, linewidth=1.2)
        axes.plot(values, [y + LIFT] * len(values), "o", color=colour, alpha=0.8, markersize=4.5, markeredgewidth=0)
    base = next((row.summary() for row in rows if row.method == gathered.study.baseline), None)
    if base is not None:
        axes.axvline(base.mean, color=GREY, linewidth=1, linestyle=(0, (4, 3)), zorder=0)
    axes.set_xlabel(_headline_axis(gathered))


def _headline_axis(gathered: Gathered) -> str:
    text = f"{gathered.shown.headline.label}: dots are seeds, bars mean ± standard deviation"
    return f"{text}\ndashed: {gathered.study.baseline}" if gathered.study.baseline is not None else text


def _draw_others(axes: Axes, names: Sequence[str], gathered: Gathered) -> None:
    step = 0.5 / len(names)
    for i, name in enumerate(names):
        points = [(y, row.summary(name)) for y, row in enumerate(gathered.rows) if _secondary(row, name)]
        shown = [(y + step * (i - (len(names) - 1) / 2), found) for y, found in points if found is not None]
        axes.errorbar(
            [found.mean for _, found in shown],
            [y for y, _ in shown],
            xerr=[found.sd or 0.0 for _, found in shown],
            fmt=MARKS[i % len(MARKS)],
            color=_colour(name, gathered),
            markersize=4.5,
            capsize=2,
            linewidth=1,
            label=subset_titles(gathered.subsets)[name],
        )
    axes.set_xlabel(f"{gathered.shown.headline.name} of the same checkpoints,\ngiven only these modalities")
    axes.legend(frameon=False, fontsize=8, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=len(names))


def _colour(subset: str, gathered: Gathered) -> str:
    return COLOURS[gathered.subsets.index(subset) % len(COLOURS)]


def _secondary(row: Row, subset: str) -> bool:
    return subset != row.headline and row.summary(subset) is not None


def _label(row: Row, gathered: Gathered) -> str:
    """The method's name, with its modalities where they are not those of the first column."""
    return (
        row.method
        if row.headline == gathered.subsets[0]
        else f"{row.method}  [{subset_titles(gathered.subsets)[row.headline]}]"
    )


def _dress(axes: Axes, rows: Sequence[Row]) -> None:
    axes.set_ylim(len(rows) - 0.4, -0.6)  # the first method on top
    axes.grid(axis="x", alpha=0.3, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(axis="y", length=0)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    for y in range(len(rows)):
        axes.axhline(y, color=GREY, alpha=0.15, linewidth=0.7, zorder=0)
