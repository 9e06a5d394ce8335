"""How a model's scores change as one of its modalities is damaged: each corruption that suits it, five severities."""

from __future__ import annotations

import copy
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from torch.utils.data import Dataset

from rgbx._text import modality_title
from rgbx.datasets import DenseDataset, EveryKth
from rgbx.datasets.sample import Sample, Transform
from rgbx.evaluate.metric import Metrics
from rgbx.evaluate.result import shown
from rgbx.evaluate.result_form import Robustness
from rgbx.evaluate.session import Session, loader_like
from rgbx.maps import STANDARD_MAPS, MapSpec
from rgbx.tasks import ENSEMBLE, Score
from rgbx.transforms import CORRUPTIONS, Corrupt, PackSample

SEVERITIES = (1, 2, 3, 4, 5)


class Damage(NamedTuple):
    """One corruption of one modality at one severity."""

    modality: str
    corruption: str
    severity: int

    @property
    def strength(self) -> float:
        """What the severity means for this corruption."""
        return CORRUPTIONS[self.corruption].strengths[self.severity - 1]


def suite(name: str) -> list[str]:
    """The corruptions of a published list."""
    return [key for key, corruption in CORRUPTIONS.items() if corruption.suite == name]


def damages(modalities: Sequence[str], maps: Mapping[str, MapSpec] | None = None) -> list[Damage]:
    """Every corruption made for a modality, and those that suit any, modality by modality at severities 1 to 5.

    Args:
        modalities: names.
        maps: specs of those that are not standard: what is of metres is left out of relative depth.
    """
    known = {**STANDARD_MAPS, **(maps or {})}
    return [
        Damage(modality, name, severity)
        for modality in modalities
        for name, corruption in CORRUPTIONS.items()
        if corruption.suite == "rgbx" and corruption.modality in (modality, None)
        if not corruption.metres or known[modality].unit != "relative"
        for severity in SEVERITIES
    ]


def damaged_dataset(dataset: Dataset[Sample], damage: Damage) -> Dataset[Sample]:
    """A view of a dataset whose samples are damaged; the frames are shared.

    A map that the dataset reads is damaged as read, so that what transforms compute from it suffers too; a map that a
    transform makes is damaged just before packing.

    Args:
        dataset: a `DenseDataset`, or `EveryKth` of one.
        damage: what to do; the draws are the sample's own, equal for all severities.

    Raises:
        ValueError: another kind of dataset.
    """
    return with_transform(
        dataset,
        damage.modality,
        lambda maps: Corrupt(damage.corruption, damage.severity, key=damage.modality, maps=maps),
    )


def with_transform(
    dataset: Dataset[Sample], modality: str, make: Callable[[Mapping[str, MapSpec]], Transform]
) -> Dataset[Sample]:
    """A view of a dataset with a further transform of a map, as it is read or else just before packing.

    Args:
        dataset: see `damaged_dataset`.
        modality: the map.
        make: gives the transform from the specs of the dataset's maps.
    """
    clone: Any = copy.copy(dataset)
    if isinstance(dataset, EveryKth):
        clone.dataset = with_transform(dataset.dataset, modality, make)
        return clone
    if not isinstance(dataset, DenseDataset):
        raise ValueError(f"only a DenseDataset can be damaged for --robustness, found {type(dataset).__name__}")
    transforms = list(dataset.transforms)
    transforms.insert(0 if modality in dataset.modalities else _packing(transforms), make(dataset.maps))
    clone.transforms = tuple(transforms)
    return clone


def _packing(transforms: Sequence[Transform]) -> int:
    """Where PackSample is; the end where there is none."""
    return next((i for i, item in enumerate(transforms) if isinstance(item, PackSample)), len(transforms))


def measure_robustness(session: Session, *, every: int) -> dict[str, Robustness]:
    """Evaluates the ensemble of the first subset once per damage, with all its modalities present.

    Severities of equal strength (a missing map is missing at any severity) are measured once. Logs a line per
    corruption and head.

    Args:
        session: that has evaluated its first subset.
        every: one in this many samples is evaluated.

    Returns:
        Head to the `robustness` of a result file, of the head's first score.
    """
    modalities = session.headline
    scores = {head: task.table(session.whole_dataset.metainfo)[0] for head, task in session.tasks.items()}
    clean = next(iter(session.evaluations.values()))
    reference = {head: clean[head].scores(ENSEMBLE)[score.name] for head, score in scores.items()}
    counters = session.counters_of(Metrics())  # without the options of the session
    measured: dict[tuple[str, str, float], dict[str, float]] = {}
    todo = damages(modalities, session.whole_dataset.metainfo.get("maps"))
    for damage in todo:
        key = (damage.modality, damage.corruption, damage.strength)
        if key not in measured:
            loader = loader_like(session.loader, damaged_dataset(session.dataset, damage))
            found, _ = session.count(loader, modalities, counters, names=session.joint)
            measured[key] = {head: found[head].scores(ENSEMBLE)[score.name] for head, score in scores.items()}
        if damage.severity == SEVERITIES[-1]:
            _log(damage, scores, measured)
    return {
        head: summarise(
            {damage: measured[*damage[:2], damage.strength][head] for damage in todo},
            reference[head],
            score=score.name,
            every=every,
        )
        for head, score in scores.items()
    }


def _log(
    damage: Damage, scores: Mapping[str, Score], measured: Mapping[tuple[str, str, float], Mapping[str, float]]
) -> None:
    strengths = CORRUPTIONS[damage.corruption].strengths
    for head, score in scores.items():
        values = " ".join(shown(score, measured[*damage[:2], strength][head]) for strength in strengths)
        of = f" of {head}" if len(scores) > 1 else ""
        logging.getLogger("rgbx").info(
            f"{modality_title(damage.modality)} with {damage.corruption}, severities 1 to 5: {score.name}{of} {values}"
        )


def summarise(values: Mapping[Damage, float], clean: float, *, score: str, every: int) -> Robustness:
    """The `robustness` of a result file.

    Args:
        values: the score of each damage.
        clean: the score without damage.
        score: its name.
        every: one in this many samples was evaluated.
    """
    return {
        "every": every,
        "score": score,
        "clean": clean,
        "corruptions": [
            {
                "modality": damage.modality,
                "corruption": damage.corruption,
                "severity": damage.severity,
                "value": value,
                "relative_change": value / clean - 1 if clean else math.nan,
            }
            for damage, value in values.items()
        ],
        "mean": sum(values.values()) / len(values) if values else math.nan,
    }
