"""How a model's score falls as one of its modalities is damaged: every corruption that suits it, at five severities."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, NamedTuple

from torch.utils.data import DataLoader

from rgbx.datasets import DenseDataset, EveryKth
from rgbx.evaluate.image_counts import Evaluation
from rgbx.evaluate.loop import ProtocolTestLoop
from rgbx.models.predictor import ENSEMBLE
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


def damages(modalities: Sequence[str]) -> list[Damage]:
    """Every corruption made for a modality, and those that suit any, modality by modality at severities 1 to 5."""
    return [
        Damage(modality, name, severity)
        for modality in modalities
        for name, corruption in CORRUPTIONS.items()
        if corruption.modality in (modality, None)
        for severity in SEVERITIES
    ]


def damaged_dataset(dataset: Any, damage: Damage) -> Any:
    """A view of a dataset whose samples are damaged; the frames are shared.

    A map that the dataset reads is damaged as read, so that what transforms compute from it suffers too; a map that a
    transform makes is damaged just before packing.

    Args:
        dataset: a `DenseDataset`, or `EveryKth` of one.
        damage: what to do; the draws are the sample's own, equal for all severities.

    Raises:
        ValueError: another kind of dataset.
    """
    clone = copy.copy(dataset)
    if isinstance(dataset, EveryKth):
        clone.dataset = damaged_dataset(dataset.dataset, damage)
        return clone
    if not isinstance(dataset, DenseDataset):
        raise ValueError(f"only a DenseDataset can be damaged for --robustness, found {type(dataset).__name__}")
    corrupt = Corrupt(damage.corruption, damage.severity, key=damage.modality, maps=dataset.maps)
    transforms = list(dataset.transforms)
    transforms.insert(0 if damage.modality in dataset.modalities else _packing(transforms), corrupt)
    clone.transforms = tuple(transforms)
    return clone


def _packing(transforms: Sequence[Any]) -> int:
    """Where PackSample is; the end where there is none."""
    return next((i for i, item in enumerate(transforms) if isinstance(item, PackSample)), len(transforms))


def loader_like(loader: DataLoader[Any], dataset: Any) -> DataLoader[Any]:
    """A loader with another's order, batches and workers, for a dataset of the same length."""
    return DataLoader(
        dataset,
        batch_sampler=loader.batch_sampler,
        num_workers=loader.num_workers,
        collate_fn=loader.collate_fn,
        pin_memory=loader.pin_memory,
        worker_init_fn=loader.worker_init_fn,
        multiprocessing_context=loader.multiprocessing_context,
        generator=loader.generator,
    )


def measure_robustness(
    loop: ProtocolTestLoop, modalities: Sequence[str], *, clean: Evaluation, every: int
) -> dict[str, Any]:
    """Evaluates the ensemble once per damage, with all the given modalities present.

    Severities of equal strength (a missing map is missing at any severity) are measured once. Logs a line per
    corruption.

    Args:
        loop: with its model restricted to `modalities`.
        modalities: those to damage, one at a time.
        clean: the evaluation without damage.
        every: one in this many samples is evaluated.

    Returns:
        The `robustness` of a result file.
    """
    reference = clean.scores(ENSEMBLE)["mIoU"]
    measured: dict[tuple[str, str, float], float] = {}
    for damage in damages(modalities):
        key = (damage.modality, damage.corruption, damage.strength)
        if key not in measured:
            loader = loader_like(loop.dataloader, damaged_dataset(loop.dataloader.dataset, damage))
            measured[key] = loop.measure(loader).scores(ENSEMBLE)["mIoU"]
        if damage.severity == SEVERITIES[-1]:
            strengths = CORRUPTIONS[damage.corruption].strengths
            values = " ".join(f"{100 * measured[*key[:2], strength]:.2f}" for strength in strengths)
            loop.runner.logger.info(f"{damage.modality} with {damage.corruption} at severities 1 to 5: mIoU {values}")
    return summarise(
        {damage: measured[*damage[:2], damage.strength] for damage in damages(modalities)}, reference, every
    )


def summarise(scores: dict[Damage, float], clean: float, every: int) -> dict[str, Any]:
    """The `robustness` of a result file, fractions of 1.

    Args:
        scores: mIoU of each damage.
        clean: mIoU without damage.
        every: one in this many samples was evaluated.
    """
    nan = float("nan")
    return {
        "every": every,
        "clean": {"mIoU": clean},
        "corruptions": [
            {**damage._asdict(), "mIoU": mean_iou, "relative_drop": 1 - mean_iou / clean if clean else nan}
            for damage, mean_iou in scores.items()
        ],
        "mean_corruption_mIoU": sum(scores.values()) / len(scores) if scores else nan,
    }
