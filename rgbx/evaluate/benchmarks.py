"""Benchmarks of missing and failing sensors by name, each with its source and where the measurement differs from it.

`--robustness NAME` of `rgbx test` measures them on the test split, with the modalities of the first subset. They count
as the session does, so that a score is that of its protocol.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from torch.utils.data import Dataset

from rgbx._choices import BENCHMARKS as NAMES
from rgbx._choices import CORRUPTIONS
from rgbx._text import modality_title
from rgbx.datasets import CachedFrames
from rgbx.datasets.sample import Sample
from rgbx.datasets.shards import ShardedDataset
from rgbx.evaluate.metric import Evaluations, Metrics
from rgbx.evaluate.missing import failures, over_failures
from rgbx.evaluate.result import shown
from rgbx.evaluate.result_form import BenchmarkRow, BenchmarkTable
from rgbx.evaluate.robustness import SEVERITIES, Damage, damaged_dataset, suite, with_transform
from rgbx.evaluate.session import Session, loader_like
from rgbx.evaluate.spoiling import Noise, RandomZeros, Zeros
from rgbx.maps import STANDARD_MAPS, MapSpec
from rgbx.models.predict import Spoil
from rgbx.tasks import ENSEMBLE, Evaluation, Score

NOTHING = "nothing"
SHARES = (0.25, 0.5, 0.75)  # of values that are 0
LEVELS = {"low": (0.05, 0.1), "middle": (0.1, 0.2), "high": (0.2, 0.5)}  # density and deviation
EVENTS = ("event",)
_LIAO = "Liao et al., CVPR Workshops 2025, arXiv 2503.18445, with DELIVER's val split at 1024×1024"
_DELIVER = ({"rgb"}, {"depth", "hha"}, {"event"}, {"lidar"})  # what each of its sensors may be called


class Row(NamedTuple):
    """Evaluations of one kind of failure.

    Attributes:
        name: what has failed, or what is left.
        failed: how many modalities have failed.
        found: for each column; None where it was not evaluated.
    """

    name: str
    failed: int
    found: Sequence[Evaluations | None]


class Trial:
    """A session whose modalities fail, with the scores of its first subset as those without failure.

    Args:
        session: that has evaluated its first subset.
        every: one in this many samples is evaluated.
    """

    def __init__(self, session: Session, every: int) -> None:
        self.session, self.every, self.modalities = session, every, session.headline
        self.clean = next(iter(session.evaluations.values()))
        self._counters = session.counters_of(Metrics())  # without the options of the session

    def measure(self, spoil: Spoil | None = None, dataset: Dataset[Sample] | None = None) -> Evaluations:
        """What the modalities give where `spoil` damages them, or a dataset that is damaged."""
        loader = self.session.loader if dataset is None else loader_like(self.session.loader, dataset)
        return self.session.count(loader, self.modalities, self._counters, spoil=spoil, names=self.session.joint)[0]

    def omitted(self, missing: Sequence[str]) -> Evaluations | None:
        """What is left of the modalities, evaluated without those that are missing; None if that was not done."""
        return self.session.evaluations.get("+".join(name for name in self.modalities if name not in missing))


@dataclass(frozen=True)
class Benchmark:
    """A way to let sensors fail.

    Attributes:
        source: where it is from, and on what it was published.
        label: what the rows are called after.
        columns: of the table.
        rows: evaluates them.
        differences: sentences, where a measurement differs from the published.
        conditions: whether the first column is also told by the dataset's conditions.
        expected: whether rows are all that may fail, so that expectations follow from them.
        subsets: whether other subsets than the first are shown.
    """

    source: str
    label: str
    columns: tuple[str, ...]
    rows: Callable[[Trial], Iterator[Row]]
    differences: Callable[[Trial], list[str]]
    conditions: bool = False
    expected: bool = False
    subsets: bool = False


def check_benchmarks(session: Session, names: Sequence[str]) -> None:
    """Refuses benchmarks that cannot be measured, before an hour of evaluation.

    Raises:
        ValueError: what the dataset or the model lacks.
    """
    if "conditions" in names and not _conditions(session):
        raise ValueError(
            f"--robustness conditions: {type(session.whole_dataset).__name__} does not know under which conditions its "
            "frames were taken (`conditions` in its metainfo); DELIVER does"
        )
    modalities = session.model.modalities
    for name in ("liao-emm", "liao-rmm", "miss"):
        if name in names and len(modalities) < 2:
            raise ValueError(f"--robustness {name}: the model knows {modalities[0]} alone, of which nothing is left")
    if "robodepth" in names and "rgb" not in modalities:
        raise ValueError(f"--robustness robodepth damages rgb, the model knows {', '.join(modalities)}")


def measure_benchmarks(session: Session, names: Sequence[str], *, every: int) -> dict[str, dict[str, BenchmarkTable]]:
    """Measures benchmarks of a session's first subset.

    Args:
        session: that has evaluated its subsets.
        names: of `BENCHMARKS`.
        every: one in this many samples is evaluated.

    Returns:
        Head to name to the table, of the head's first score.
    """
    trial = Trial(session, every)
    found: dict[str, dict[str, BenchmarkTable]] = {head: {} for head in session.tasks}
    for name in names:
        kind, rows = BENCHMARKS[name], []
        for row in BENCHMARKS[name].rows(trial):
            rows.append(row)
            logging.getLogger("rgbx").info(f"{name}, {kind.label} {row.name}: {_told(session, row)}")
        for head, task in session.tasks.items():
            score = task.table(session.whole_dataset.metainfo)[0]
            found[head][name] = _table(kind, trial, rows, head, score)
    return found


def _told(session: Session, row: Row) -> str:
    scores = {head: task.table(session.whole_dataset.metainfo)[0] for head, task in session.tasks.items()}
    told = [
        f"{score.name} {' '.join('-' if x is None else shown(score, _value(x[head], score)) for x in row.found)}"
        for head, score in scores.items()
    ]
    return ", ".join(told)


def _table(kind: Benchmark, trial: Trial, rows: Sequence[Row], head: str, score: Score) -> BenchmarkTable:
    session = trial.session
    conditions = _conditions(session) if kind.conditions else []
    listed: list[BenchmarkRow] = []
    for row in rows:
        own = [None if x is None else x[head] for x in row.found]
        values = [None if x is None else _value(x, score) for x in own]
        values += [_value_of(session, head, own[0], condition, score) for condition in conditions]
        listed.append({"name": row.name, "values": values})
    columns = list(zip(*(row["values"] for row in listed), strict=True))
    failed = [row.failed for row in rows]
    summaries = [over_failures(values, failed, len(trial.modalities)) for values in columns] if kind.expected else []
    return {
        "source": kind.source,
        "deviations": kind.differences(trial),
        "score": score.name,
        "every": trial.every,
        "label": kind.label,
        "columns": [*kind.columns, *conditions],
        "rows": listed,
        "summary": [{"name": name, "values": [each[name] for each in summaries]} for name in summaries[0]]
        if summaries
        else [],
    }


def _value(evaluation: Evaluation, score: Score) -> float:
    value: float = evaluation.scores(ENSEMBLE)[score.name]
    return value


def _value_of(session: Session, head: str, evaluation: Evaluation | None, condition: str, score: Score) -> float | None:
    """Of the images of a condition, as if there were no others; None where there are none."""
    images = () if evaluation is None else evaluation.images
    own = [image for image in images if condition in image.sample_id.lower()]
    return _value(session.counters[head].evaluation(own), score) if own else None


def _conditions(session: Session) -> list[str]:
    return [str(name) for name in session.whole_dataset.metainfo.get("conditions", ())]


def _title(names: Sequence[str]) -> str:
    return " + ".join(map(modality_title, names)) or NOTHING


def _left(trial: Trial, missing: Sequence[str]) -> str:
    return _title([name for name in trial.modalities if name not in missing])


def _entire(trial: Trial) -> Iterator[Row]:
    """Every subset, what is missing as 0 after normalisation, and left out."""
    for missing in failures(trial.modalities):
        zeros = trial.measure(Zeros(missing)) if missing else trial.clean
        yield Row(_left(trial, missing), len(missing), [zeros, trial.omitted(missing)])


def _random(trial: Trial) -> Iterator[Row]:
    """Every combination of damaged maps but that of all, at each share of values that are 0."""
    for damaged in failures(trial.modalities):
        found = [trial.measure(RandomZeros(damaged, share)) if damaged else trial.clean for share in SHARES]
        yield Row(_title(damaged), len(damaged), found)


def _noisy(trial: Trial) -> Iterator[Row]:
    """All maps at once, at each level."""
    for name, (density, deviation) in LEVELS.items():
        yield Row(name, len(trial.modalities), [trial.measure(Noise(density, deviation, EVENTS))])


def _black(trial: Trial) -> Iterator[Row]:
    """Every subset, what is missing as a black image, and left out."""
    for missing in failures(trial.modalities):
        dataset = trial.session.dataset
        for name in missing:
            dataset = with_transform(dataset, name, partial(Black, name))
        black = trial.measure(dataset=dataset) if missing else trial.clean
        yield Row(_left(trial, missing), len(missing), [black, trial.omitted(missing)])


def _subsets(trial: Trial) -> Iterator[Row]:
    """What was evaluated anyway."""
    for subset, found in trial.session.evaluations.items():
        names = subset.split("+")
        yield Row(_title(names), len(trial.modalities) - len(names), [found])


def _colours(trial: Trial) -> Iterator[Row]:
    """Each corruption of colours at five severities."""
    for name in suite("robodepth"):
        damages = [Damage("rgb", name, severity) for severity in SEVERITIES]
        yield Row(name, 1, [trial.measure(dataset=damaged_dataset(trial.session.dataset, one)) for one in damages])


class Black:
    """A map of a sample as a file of black pixels gives it: 0, which is no measurement where 0 stands for that.

    Args:
        name: of the map.
        maps: specs of the dataset's maps.
    """

    def __init__(self, name: str, maps: Mapping[str, MapSpec]) -> None:
        self.name, self.spec = name, {**STANDARD_MAPS, **maps}[name]

    @property
    def needs(self) -> tuple[str, ...]:
        """See `rgbx.datasets.sample.DenseDataset`."""
        return (self.name,)

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """The sample with the map, and its mask where 0 is no measurement, in black."""
        mask = f"{self.name}_valid"
        names = [self.name, *([mask] if self.spec.zero_is_hole and mask in sample else [])]
        return {**sample, **{name: np.zeros_like(sample[name]) for name in names}}


def _common(trial: Trial) -> list[str]:
    """What may differ from DELIVER's own evaluation."""
    rules, found = trial.session.protocol, []
    if rules.absent != "zero" or rules.views > 1 or rules.window:
        found.append(f"scores are those of the protocol {rules.name!r}; published: those of 'deliver'")
    if trial.every > 1:
        found.append(f"one frame in {trial.every} was evaluated")
    return [*found, "means are of scores that are not rounded; published: rounded to 0.01 %"]


