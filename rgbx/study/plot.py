"""Plots of a study: each seed a dot, mean and standard deviation, one line per method; and scores against costs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rgbx._text import subset_titles
from rgbx._whole import writing
from rgbx.study.costs import Cost
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


COSTS: dict[str, Callable[[Cost], float | None]] = {
    "ms per frame": lambda cost: cost.latency,
    "parameters, M": lambda cost: cost.parameters / 1e6,
}


def plot_front(gathered: Gathered, path: Path) -> bool:
    """Draws the headline against latency and parameters; a line joins the methods that none beats in both.

    Args:
        gathered: methods, of which those with a score and a cost are drawn.
        path: the PNG to write.

    Returns:
        Whether there were two methods to draw; without them nothing is written.
    """
    rows = [(row, found, row.cost) for row in gathered.rows if (found := row.summary()) is not None and row.cost]
    costs = {name: [value(cost) for *_, cost in rows] for name, value in COSTS.items()}
    known = {name: values for name, values in costs.items() if None not in values}
    if len(rows) < 2 or not known:
        return False
    figure = Figure(figsize=(4.2 * len(known) + 3, 4.6), layout="constrained")
    means = [found.mean for _, found, _ in rows]
    for axes, (name, values) in zip(
        figure.subplots(1, len(known), sharey=True, squeeze=False)[0], known.items(), strict=True
    ):
        points = [(float(value or 0.0), mean) for value, mean in zip(values, means, strict=True)]
        best = front(points, lower=gathered.shown.headline.lower)
        axes.plot(*zip(*best, strict=True), color=GREY, linewidth=1, zorder=1)
        for number, ((x, y), (row, found, _)) in enumerate(zip(points, rows, strict=True), 1):
            colour = _colour(row.headline, gathered)
            axes.errorbar(
                x,
                y,
                yerr=found.sd,
                fmt="o",
                color=colour,
                markersize=5,
                linewidth=1,
                capsize=2,
                label=f"{number}  {_label(row, gathered)}",
            )
            axes.annotate(str(number), (x, y), xytext=(4, 4), textcoords="offset points", fontsize=8, color=INK)
        axes.set_xlabel(name)
        axes.set_xlim(left=0)
        axes.grid(alpha=0.3, linewidth=0.7)
        axes.spines[["top", "right"]].set_visible(False)
    first = figure.axes[0]
    first.set_ylabel(gathered.shown.headline.label)
    handles, labels = first.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right upper", frameon=False, fontsize=8)
    with writing(path, suffix=path.suffix) as file:
        figure.savefig(file.name, dpi=150)
    return True


def front(points: Sequence[tuple[float, float]], *, lower: bool = False) -> list[tuple[float, float]]:
    """The points (cost, score) that no other one beats, by being better at no more cost, or cheaper and as good.

    Args:
        points: in any order.
        lower: whether a lower score is better.

    Returns:
        By rising cost.
    """
    best: list[tuple[float, float]] = []
    for x, y in sorted(points, key=lambda point: (point[0], point[1] if lower else -point[1])):
        if not best or (y < best[-1][1] if lower else y > best[-1][1]):
            best.append((x, y))
    return best


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
