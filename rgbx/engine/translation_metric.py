"""mmengine's metric interface for translation: errors in the target's own unit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from mmengine.evaluator import BaseMetric

from rgbx.models.predictor import ENSEMBLE


class TranslationMetric(BaseMetric):
    """Mean absolute error of the ensemble (`MAE`) and of every branch (`rgb/MAE`), over the measured pixels of all.

    Args:
        table: not used yet.
        collect_device: where processes gather.
    """

    def __init__(self, table: bool = True, collect_device: str = "cpu") -> None:
        super().__init__(collect_device=collect_device)
        self.table = table

    def process(self, data_batch: Any, data_samples: Sequence[dict[str, Any]]) -> None:
        """Adds up the absolute errors of one batch."""
        for sample in data_samples:
            ((name, truth),) = sample["target"].items()
            valid = sample.get("valid", {}).get(name, torch.ones_like(truth[:1], dtype=torch.bool)).expand_as(truth)
            errors = {
                branch: float((image.double() - truth.double()).abs()[valid].sum())
                for branch, image in sample["prediction"].items()
            }
            self.results.append({"count": int(valid.sum()), "errors": errors})

    def compute_metrics(self, results: list[dict[str, Any]]) -> dict[str, float]:
        """The means over all images."""
        count = max(sum(item["count"] for item in results), 1)
        means = {b: sum(item["errors"][b] for item in results) / count for b in results[0]["errors"]}
        return {"MAE": means.pop(ENSEMBLE), **{f"{branch}/MAE": value for branch, value in means.items()}}
