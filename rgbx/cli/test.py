"""Evaluates one checkpoint on the test split by a named protocol, also with some of its modalities missing."""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch.distributed
from mmengine.config import Config
from mmengine.hooks import Hook

from rgbx.cli.config import add_config_arguments, load_config, without_initial_weights
from rgbx.cli.errors import ConfigError, building, run_command
from rgbx.cli.train import use_launcher
from rgbx.datasets import EveryKth
from rgbx.datasets.class_weights import equal_class_weights
from rgbx.engine.checkpoint import find_result
from rgbx.engine.image_counts import Evaluation
from rgbx.engine.picture_hook import PictureHook, subset_title
from rgbx.engine.prediction_hook import PredictionHook
from rgbx.engine.report import write_report
from rgbx.engine.report.frames import write_frames
from rgbx.engine.result_file import build_result, write_result
from rgbx.engine.runner import Runner
from rgbx.engine.segmentation_metric import SegmentationMetric, text_table
from rgbx.engine.test_loop import ProtocolTestLoop
from rgbx.models.protocol import PROTOCOLS, find_protocol


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code: 0, 2 for a user's error, 130 for Ctrl-C."""
    return run_command(test, argv)


def test(argv: Sequence[str] | None = None) -> int:
    """Parses, builds, evaluates each subset of modalities, reports."""
    arguments = _parser().parse_args(argv)
    checkpoint = find_result(arguments.checkpoint)
    config = configure(arguments, checkpoint.parent / "test")
    with building(arguments.config):
        runner = Runner.from_cfg(config)
        runner.prepare_testing()
    runner.load_weights(str(checkpoint))
    subsets = [tuple(text.split("+")) for text in arguments.modalities] or [tuple(runner.network.modalities)]
    session = TestSession(runner)
    session.metric.boundary |= arguments.boundary
    session.metric.calibration |= arguments.calibration or bool(arguments.report)  # for its reliability diagram
    hooks = _hooks(arguments, runner)
    try:
        session.evaluate(subsets, hooks, by_subset=bool(arguments.modalities))
        if runner.rank == 0:
            _report(arguments, checkpoint, session, hooks)
    finally:
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
    return 0


def configure(arguments: argparse.Namespace, work_dir: Path) -> Config:
    """The config for a test run: no pretrained weights, no average of weights, no resuming.

    Raises:
        ConfigError: no test data, or arguments that cannot be followed.
    """
    config = load_config(arguments.config, options=arguments.cfg_options, data_root=arguments.data_root)
    if config.get("test_dataloader") is None:
        raise ConfigError(f"{arguments.config} has no test_dataloader")
    if arguments.every < 1:
        raise ConfigError(f"--every must be >= 1, found {arguments.every}")
    config.work_dir = str(arguments.work_dir or work_dir)
    use_launcher(config, arguments)
    without_initial_weights(config)
    if isinstance(config.model, dict):
        equal_class_weights(config.model)  # the checkpoint holds those that training counted
    config.load_from, config.resume, config.ema, config.visualizer = None, False, False, None
    if arguments.every > 1:
        whole = config.test_dataloader["dataset"]
        config.test_dataloader = {
            **config.test_dataloader,
            "dataset": dict(type=EveryKth, dataset=whole, every=arguments.every),
        }
    given = {"protocol": arguments.protocol, "dtype": arguments.dtype}
    config.test_cfg = {**(config.get("test_cfg") or {}), **{key: value for key, value in given.items() if value}}
    find_protocol(config.test_cfg.get("protocol", "rgbx"))
    return config


class TestSession:
    """Evaluations of one checkpoint, subset after subset of its modalities.

    Attributes:
        metrics: "rgb+depth" to the metrics in percent, in the order evaluated.
        evaluations: the same keys to the counts behind them.
        speed: of the first evaluation.
    """

    __test__ = False  # not pytest's

    def __init__(self, runner: Runner) -> None:
        self.runner = runner
        loop = runner.test_loop
        if not isinstance(loop, ProtocolTestLoop) or not loop.metrics:
            raise ConfigError(
                "tools/test.py needs a test_evaluator of SegmentationMetric and a test_cfg without a type"
            )
        self.loop: ProtocolTestLoop = loop
        self.metric: SegmentationMetric = loop.metrics[0]
        self.metrics: dict[str, dict[str, float]] = {}
        self.evaluations: dict[str, Evaluation] = {}
        self.speed: dict[str, float] = {}

    @property
    def whole_dataset(self) -> Any:
        """The test dataset, of which `--every` takes a part."""
        dataset = self.loop.dataloader.dataset
        return dataset.dataset if isinstance(dataset, EveryKth) else dataset

    def evaluate(
        self, subsets: Sequence[tuple[str, ...]], hooks: Sequence[Hook] = (), *, by_subset: bool = True
    ) -> None:
        """Runs the test loop once per subset of modalities.

        Args:
            subsets: names of modalities; each must be known to the model.
            hooks: of the test runs; pictures show each subset's ensemble if `by_subset`, otherwise all branches, and
                predictions are saved of the first subset.

        Raises:
            ValueError: a modality that the model or the dataset does not have.
        """
        network = self.runner.network
        for subset in subsets:  # so that a misspelt name is found before an hour of evaluation
            network.use_modalities(subset)
            missing = set(subset) - set(self.whole_dataset.metainfo["modalities"])
            if missing:
                raise ValueError(f"the test dataset does not have the modalities {sorted(missing)}")
        for hook in hooks:
            self.runner.register_hook(hook)
        self.runner.call_hook("before_run")
        for subset in subsets:
            for hook in hooks:
                if isinstance(hook, PictureHook):
                    hook.title = subset_title(subset, network.modalities) if by_subset else None
                if isinstance(hook, PredictionHook):
                    hook.active = not self.metrics
            self._evaluate_one(subset)
        network.use_modalities(None)
        self.runner.call_hook("after_run")

    def _evaluate_one(self, subset: tuple[str, ...]) -> None:
        self.runner.network.use_modalities(subset)
        self.runner.logger.info(f"Modalities: {' + '.join(subset)}")
        self.metrics["+".join(subset)] = self.loop.run()
        if self.metric.evaluation is not None:
            self.evaluations["+".join(subset)] = self.metric.evaluation
        self.speed = self.speed or self.loop.speed
        for key in [key for key in self.runner.message_hub.log_scalars if key.startswith("test/")]:
            del self.runner.message_hub.log_scalars[key]  # or the next subset's log line repeats them


