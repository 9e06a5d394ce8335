"""The table of a study as Markdown, and each run as a line of a CSV file."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rgbx import _text
from rgbx._text import markdown_rows, subset_titles
from rgbx.study.costs import Cost
from rgbx.study.runs import ABSENT, AT_WORK, CHANGED, DAMAGED, DONE, FAILED, STARTED
from rgbx.study.scores import Gathered, Row, Summary, summarise

NOTHING = "—"
Column = tuple[str, str, list[str]]  # heading, rule, a cell per method
WORDS = {
    FAILED: "failed",
    STARTED: "unfinished",
    AT_WORK: "at work",
    ABSENT: "not run",
    CHANGED: "of another config",
    DAMAGED: "damaged",
}


def markdown_table(gathered: Gathered) -> str:
    """One line per method: scores by subset, differences to the baseline, size and cost."""
    first = next((row.cost for row in gathered.rows if row.cost is not None), None)
    columns = [("method", "---", [row.method for row in gathered.rows]), *_score_columns(gathered)]
    columns.append(("parameters, M", "---:", [cost_cell(row.cost, "parameters") for row in gathered.rows]))
    columns.append(("GFLOP", "---:", [cost_cell(row.cost, "flops") for row in gathered.rows]))
    if first is not None:
        columns += [(name, "---:", cells) for name, cells in _further_costs(gathered.rows, first).items()]
    lines = [[heading for heading, _, _ in columns], [rule for _, rule, _ in columns]]
    lines += [[cells[i] for _, _, cells in columns] for i in range(len(gathered.rows))]
    return markdown_rows(lines)


def _score_columns(gathered: Gathered) -> list[Column]:
    seeds, first, rows = len(gathered.study.seeds), gathered.shown.headline, gathered.rows
    columns: list[Column] = []
    titles = subset_titles(gathered.subsets)
    for subset in gathered.subsets:
        cells = [score_cell(row, subset, seeds, digits=first.digits) for row in rows]
        columns.append((first.heading(titles[subset]), "---:", cells))
    for score in gathered.shown.scores[1:]:
        summaries = [summarise(list(row.further[score.name].values())) for row in rows]
        cells = [NOTHING if found is None else summary_text(found, seeds, digits=score.digits) for found in summaries]
        columns.append((score.heading(), "---:", cells))
    if gathered.study.baseline is not None:
        heading = f"minus {gathered.study.baseline}"
        columns.append((heading, "---:", [gain_cell(row, seeds, digits=first.digits) for row in rows]))
        if any(row.interval for row in rows):
            columns.append(("95 %", "---:", [interval_cell(row, digits=first.digits) for row in rows]))
        columns.append(("by seed", "---:", [gains_by_seed(row, digits=first.digits) for row in rows]))
    return columns


def score_cell(row: Row, subset: str, seeds: int, *, digits: int = 3) -> str:
    """ "0.512 ± 0.004", with n where it is not that of the study; in the headline also what is missing."""
    found = row.summary(subset)
    text = NOTHING if found is None else summary_text(found, seeds, digits=digits)
    if subset != row.headline:
        return text
    kinds = [state.kind for state in row.states.values()]
    missing = [f"{kinds.count(kind)} {word}" for kind, word in WORDS.items() if kind in kinds]
    return ", ".join(([] if found is None else [text]) + missing) or text


def summary_text(found: Summary, seeds: int, *, sign: str = "", digits: int = 3) -> str:
    """Mean, ± sample standard deviation for more than one value, and n where it is not `seeds`."""
    text = f"{found.mean:{sign}.{digits}f}"
    if found.sd is not None:
        text += f" ± {found.sd:.{digits}f}"
    return text if found.count == seeds else f"{text} (n = {found.count})"


def gain_cell(row: Row, seeds: int, *, digits: int = 3) -> str:
    """Mean and standard deviation of the differences to the baseline, seed by seed."""
    found = summarise(list(row.gains.values())) if row.gains else None
    return NOTHING if found is None else summary_text(found, seeds, sign="+", digits=digits)


def interval_cell(row: Row, *, digits: int = 3) -> str:
    """The interval around the mean difference; * where it leaves out 0, † where there is one seed."""
    if row.interval is None:
        return NOTHING
    low, high = row.interval
    marks = " *" * (low > 0 or high < 0) + " †" * (len(row.gains or ()) == 1)
    return f"{low:+.{digits}f} to {high:+.{digits}f}{marks}"


def gains_by_seed(row: Row, *, digits: int = 3) -> str:
    """The differences themselves, in the order of the seeds."""
    return ", ".join(f"{gain:+.{digits}f}" for gain in row.gains.values()) if row.gains else NOTHING


def cost_cell(cost: Cost | None, name: str) -> str:
    """Millions of parameters or 10⁹ operations."""
    if cost is None:
        return NOTHING
    return f"{cost.parameters / 1e6:.2f}" if name == "parameters" else f"{cost.flops / 1e9:.2f}"


def _further_costs(rows: Sequence[Row], first: Cost) -> dict[str, list[str]]:
    """Columns of times, where they were measured, and of the parameters of training alone, where a method has any."""
    values: dict[str, Callable[[Cost], float | None]] = {
        "latency, ms": lambda cost: cost.latency,
        "× the first": lambda cost: cost.ratio(first),
        "training step, ms": lambda cost: cost.step,
        "step × the first": lambda cost: cost.step_ratio(first),
        "of training alone, M": lambda cost: cost.of_training / 1e6,
    }
    found = {name: [None if row.cost is None else value(row.cost) for row in rows] for name, value in values.items()}
    return {
        name: [NOTHING if value is None else f"{value:.2f}" for value in column]
        for name, column in found.items()
        if any(column)
    }


def missing_runs(gathered: Gathered) -> list[str]:
    """A line for every run that is not done, with what is known of it."""
    return [
        ": ".join([f"{row.method}, seed {seed}", WORDS[state.kind], *state.notes[:1]])
        for row in gathered.rows
        for seed, state in row.states.items()
        if state.kind != DONE
    ]


def csv_text(gathered: Gathered) -> str:
    """One line per run in full precision, in the units of the result files; empty where there is none."""
    first, *others = [score.name for score in gathered.shown.scores]
    header = ["method", "seed", "state", *(f"{first} {subset}" for subset in gathered.subsets), *others]
    header += ["headline", "minus_baseline", "parameters", "flops", "latency_ms", "training_parameters", "step_ms"]
    return _text.csv_text(header, [line for row in gathered.rows for line in _csv_lines(row, gathered.subsets)])


def _csv_lines(row: Row, subsets: Sequence[str]) -> list[list[object]]:
    cost = row.cost
    costs: list[object] = [None] * 5
    if cost is not None:
        costs = [cost.parameters, cost.flops, cost.latency, cost.of_training, cost.step]
    lines = []
    for seed, state in row.states.items():
        found = [*(row.scores[subset] for subset in subsets), *row.further.values()]
        scores = [values.get(seed) for values in found]
        gain = (row.gains or {}).get(seed)
        lines.append([row.method, seed, state.kind, *scores, row.headline, gain, *costs])
    return lines
