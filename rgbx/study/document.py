"""The Markdown document of a study: its table, and everything one must know to read it or to repeat it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from rgbx.evaluate.result_form import Result
from rgbx.study.costs import ROUNDS, STEPS, Costs
from rgbx.study.declaration import Overrides, Study, as_options
from rgbx.study.runs import shorten
from rgbx.study.scores import Gathered
from rgbx.study.table import markdown_table, missing_runs

GAINS = (
    "*minus {baseline}*: each method's headline minus that of {baseline} with the same seed, mean ± standard deviation "
    "of these differences, and the differences themselves in the order of the seeds."
)
INTERVALS = (
    "*95 %*: around the mean difference, a bootstrap that draws seeds, with replacement, and test frames, the same for "
    "all runs; * where it leaves out 0, † where there is one seed and it knows frames alone. Few seeds make it narrow."
)
LATENCY = (
    "Latency: one frame from normalised maps to the outputs of all heads, methods timed in turn in one process, median "
    "of {rounds} rounds; the ratio is the median over the rounds. Measured on {machine}."
)
STEP = (
    "Training step: one batch of the method's training data with all modalities, from maps to updated weights, "
    "opponents included; timed in turn as latency, {steps} steps in each of {rounds} rounds."
)
OF_TRAINING = "Of training alone: parameters of discriminators, objectives and their opponents, which predict nothing."


def study_document(gathered: Gathered, *, command: str, costs: Costs | None, picture: str, overrides: Overrides) -> str:
    """The document.

    Args:
        gathered: scores by method.
        command: that wrote it.
        costs: None where not measured.
        picture: name of the plot's file, beside the document.
        overrides: of every run.
    """
    missing = missing_runs(gathered)
    parts = [
        f"# Study {gathered.study.file.stem}",
        f"    {command}",
        _bullets(_header(gathered, overrides)),
        markdown_table(gathered),
        f"![{gathered.shown.headline.name} by method]({picture})",
        _bullets(_notes(gathered, costs)),
        "## Not in the table\n\n" + _bullets(map(shorten, missing)) if missing else "",
        "## Methods\n\n" + _bullets(_methods(gathered)),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _bullets(lines: Iterable[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _header(gathered: Gathered, overrides: Overrides) -> list[str]:
    study, results = gathered.study, gathered.results
    options = ", ".join(f"`{shorten(option)}`" for option in as_options(dict(overrides))) or "as it is"
    lines = [
        f"Config: {relative(study.config)}; every run: {options}",
        f"Seeds: {_seeds(study)}",
    ]
    if results:
        lines += [
            f"Data: {_all(_dataset(result, gathered.shown.head) for result in results)}",
            f"Protocol: {_all(result['protocol']['name'] for result in results)}, {_all(r['dtype'] for r in results)}",
            f"Versions: {_all(_versions(result['versions']) for result in results)}",
            f"Machine: {_all(result['machine'] for result in results)}",
            f"Date: {_dates([result['date'][:10] for result in results])}",
            *([f"Commit: {_all(gathered.commits)}"] if gathered.commits else []),
        ]
    return lines


def _seeds(study: Study) -> str:
    others = [f"; {name}: {', '.join(map(str, seeds))}" for name, seeds in study.method_seeds.items()]
    return ", ".join(map(str, study.seeds)) + "".join(others)


def _dataset(result: Result, head: str) -> str:
    data = result["dataset"]
    return f"{data['type']}, {data['samples']} test frames, fingerprint {result['heads'][head]['fingerprint'][:16]}"


def _versions(versions: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions.items())


def _all(texts: Iterable[str]) -> str:
    """What the runs say, once each."""
    return "; ".join(dict.fromkeys(texts))


def _dates(dates: Sequence[str]) -> str:
    return dates[0] if len(set(dates)) == 1 else f"{min(dates)} to {max(dates)}"


def _notes(gathered: Gathered, costs: Costs | None) -> list[str]:
    study, shown = gathered.study, gathered.shown
    lines = [
        f"{shown.headline.sentence}: mean ± sample standard deviation over the seeds; n where it is another. "
        "The columns are one checkpoint, given all modalities or only these; — where a method is not tested so. "
        "A method's headline is the first column that it has."
    ]
    lines += [f"{score.sentence}: of each method's headline." for score in shown.scores[1:]]
    if study.baseline is not None:
        lines.append(GAINS.format(baseline=study.baseline))
        lines += [INTERVALS] if any(row.interval for row in gathered.rows) else []
    if costs is not None and costs.methods:
        sizes = dict.fromkeys(f"{height}×{width}" for height, width in (cost.size for cost in costs.methods.values()))
        lines.append(f"GFLOP: per frame of {', '.join(sizes)} with the headline's modalities, two per multiply-add.")
        lines.append("Parameters: of what predicts, without discriminators and objectives.")
        if any(cost.milliseconds for cost in costs.methods.values()):
            lines.append(LATENCY.format(rounds=ROUNDS, machine=costs.machine))
        if any(cost.steps for cost in costs.methods.values()):
            lines.append(STEP.format(steps=STEPS, rounds=ROUNDS))
        if any(cost.of_training for cost in costs.methods.values()):
            lines.append(OF_TRAINING)
    lines += [f"Objectives of {row.method}: {'; '.join(row.objectives)}." for row in gathered.rows if row.objectives]
    return lines


def _methods(gathered: Gathered) -> list[str]:
    return [
        f"{name}: {', '.join(f'`{shorten(option)}`' for option in as_options(overrides)) or 'the config as it is'}"
        for name, overrides in gathered.study.methods.items()
    ]


def relative(path: Path, *, outside: bool = False) -> str:
    """A path inside the working directory as seen from there; elsewhere only its name, or whole if `outside`."""
    path = path.resolve()
    if path.is_relative_to(Path.cwd()):
        return str(path.relative_to(Path.cwd()))
    return str(path) if outside else path.name
