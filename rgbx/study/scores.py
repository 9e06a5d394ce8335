"""Scores of a study's runs, gathered by method."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rgbx.evaluate.comparison import interval_over_runs, reasons_against
from rgbx.evaluate.result import headline
from rgbx.evaluate.result_form import Result
from rgbx.study.costs import Cost
from rgbx.study.declaration import Study
from rgbx.study.runs import Run, State
from rgbx.study.shown import Shown


@dataclass(frozen=True)
class Summary:
    """Mean and sample standard deviation (divisor n − 1; None for one value) of n values."""

    mean: float
    sd: float | None
    count: int


def summarise(values: Sequence[float]) -> Summary | None:
    """None for no values."""
    if not values:
        return None
    sd = statistics.stdev(values) if len(values) > 1 else None
    return Summary(statistics.fmean(values), sd, len(values))


@dataclass(frozen=True)
class Row:
    """One method of a study.

    Attributes:
        method: its name.
        headline: the subset by which it is compared: its first.
        states: of its runs, by seed.
        scores: the study's first score by subset and seed; only what was measured.
        further: its other scores by name and seed, of the headline.
        gains: headline minus that of the baseline, by the seeds that both have; None without a baseline, or for it.
        interval: around the mean of the gains, see `rgbx.evaluate.comparison.interval_over_runs`; None where there are
            no gains, or the files do not tell it.
        cost: None where not measured.
        objectives: of its model, in words.
    """

    method: str
    headline: str
    states: Mapping[int, State]
    scores: Mapping[str, Mapping[int, float]]
    further: Mapping[str, Mapping[int, float]]
    gains: Mapping[int, float] | None
    interval: tuple[float, float] | None
    cost: Cost | None
    objectives: tuple[str, ...] = ()

    def summary(self, subset: str | None = None) -> Summary | None:
        """Of a subset's scores over the seeds; of the headline's by default."""
        return summarise(list(self.scores.get(subset or self.headline, {}).values()))


@dataclass(frozen=True)
class Gathered:
    """All methods of a study, in declared order; `subsets` are the columns."""

    study: Study
    rows: tuple[Row, ...]
    subsets: tuple[str, ...]
    shown: Shown

    @property
    def commits(self) -> list[str]:
        """Of the program that worked on the runs that are done, once each; "unknown" beside others."""
        done = [state for row in self.rows for state in row.states.values() if state.result is not None]
        known = [commit for state in done for commit in state.commits or ("unknown",)]
        return [] if set(known) == {"unknown"} else list(dict.fromkeys(known))

    @property
    def results(self) -> list[Result]:
        """The result files of all runs that are done."""
        return [state.result for row in self.rows for state in row.states.values() if state.result is not None]


def gather(study: Study, states: Mapping[Run, State], costs: Mapping[str, Cost]) -> Gathered:
    """Scores by method, subset and seed.

    Args:
        study: what was declared.
        states: of all its runs.
        costs: by method; some may be missing.

    Raises:
        ValueError: results of different frames, by different protocols, or without a score that is asked for.
    """
    _check_comparable(states)
    shown = _scores_shown(states)
    subsets = tuple(dict.fromkeys([*(study.modalities or ()), *(name for run in states for name in run.subsets)]))
    base = _headline_scores(study.baseline, states, shown)
    against = {run.seed: state for run, state in states.items() if run.method == study.baseline}
    rows = []
    for method in study.methods:
        own = {run: state for run, state in states.items() if run.method == method}
        scores = {subset: _scores(own, subset, shown, shown.headline.name) for subset in subsets}
        headline = next(iter(own)).subsets[0]
        further = {score.name: _scores(own, headline, shown, score.name) for score in shown.scores[1:]}
        seeds = [seed for seed in scores[headline] if seed in base]
        gains = {seed: scores[headline][seed] - base[seed] for seed in seeds}
        compared = study.baseline not in (None, method)
        by_seed = {run.seed: state for run, state in own.items()}
        cost, objectives = costs.get(method), next(iter(own)).objectives
        interval = _interval({seed: (against[seed], by_seed[seed]) for seed in gains}, shown) if compared else None
        told = gains if compared else None
        rows.append(Row(method, headline, by_seed, scores, further, told, interval, cost, objectives))
    used = tuple(name for name in subsets if any(name in run.subsets for run in states))
    return Gathered(study, tuple(rows), used, shown)


def _interval(pairs: Mapping[int, tuple[State, State]], shown: Shown) -> tuple[float, float] | None:
    """Around the mean difference of two methods: None where another score is compared than its head's first."""
    head, name = shown.place(shown.headline.name)
    results = [[state.result for state in pair] for pair in pairs.values()]
    heads = [[result["heads"][head] for result in pair if result is not None] for pair in results]
    if not heads or any(len(pair) < 2 or headline(pair[0]).score.name != name for pair in heads):
        return None
    first = results[0][0]
    absent = first["protocol"].get("absent", "skip") if first is not None else "skip"
    return interval_over_runs([(a, b) for a, b in heads], absent)


def _headline_scores(method: str | None, states: Mapping[Run, State], shown: Shown) -> dict[int, float]:
    own = {run: state for run, state in states.items() if run.method == method}
    first = next(iter(own), None)
    return {} if first is None else _scores(own, first.subsets[0], shown, shown.headline.name)


def _scores(states: Mapping[Run, State], subset: str, shown: Shown, name: str) -> dict[int, float]:
    """By seed; a result file may hold subsets that the study no longer asks for."""
    found = {
        run.seed: shown.value(state.result, subset, name)
        for run, state in states.items()
        if state.result is not None and subset in run.subsets
    }
    return {seed: score for seed, score in sorted(found.items()) if score is not None}


def _scores_shown(states: Mapping[Run, State]) -> Shown:
    """As the first result has them, once all are found to have them."""
    first = next(iter(states)).shown
    for run, state in reversed(list(states.items())):
        if state.result is not None:
            try:
                first = run.shown.as_measured(state.result)
            except ValueError as error:
                raise ValueError(f"{run.results}: {error}") from None
    return first


def _check_comparable(states: Mapping[Run, State]) -> None:
    first: tuple[Run, Result] | None = None
    for run, state in states.items():
        if state.result is None:
            continue
        first = first or (run, state.result)
        if reasons := reasons_against(first[1], state.result, list(run.shown.heads)):
            raise ValueError(
                f"{run.results} and {first[0].results} differ ({'; '.join(reasons)}), so their scores cannot stand in "
                "one table; run the study in another --work-dir, or remove the runs that are wrong"
            )