def _elsewhere(trial: Trial, name: str) -> list[str]:
    """That other data were evaluated than a dataset's val split, if so."""
    data: Any = trial.session.whole_dataset
    while isinstance(data, CachedFrames):
        data = data.dataset
    found = data.packed.made_of if isinstance(data, ShardedDataset) else type(data).__name__
    split = getattr(data, "split", None)
    of = f", split {split}" if isinstance(split, str) else ""
    return [] if (found, split) == (name, "val") else [f"measured on {found}{of}"]


def _from_liao(trial: Trial, *, drawn: bool) -> list[str]:
    session, names = trial.session, trial.modalities
    found = _elsewhere(trial, "DELIVER")
    if len(names) != len(_DELIVER) or not all(any(name in kind for name in names) for kind in _DELIVER):
        found.append(f"the sensors are {_title(names)}; published: RGB, depth as HHA, events and lidar")
    sample = session.dataset[0]
    size = next(tuple(sample[name].shape[-2:]) for name in names if name in sample)
    if size != (1024, 1024):
        found.append(f"inputs are of {size[0]}×{size[1]}")
    found.append(
        "maps are normalised as the model does, and 0 and noise refer to that; published: colours by the statistics of "
        "ImageNet, other maps divided by 255"
    )
    if drawn:
        found.append(
            "what is drawn follows from the names of frame and map, and salt and pepper are a map's own extremes; "
            "published: drawn anew in every run, and extremes of the batch"
        )
    return [*found, *_common(trial)]


