"""Evaluations of one checkpoint: by subset of its modalities, and with damaged ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mmengine.hooks import Hook

from rgbx.datasets import EveryKth
from rgbx.evaluate.grid_hook import GridHook
from rgbx.evaluate.image_counts import Evaluation
from rgbx.evaluate.loop import ProtocolTestLoop
from rgbx.evaluate.picture_hook import PictureHook, subset_title
from rgbx.evaluate.prediction_hook import PredictionHook
from rgbx.evaluate.robustness import measure_robustness
from rgbx.evaluate.segmentation_metric import SegmentationMetric
from rgbx.evaluate.translation_metric import TranslationMetric
from rgbx.evaluate.translation_scores import TranslationEvaluation
from rgbx.train.runner import Runner

Subset = tuple[str, ...]


class SubsetSession:
    """Runs of the test loop, subset after subset of a checkpoint's modalities.

    Args:
        runner: with weights loaded.

    Attributes:
        metrics: "rgb+depth" to what the evaluator found, in the order evaluated.
        speed: of the first evaluation.

    Raises:
        ValueError: the runner has another test loop.
    """

    def __init__(self, runner: Runner) -> None:
        self.runner = runner
        if not isinstance(runner.test_loop, ProtocolTestLoop):
            raise ValueError("tools/test.py needs a test_cfg without a type")
        self.loop: ProtocolTestLoop = runner.test_loop
        self.metrics: dict[str, dict[str, float]] = {}
        self.speed: dict[str, float] = {}

    @property
    def dataset(self) -> Any:
        """The test dataset as it is evaluated."""
        return self.loop.dataloader.dataset

    @property
    def whole_dataset(self) -> Any:
        """The test dataset, of which `--every` takes a part."""
        return self.dataset.dataset if isinstance(self.dataset, EveryKth) else self.dataset

    def evaluate(self, subsets: Sequence[Subset], hooks: Sequence[Hook] = (), *, by_subset: bool = True) -> None:
        """Runs the test loop once per subset of modalities.

        Args:
            subsets: names of modalities; each must be known to the model.
            hooks: of the test runs; pictures show each subset's ensemble if `by_subset`, otherwise all branches;
                predictions are saved, and grids of translations drawn, of the first subset.

        Raises:
            ValueError: a modality that the model or the dataset does not have.
        """
        network = self.runner.network
        for subset in subsets:  # so that a misspelt name is found before an hour of evaluation
            network.use_modalities(subset)
            self._check_offered(subset)
        for hook in hooks:
            self.runner.register_hook(hook)
        self.runner.call_hook("before_run")
        for subset in subsets:
            for hook in hooks:
                if isinstance(hook, PictureHook):
                    hook.title = subset_title(subset, network.modalities) if by_subset else None
                if isinstance(hook, (PredictionHook, GridHook)):
                    hook.active = not self.metrics
            self._evaluate_one(subset)
        network.use_modalities(None)
        self.runner.call_hook("after_run")

    def _check_offered(self, subset: Subset) -> None:
        """A map comes from the dataset or from one of its transforms."""
        missing = set(subset) - set(self.whole_dataset.metainfo["modalities"])
        if missing and not missing <= set(self.dataset[0]):
            raise ValueError(f"the test dataset does not have the modalities {sorted(missing)}")

    def _evaluate_one(self, subset: Subset) -> None:
        self.runner.network.use_modalities(subset)
        self.runner.logger.info(f"Modalities: {' + '.join(subset)}")
        self.metrics["+".join(subset)] = self.loop.run()
        self.speed = self.speed or self.loop.speed
        for key in [key for key in self.runner.message_hub.log_scalars if key.startswith("test/")]:
            del self.runner.message_hub.log_scalars[key]  # or the next subset's log line repeats them


class TranslationSession(SubsetSession):
    """Evaluations of a translation checkpoint, subset after subset of its modalities.

    Args:
        runner: with weights loaded.

    Attributes:
        evaluations: "rgb+depth" to the measurements behind the metrics.

    Raises:
        ValueError: the runner has no `TranslationMetric`.
    """

    def __init__(self, runner: Runner) -> None:
        super().__init__(runner)
        self.metric = _translation_metric(self.loop)
        self.evaluations: dict[str, TranslationEvaluation] = {}

    def _evaluate_one(self, subset: Subset) -> None:
        super()._evaluate_one(subset)
        if self.metric.evaluation is not None:
            self.evaluations["+".join(subset)] = self.metric.evaluation


class TestSession(SubsetSession):
    """Evaluations of a segmentation checkpoint, subset after subset of its modalities.

    Args:
        runner: with weights loaded.

    Attributes:
        evaluations: "rgb+depth" to the counts behind the metrics, which are in percent.

    Raises:
        ValueError: the runner's test loop does not count images.
    """

    __test__ = False  # not pytest's

    def __init__(self, runner: Runner) -> None:
        super().__init__(runner)
        if not self.loop.metrics:
            raise ValueError("tools/test.py needs a test_evaluator of SegmentationMetric and a test_cfg without a type")
        self.metric: SegmentationMetric = self.loop.metrics[0]
        self.evaluations: dict[str, Evaluation] = {}

    @property
    def headline(self) -> Subset:
        """The subset that was evaluated first."""
        return tuple(next(iter(self.evaluations)).split("+"))

    def _evaluate_one(self, subset: Subset) -> None:
        super()._evaluate_one(subset)
        if self.metric.evaluation is not None:
            self.evaluations["+".join(subset)] = self.metric.evaluation

    def measure_robustness(self, every: int) -> dict[str, Any]:
        """The first subset with one of its modalities damaged at a time; see `rgbx.evaluate.robustness`."""
        self.runner.network.use_modalities(self.headline)
        clean = next(iter(self.evaluations.values()))
        found = measure_robustness(self.loop, self.headline, clean=clean, every=every)
        self.runner.network.use_modalities(None)
        return found


class JointSession(TestSession):
    """Evaluations of a checkpoint with a segmentation and a translation head.

    Attributes:
        translations: "rgb+depth" to the measurements of the translation.

    Raises:
        ValueError: the runner lacks one of the two metrics.
    """

    def __init__(self, runner: Runner) -> None:
        super().__init__(runner)
        self.translation_metric = _translation_metric(self.loop)
        self.translations: dict[str, TranslationEvaluation] = {}

    def _evaluate_one(self, subset: Subset) -> None:
        super()._evaluate_one(subset)
        if self.translation_metric.evaluation is not None:
            self.translations["+".join(subset)] = self.translation_metric.evaluation


def _translation_metric(loop: ProtocolTestLoop) -> TranslationMetric:
    metrics = [metric for metric in loop.evaluator.metrics if isinstance(metric, TranslationMetric)]
    if not metrics:
        raise ValueError("tools/test.py needs a test_evaluator of TranslationMetric")
    return metrics[0]
