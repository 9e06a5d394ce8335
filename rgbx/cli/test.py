"""Evaluates one checkpoint on the test split, also with some of its modalities missing."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch.distributed
from mmengine.config import Config

from rgbx.cli.config import add_config_arguments, load_config, without_initial_weights
from rgbx.cli.errors import ConfigError, building, run_command
from rgbx.cli.train import use_launcher
from rgbx.datasets.class_weights import equal_class_weights
from rgbx.engine.checkpoint import find_result
from rgbx.engine.picture_hook import PictureHook, subset_title
from rgbx.engine.runner import Runner
from rgbx.engine.segmentation_metric import text_table

PROTOCOL = "rgbx"


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
    known = tuple(runner.network.modalities)
    subsets = [tuple(text.split("+")) for text in arguments.modalities] or [known]
    pictures = PictureHook(arguments.draw_count) if arguments.draw else None
    try:
        results = evaluate_subsets(runner, subsets, pictures, by_subset=bool(arguments.modalities))
    finally:
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
    if runner.rank == 0:
        _report(arguments, checkpoint, runner, results, pictures)
    return 0


def configure(arguments: argparse.Namespace, work_dir: Path) -> Config:
    """The config for a test run: no pretrained weights, no average of weights, no resuming."""
    config = load_config(arguments.config, options=arguments.cfg_options, data_root=arguments.data_root)
    if config.get("test_dataloader") is None:
        raise ConfigError(f"{arguments.config} has no test_dataloader")
    config.work_dir = str(arguments.work_dir or work_dir)
    use_launcher(config, arguments)
    without_initial_weights(config)
    if isinstance(config.model, dict):
        equal_class_weights(config.model)  # the checkpoint holds those that training counted
    config.load_from, config.resume, config.ema, config.visualizer = None, False, False, None
    return config


def evaluate_subsets(
    runner: Runner, subsets: Sequence[tuple[str, ...]], pictures: PictureHook | None = None, *, by_subset: bool = True
) -> dict[str, dict[str, float]]:
    """Runs the test loop once per subset of modalities.

    Args:
        runner: with the weights loaded.
        subsets: names of modalities; each must be known to the model.
        pictures: collects predictions: of each subset's ensemble if `by_subset`, otherwise of all
            branches.

    Returns:
        "rgb+depth" -> metrics, in the order given.

    Raises:
        ValueError: a modality that the model or the dataset does not have.
    """
    for subset in subsets:  # so that a misspelt name is found before an hour of evaluation
        runner.network.use_modalities(subset)
        missing = set(subset) - set(runner.test_dataloader.dataset.metainfo["modalities"])
        if missing:
            raise ValueError(f"the test dataset does not have the modalities {sorted(missing)}")
    if pictures is not None:
        runner.register_hook(pictures)
    results = {}
    runner.call_hook("before_run")
    for subset in subsets:
        runner.network.use_modalities(subset)
        runner.logger.info(f"Modalities: {' + '.join(subset)}")
        if pictures is not None:
            pictures.title = subset_title(subset, runner.network.modalities) if by_subset else None
        results["+".join(subset)] = runner.test_loop.run()
        for key in [key for key in runner.message_hub.log_scalars if key.startswith("test/")]:
            del runner.message_hub.log_scalars[key]  # or the next subset's log line repeats them
    runner.network.use_modalities(None)
    runner.call_hook("after_run")
    return results


def subset_table(results: dict[str, dict[str, float]]) -> str:
    """One row per subset: mIoU, mAcc and aAcc of the ensemble, in percent."""
    keys = ("mIoU", "mAcc", "aAcc")
    return text_table(
        ["modalities", *keys], [[name, *(f"{metrics[key]:.2f}" for key in keys)] for name, metrics in results.items()]
    )


def _report(
    arguments: argparse.Namespace,
    checkpoint: Path,
    runner: Runner,
    results: dict[str, dict[str, float]],
    pictures: PictureHook | None,
) -> None:
    runner.logger.info(f"Protocol {PROTOCOL}, in percent:\n{subset_table(results)}")
    if arguments.json:
        clean: dict[str, Any] = {
            name: {key: None if math.isnan(value) else value for key, value in metrics.items()}
            for name, metrics in results.items()
        }
        report = {
            "config": str(arguments.config),
            "checkpoint": str(checkpoint),
            "protocol": PROTOCOL,
            "unit": "percent",
            "subsets": clean,
        }
        Path(arguments.json).parent.mkdir(parents=True, exist_ok=True)
        Path(arguments.json).write_text(json.dumps(report, indent=2) + "\n")
    if pictures is not None:
        drawn = pictures.draw(arguments.draw, runner.test_dataloader.dataset.metainfo)
        runner.logger.info(f"{len(drawn)} pictures are in {arguments.draw}")


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
    parser.add_argument("--draw", metavar="DIR", help="write pictures of some samples there")
    parser.add_argument("--draw-count", type=int, default=4, metavar="N", help="how many (4)")
    parser.add_argument("--json", metavar="FILE", help="write the scores there")
    return parser
