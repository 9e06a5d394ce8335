"""The segmentation that a joint model predicts beside its translation, scored as any other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rgbx.evaluate.segmentation_metric import SegmentationMetric


class JointSegmentationMetric(SegmentationMetric):
    """`SegmentationMetric` on what samples hold under ``segmentation``; the translation has its own metric."""

    def process(self, data_batch: Any, data_samples: Sequence[dict[str, Any]]) -> None:
        """Counts the class ids of one batch."""
        super().process(data_batch, [sample["segmentation"] for sample in data_samples])
