"""Testing by the rules of a protocol, with a clock."""

from __future__ import annotations

import copy
import time
import typing
from collections.abc import Sized
from typing import Any

import mmengine.runner
import torch
from torch.utils.data import DataLoader

from rgbx.evaluate.image_counts import Evaluation
from rgbx.evaluate.segmentation_metric import SegmentationMetric
from rgbx.models.precision import autocast_dtype
from rgbx.models.predictor import Predictor
from rgbx.models.protocol import Protocol


class ProtocolTestLoop(mmengine.runner.TestLoop):
    """mmengine's test loop, predicting through `Predictor`.

    After a run, `speed` holds `images_per_second`, of this process from the first batch's loading to the scores, and
    `metric_share`, the part of that time spent on counting and scoring.

    Args:
        runner, dataloader, evaluator: as in mmengine.
        protocol: a name of `rgbx.models.PROTOCOLS`, or a `Protocol`; for translation of `TRANSLATION_PROTOCOLS`.
        dtype: of autocast, see `autocast_dtype`.
    """

    def __init__(
        self, runner: Any, dataloader: Any, evaluator: Any, *, protocol: str | Protocol = "rgbx", dtype: Any = None
    ) -> None:
        super().__init__(runner, dataloader, evaluator)
        device = next(runner.network.parameters()).device.type
        make_predictor = getattr(runner.network, "predictor_class", Predictor)
        self.predictor = make_predictor(runner.network, protocol, dtype=autocast_dtype(dtype, device))
        self.metrics = [metric for metric in self.evaluator.metrics if isinstance(metric, SegmentationMetric)]
        for metric in self.metrics:
            metric.protocol = self.predictor.protocol
        self.speed: dict[str, float] = {}
        self._scoring = 0.0

    def run(self) -> dict[str, float]:
        """Evaluates the whole dataset once."""
        self.runner.call_hook("before_test")
        self.runner.call_hook("before_test_epoch")
        self.runner.model.eval()
        start, self._scoring, count = self._now(), 0.0, 0
        for index, batch in enumerate(self.dataloader):
            count += self.run_iter(index, batch)
        before = self._now()
        metrics = self.evaluator.evaluate(len(self.dataloader.dataset))
        end = self._now()
        self._scoring += end - before
        self.speed = {"images_per_second": count / (end - start), "metric_share": self._scoring / (end - start)}
        self.runner.call_hook("after_test_epoch", metrics=metrics)
        self.runner.call_hook("after_test")
        return metrics

    def run_iter(self, idx: int, data_batch: Any) -> int:
        """Predicts and counts one batch; returns its number of images."""
        self.runner.call_hook("before_test_iter", batch_idx=idx, data_batch=data_batch)
        keep = any(metric.calibration for metric in self.metrics)
        outputs = self.predictor(data_batch, **({"keep_probability": True} if keep else {}))
        before = self._now()
        self.evaluator.process(data_samples=outputs, data_batch=data_batch)
        self._scoring += self._now() - before
        self.runner.call_hook("after_test_iter", batch_idx=idx, data_batch=data_batch, outputs=outputs)
        return len(outputs)

    def measure(self, dataloader: DataLoader[Any]) -> Evaluation:
        """Counts another loader's samples without hooks: nothing is printed, drawn or saved, nor boundaries counted.

        Raises:
            ValueError: no evaluator is a SegmentationMetric.
        """
        if not self.metrics:
            raise ValueError("test_evaluator has no SegmentationMetric")
        metric = copy.copy(self.metrics[0])
        metric.table = metric.boundary = metric.calibration = False
        metric.images = []
        self.runner.model.eval()
        for batch in dataloader:
            metric.process(batch, self.predictor(batch))
        metric.evaluate(len(typing.cast(Sized, dataloader.dataset)))
        return typing.cast(Evaluation, metric.evaluation)

    @staticmethod
    def _now() -> float:
        if torch.cuda.is_available():  # kernels run on after their call returns
            torch.cuda.synchronize()
        return time.perf_counter()
