"""mmengine's metric interface over the pure functions of `rgbx.metrics`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed
from mmengine.dist import all_reduce, get_world_size
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log
from torch import Tensor

from rgbx.metrics import confusion_matrix, scores
from rgbx.models.segmentor import ENSEMBLE


class SegmentationMetric(BaseMetric):
    """IoU and accuracy of the ensemble and of every branch, in percent.

    One confusion matrix per prediction is kept and summed over processes, so the scores are those
    of the whole dataset. Keys: `mIoU`, `mAcc` and `aAcc` of the ensemble, `rgb/mIoU` and so on of
    the branches. Protocol `rgbx`: labels at their own size, classes absent from truth and
    prediction are skipped.

    Args:
        table: print IoU and accuracy per class after each evaluation.
    """

    default_prefix = ""  # None would warn

    def __init__(self, table: bool = True) -> None:
        super().__init__()
        self.table = table
        self.confusions: dict[str, Tensor] = {}

    def process(self, data_batch: Any, data_samples: Sequence[dict[str, Any]]) -> None:
        """Counts one batch.

        Raises:
            ValueError: a sample without a label, or class ids out of range, naming the sample.
        """
        num_classes = len(self.dataset_meta["classes"])
        ignore_index = self.dataset_meta.get("ignore_index", 255)
        for sample in data_samples:
            if sample["label"] is None:
                raise ValueError(f"sample {sample['sample_id']!r} has no label to score against")
            for name, prediction in sample["prediction"].items():
                try:
                    counts = confusion_matrix(prediction, sample["label"], num_classes, ignore_index=ignore_index)
                except ValueError as error:
                    raise ValueError(f"{name} of sample {sample['sample_id']!r}: {error}") from None
                self.confusions[name] = self.confusions.get(name, 0) + counts.cpu()

    def evaluate(self, size: int) -> dict[str, float]:
        """Sums the counts over processes and scores them; `size` is not needed."""
        names = self._all_names()
        if not names:
            raise ValueError("nothing was evaluated: the dataset is empty")
        num_classes = len(self.dataset_meta["classes"])
        for name in names:  # in one order, and also where this process saw no sample
            counts = self.confusions.get(name, torch.zeros(num_classes, num_classes).long())
            all_reduce(counts, "sum")
            self.confusions[name] = counts
        metrics = self.compute_metrics([])
        self.confusions = {}
        return metrics

    def _all_names(self) -> list[str]:
        found: list[Any] = [None] * get_world_size()
        if get_world_size() > 1:
            torch.distributed.all_gather_object(found, list(self.confusions))
        else:
            found = [list(self.confusions)]
        names = dict.fromkeys(name for part in found for name in part)
        return [name for name in names if name != ENSEMBLE] + [ENSEMBLE] * (ENSEMBLE in names)

    def compute_metrics(self, results: list[Any]) -> dict[str, float]:
        """Scores in percent of the summed confusion matrices; `results` is not used."""
        by_name = {name: scores(counts) for name, counts in self.confusions.items()}
        if self.table:
            print_log("\n" + class_table(by_name, self.dataset_meta["classes"]), logger="current")
        metrics = {}
        for name in sorted(by_name, key=lambda name: name != ENSEMBLE):  # the ensemble first
            prefix = "" if name == ENSEMBLE else f"{name}/"
            for key in ("mIoU", "mAcc", "aAcc"):
                metrics[f"{prefix}{key}"] = 100 * by_name[name][key]
        return metrics


def percent(fraction: float) -> str:
    """A fraction in percent with one decimal, a dash for NaN."""
    return "-" if math.isnan(fraction) else f"{100 * fraction:.1f}"


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


def text_table(header: Sequence[str], rows: Sequence[Sequence[str]], *, rule_before_last: bool = False) -> str:
    """Aligned columns for a terminal: the first to the left, numbers to the right."""
    widths = [max(len(row[i]) for row in (header, *rows)) for i in range(len(header))]
    rule = "  ".join("-" * width for width in widths)

    def line(cells: Sequence[str]) -> str:
        first, *rest = zip(cells, widths, strict=True)
        return "  ".join([first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in rest)])

    lines = [line(header), rule, *(line(row) for row in rows)]
    if rule_before_last:
        lines.insert(-1, rule)
    return "\n".join(lines)