def _from_miss(trial: Trial) -> list[str]:
    return [
        *_elsewhere(trial, "Cityscapes"),
        "black depth is read as no measurement, where the map is of metres; published: as depth of 0",
        "the mean over what is left, and expectations, are ours",
        *_common(trial),
    ]


def _from_conditions(trial: Trial) -> list[str]:
    return ["modalities that are not given are left out; published: all were given", *_common(trial)]


def _from_robodepth(trial: Trial) -> list[str]:
    return [
        "the corruptions are written anew from the published constants: snow and frost are drawn, not photographed",
        "published: depth estimation, with scores relative to a baseline's, which are not computed",
    ]


BENCHMARKS: dict[str, Benchmark] = {
    "liao-emm": Benchmark(
        f"{_LIAO}: entire missing modality",
        "left",
        ("zeros", "omitted"),
        _entire,
        partial(_from_liao, drawn=False),
        conditions=True,
        expected=True,
        subsets=True,
    ),
    "liao-rmm": Benchmark(
        f"{_LIAO}: random missing modality",
        "damaged",
        tuple(f"r = {share:g}" for share in SHARES),
        _random,
        partial(_from_liao, drawn=True),
        expected=True,
    ),
    "liao-nm": Benchmark(
        f"{_LIAO}: noisy modality",
        "noise",
        ("all",),
        _noisy,
        partial(_from_liao, drawn=True),
        conditions=True,
    ),
    "miss": Benchmark(
        "Liu et al., IV 2024, arXiv 2401.16923, with Cityscapes' val split in RGB and depth: system-level absence",
        "left",
        ("black", "omitted"),
        _black,
        _from_miss,
        expected=True,
        subsets=True,
    ),
    "conditions": Benchmark(
        "Zhang et al., CVPR 2023, arXiv 2303.01480, with DELIVER's weathers and sensor failures",
        "given",
        ("all",),
        _subsets,
        _from_conditions,
        conditions=True,
        subsets=True,
    ),
    "robodepth": Benchmark(
        "Kong et al., NeurIPS 2023, arXiv 2310.15171: 18 corruptions of colours, on KITTI and NYU Depth V2",
        "damaged by",
        tuple(map(str, SEVERITIES)),
        _colours,
        _from_robodepth,
    ),
}
assert set(NAMES) == {CORRUPTIONS, *BENCHMARKS}