def config_identity(arguments: argparse.Namespace) -> dict[str, str]:
    """The config's file, and the SHA-256 of what it resolves to, wherever its data and results lie."""
    resolved = load_config(arguments.config, options=arguments.cfg_options).pretty_text
    return {"file": str(arguments.config), "sha256": hashlib.sha256(resolved.encode()).hexdigest()}


def _hooks(arguments: argparse.Namespace, runner: Runner) -> list[Hook]:
    hooks: list[Hook] = [PictureHook(arguments.draw_count)] if arguments.draw else []
    if arguments.save_predictions:
        dataset = runner.test_loop.dataloader.dataset
        hooks.append(PredictionHook(arguments.save_predictions, dataset, overwrite=arguments.overwrite))
    return hooks


def subset_table(results: dict[str, dict[str, float]]) -> str:
    """One row per subset: mIoU, mAcc and aAcc of the ensemble, in percent."""
    keys = ("mIoU", "mAcc", "aAcc")
    return text_table(
        ["modalities", *keys], [[name, *(f"{metrics[key]:.2f}" for key in keys)] for name, metrics in results.items()]
    )


def _report(arguments: argparse.Namespace, checkpoint: Path, session: TestSession, hooks: Sequence[Hook]) -> None:
    logger, protocol = session.runner.logger, session.loop.predictor.protocol
    result = build_result(
        session.evaluations,
        protocol=protocol,
        config=config_identity(arguments),
        checkpoint=checkpoint,
        dataset=session.whole_dataset,
        every=arguments.every,
        speed=session.speed,
        dtype=str(session.loop.predictor.dtype or torch.float32).removeprefix("torch."),
    )
    part = f" (1 in {arguments.every})" if arguments.every > 1 else ""
    images = len(result["images"])
    logger.info(f"Protocol {protocol.name}, {images} frames{part}, in percent:\n{subset_table(session.metrics)}")
    speed = session.speed
    logger.info(f"{speed['images_per_second']:.2f} images/s; scoring took {100 * speed['metric_share']:.1f} % of it")
    file = Path(arguments.json or Path(session.runner.log_dir, "results.json"))
    write_result(result, file)
    logger.info(f"Results are in {file}")
    if arguments.report:
        logger.info(f"The report is {_write_report(result, session, Path(arguments.report))}")
    for hook in hooks:
        if isinstance(hook, PictureHook):
            drawn = hook.draw(arguments.draw, session.whole_dataset.metainfo)
            logger.info(f"{len(drawn)} pictures are in {arguments.draw}")
        if isinstance(hook, PredictionHook):
            logger.info(f"{hook.count} predictions are in {arguments.save_predictions}")


def _write_report(result: dict[str, Any], session: TestSession, folder: Path) -> Path:
    """The report, its pictures predicted once more under the first subset, whose scores chose them."""
    session.runner.network.use_modalities(tuple(next(iter(result["subsets"])).split("+")))
    pictures = write_frames(result["images"], session.loop.dataloader.dataset, session.loop.predictor, folder)
    session.runner.network.use_modalities(None)
    write_result({**result, "pictures": pictures}, folder / "results.json")
    return write_report(folder / "results.json")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Evaluate a checkpoint on the test split.")
    add_config_arguments(parser)
    parser.add_argument(
        "checkpoint",
        help="a checkpoint of the config's model, or a work directory: its best checkpoint, or else its last",
    )
    parser.add_argument(
        "--modalities",
        nargs="+",
        default=[],
        metavar="A+B",
        help="subsets to evaluate in turn, such as: rgb depth rgb+depth (all)",
    )
    parser.add_argument(
        "--protocol",
        choices=sorted(PROTOCOLS),
        help="rules of the evaluation (the config's test_cfg.protocol, or rgbx)",
    )
    parser.add_argument("--every", type=int, default=1, metavar="K", help="only every Kth frame of the test split (1)")
    parser.add_argument("--dtype", choices=("bfloat16", "float16", "auto"), help="mixed precision (off)")
    parser.add_argument("--boundary", action="store_true", help="also score the boundaries of the ensemble")
    parser.add_argument("--calibration", action="store_true", help="also score the confidence of the ensemble")
    parser.add_argument("--report", metavar="DIR", help="write report.html, results.json and CSV files there")
    parser.add_argument("--draw", metavar="DIR", help="write pictures of some samples there")
    parser.add_argument("--draw-count", type=int, default=4, metavar="N", help="how many (4)")
    parser.add_argument(
        "--json", metavar="FILE", help="write the result file there (results.json in the run's log directory)"
    )
    parser.add_argument(
        "--save-predictions",
        metavar="DIR",
        help="write the ensemble's labels under the first subset there, as PNGs in the dataset's own ids",
    )
    parser.add_argument("--overwrite", action="store_true", help="let --save-predictions replace files")
    return parser
