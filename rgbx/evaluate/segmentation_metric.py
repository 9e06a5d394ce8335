"""mmengine's metric interface over the pure functions of `rgbx.metrics`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log
from torch import Tensor

from rgbx._text import percent, text_table
from rgbx.evaluate.image_counts import Evaluation, ImageCounts, file_sizes, gather_images, to_cells
from rgbx.metrics import boundary_counts, confusion_matrix, reliability_counts
from rgbx.models.predictor import ENSEMBLE
from rgbx.models.protocol import Protocol, find_protocol


class SegmentationMetric(BaseMetric):
    """IoU and accuracy of the ensemble and of every branch, in percent.

    Pixels are counted image by image and added up in int64 over images and processes, so the scores are those of the
    whole dataset, and an image that two processes saw counts once. Keys: `mIoU`, `mAcc` and `aAcc` of the ensemble,
    `rgb/mIoU` and so on of the branches. After `evaluate`, `evaluation` holds the counts.

    Args:
        table: print IoU and accuracy per class after each evaluation.
        protocol: whose rules for absent classes and dropped labels hold; the test loop sets its own.
        boundary: also count boundary pixels of the ensemble.
        calibration: also count confidence and correctness of the ensemble, where samples have a `probability`.
    """

    default_prefix = ""  # None would warn

    def __init__(
        self,
        table: bool = True,
        protocol: str | Protocol = "rgbx",
        boundary: bool = False,
        calibration: bool = False,
    ) -> None:
        super().__init__()
        self.table, self.boundary, self.calibration = table, boundary, calibration
        self.protocol = find_protocol(protocol)
        self.images: list[ImageCounts] = []
        self.evaluation: Evaluation | None = None

    def process(self, data_batch: Any, data_samples: Sequence[dict[str, Any]]) -> None:
        """Counts one batch.

        Raises:
            ValueError: a sample without a label, or class ids out of range, naming the sample.
        """
        for position, sample in enumerate(data_samples):
            if sample["label"] is None:
                raise ValueError(f"sample {sample['sample_id']!r} has no label to score against")
            self.images.append(self._count(sample, file_sizes(data_batch, position)))

    def _count(self, sample: dict[str, Any], sizes: dict[str, int]) -> ImageCounts:
        num_classes = len(self.dataset_meta["classes"])
        ignore_index = self.dataset_meta.get("ignore_index", 255)
        label = self._scored_label(sample["label"], num_classes, ignore_index)
        confusions: dict[str, Tensor] = {}
        for name, prediction in sample["prediction"].items():
            try:
                found = confusion_matrix(prediction, label, num_classes, ignore_index=ignore_index)
            except ValueError as error:
                raise ValueError(f"{name} of sample {sample['sample_id']!r}: {error}") from None
            confusions[name] = found.cpu()
        boundary = reliability = None
        if self.boundary and ENSEMBLE in confusions:
            prediction = sample["prediction"][ENSEMBLE]
            boundary = boundary_counts(prediction, label, num_classes, ignore_index=ignore_index).cpu()
        if self.calibration and "probability" in sample:
            reliability = self._reliability(sample, label, ignore_index).cpu()
        return ImageCounts(
            sample_id=sample["sample_id"],
            cells={name: to_cells(found) for name, found in confusions.items()},
            true_pixels=next(iter(confusions.values())).sum(1),
            boundary=boundary,
            reliability=reliability,
            file_sizes=sizes,
        )

    @staticmethod
    def _reliability(sample: dict[str, Any], label: Tensor, ignore_index: int) -> Tensor:
        """Counts of the ensemble, from the confidence that the predictor has found already, if it says so."""
        largest = None
        if "confidence" in sample:
            largest = sample["confidence"][ENSEMBLE][None], sample["prediction"][ENSEMBLE][None]
        probability = sample["probability"][ENSEMBLE][None]
        return reliability_counts(probability, label[None], ignore_index=ignore_index, largest=largest)

    def _scored_label(self, label: Tensor, num_classes: int, ignore_index: int) -> Tensor:
        if self.protocol.drop_labels_from == "num_classes":
            return torch.where(label >= num_classes, ignore_index, label)
        return label

    def evaluate(self, size: int) -> dict[str, float]:
        """Adds the counts up over processes and scores them; `size` is the length of the dataset."""
        images, self.images = gather_images(self.images, size), []
        if not images:
            raise ValueError("nothing was evaluated: the dataset is empty")
        return self.compute_metrics(images)

    def compute_metrics(self, results: list[ImageCounts]) -> dict[str, float]:
        """Scores in percent of the added counts."""
        self.evaluation = Evaluation(results, self.protocol.absent)
        by_name = {name: self.evaluation.scores(name) for name in self.evaluation.names}
        if self.table:
            print_log("\n" + class_table(by_name, self.dataset_meta["classes"]), logger="current")
        metrics = {}
        for name in sorted(by_name, key=lambda name: name != ENSEMBLE):  # the ensemble first
            prefix = "" if name == ENSEMBLE else f"{name}/"
            for key in ("mIoU", "mAcc", "aAcc"):
                metrics[f"{prefix}{key}"] = 100 * by_name[name][key]
        return metrics


def class_table(by_name: dict[str, dict[str, Any]], classes: Sequence[str]) -> str:
    """IoU and accuracy per class of the ensemble, then the IoU of each branch, in percent.

    Args:
        by_name: the scores of each prediction, as `rgbx.metrics.scores` gives them.
        classes: K class names.
    """
    main = ENSEMBLE if ENSEMBLE in by_name else next(iter(by_name))
    branches = [name for name in by_name if name != main]
    header = ["class", "IoU", "Acc", *(f"{name} IoU" for name in branches)]
    rows = [
        [
            label,
            percent(by_name[main]["IoU"][k]),
            percent(by_name[main]["Acc"][k]),
            *(percent(by_name[name]["IoU"][k]) for name in branches),
        ]
        for k, label in enumerate(classes)
    ]
    mean = [
        "mean",
        percent(by_name[main]["mIoU"]),
        percent(by_name[main]["mAcc"]),
        *(percent(by_name[name]["mIoU"]) for name in branches),
    ]
    return text_table(header, [*rows, mean], rule_before_last=True)
