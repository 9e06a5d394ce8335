"""The table of a study as Markdown, and each run as a line of a CSV file."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from rgbx.engine.study.costs import Cost
from rgbx.engine.study.runs import ABSENT, CHANGED, DONE, FAILED, STARTED
from rgbx.engine.study.scores import Gathered, Row, Summary, summarise

NOTHING = "—"
WORDS = {FAILED: "failed", STARTED: "unfinished", ABSENT: "not run", CHANGED: "of another config"}


def markdown_table(gathered: Gathered) -> str:
    """One line per method: mIoU by subset, differences to the baseline, size and cost."""
    first = next((row.cost for row in gathered.rows if row.cost is not None), None)
    timed = first is not None and bool(first.milliseconds)
    seeds = len(gathered.study.seeds)
    columns = [("method", "---", [row.method for row in gathered.rows])]
    for subset in gathered.subsets:
        columns.append((f"mIoU {subset}", "---:", [score_cell(row, subset, seeds) for row in gathered.rows]))
    if gathered.study.baseline is not None:
        heading = f"minus {gathered.study.baseline}"
        columns.append((heading, "---:", [gain_cell(row, seeds) for row in gathered.rows]))
        columns.append(("by seed", "---:", [gains_by_seed(row) for row in gathered.rows]))
    columns.append(("parameters, M", "---:", [cost_cell(row.cost, "parameters") for row in gathered.rows]))
    columns.append(("GFLOP", "---:", [cost_cell(row.cost, "flops") for row in gathered.rows]))
    if timed and first is not None:
        columns.append(("latency, ms", "---:", [_number(_latency(row.cost), 2) for row in gathered.rows]))
        ratios = [_number(row.cost.ratio(first) if row.cost else None, 2) for row in gathered.rows]
        columns.append(("× the first", "---:", ratios))
    lines = [[heading for heading, _, _ in columns], [rule for _, rule, _ in columns]]
    lines += [[cells[i] for _, _, cells in columns] for i in range(len(gathered.rows))]
    return "\n".join(f"| {' | '.join(cell.replace('|', '¦') for cell in line)} |" for line in lines)


def score_cell(row: Row, subset: str, seeds: int) -> str:
    """ "0.512 ± 0.004", with n where it is not that of the study; in the headline also what is missing."""
    found = row.summary(subset)
    text = NOTHING if found is None else summary_text(found, seeds)
    if subset != row.headline:
        return text
    kinds = [state.kind for state in row.states.values()]
    missing = [f"{kinds.count(kind)} {word}" for kind, word in WORDS.items() if kind in kinds]
    return ", ".join(([] if found is None else [text]) + missing) or text


def summary_text(found: Summary, seeds: int, *, sign: str = "") -> str:
    """Mean, ± sample standard deviation for more than one value, and n where it is not `seeds`."""
    text = f"{found.mean:{sign}.3f}"
    if found.sd is not None:
        text += f" ± {found.sd:.3f}"
    return text if found.count == seeds else f"{text} (n = {found.count})"


def gain_cell(row: Row, seeds: int) -> str:
    """Mean and standard deviation of the differences to the baseline, seed by seed."""
    found = summarise(list(row.gains.values())) if row.gains else None
    return NOTHING if found is None else summary_text(found, seeds, sign="+")


def gains_by_seed(row: Row) -> str:
    """The differences themselves, in the order of the seeds."""
    return ", ".join(f"{gain:+.3f}" for gain in row.gains.values()) if row.gains else NOTHING


def cost_cell(cost: Cost | None, name: str) -> str:
    """Millions of parameters or 10⁹ operations."""
    if cost is None:
        return NOTHING
    return f"{cost.parameters / 1e6:.2f}" if name == "parameters" else f"{cost.flops / 1e9:.2f}"


def _latency(cost: Cost | None) -> float | None:
    return None if cost is None else cost.latency


def _number(value: float | None, digits: int) -> str:
    return NOTHING if value is None else f"{value:.{digits}f}"


def missing_runs(gathered: Gathered) -> list[str]:
    """A line for every run that is not done, with what is known of it."""
    return [
        ": ".join([f"{row.method}, seed {seed}", WORDS[state.kind], *state.notes[:1]])
        for row in gathered.rows
        for seed, state in row.states.items()
        if state.kind != DONE
    ]


def csv_text(gathered: Gathered) -> str:
    """One line per run in full precision; scores are fractions of 1, empty where there is none."""
    header = ["method", "seed", "state", *(f"mIoU {subset}" for subset in gathered.subsets)]
    header += ["headline", "minus_baseline", "parameters", "flops", "latency_ms"]
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(line for row in gathered.rows for line in _csv_lines(row, gathered.subsets))
    return file.getvalue()


def _csv_lines(row: Row, subsets: Sequence[str]) -> list[list[object]]:
    cost = row.cost
    costs = ["", "", ""] if cost is None else [cost.parameters, cost.flops, _exact(cost.latency)]
    lines = []
    for seed, state in row.states.items():
        scores = [_exact(row.scores[subset].get(seed)) for subset in subsets]
        gain = _exact((row.gains or {}).get(seed))
        lines.append([row.method, seed, state.kind, *scores, row.headline, gain, *costs])
    return lines


def _exact(value: float | None) -> str:
    return "" if value is None else repr(value)
