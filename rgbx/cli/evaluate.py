"""Evaluates one checkpoint on the test split by a named protocol, also with modalities missing or damaged."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch.distributed
from mmengine.hooks import Hook

from rgbx.cli.errors import building, run_command
from rgbx.cli.evaluate_joint import refuse_joint_options, test_joint
from rgbx.cli.evaluate_options import build_parser, configure, given_subsets
from rgbx.cli.evaluate_output import write_outputs
from rgbx.cli.evaluate_translation import refuse_options, test_translation
from rgbx.cli.subsets import all_subsets
from rgbx.evaluate.picture_hook import PictureHook
from rgbx.evaluate.prediction_hook import PredictionHook
from rgbx.evaluate.session import TestSession
from rgbx.models import JointModel, Translator
from rgbx.models.checkpoint import find_result
from rgbx.train.distributed import finish_together
from rgbx.train.runner import Runner


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code: 0, 2 for a user's error, 130 for Ctrl-C."""
    return run_command(test, argv)


def test(argv: Sequence[str] | None = None) -> int:
    """Parses, builds, evaluates each subset of modalities, damages them where asked to, reports."""
    arguments = build_parser().parse_args(argv)
    checkpoint = find_result(arguments.checkpoint)
    config = configure(arguments, checkpoint.parent / "test")
    with building(arguments.config):
        runner = Runner.from_cfg(config)
        runner.prepare_testing()
    run = _test_segmentation
    if isinstance(runner.network, Translator):
        refuse_options(arguments)
        run = test_translation
    if isinstance(runner.network, JointModel):
        refuse_joint_options(arguments)
        run = test_joint
    runner.load_weights(str(checkpoint))
    try:
        run(arguments, checkpoint, runner)
        finish_together()
    finally:
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
    return 0


def _test_segmentation(arguments: argparse.Namespace, checkpoint: Path, runner: Runner) -> None:
    session = TestSession(runner)
    session.metric.boundary |= arguments.boundary
    session.metric.calibration |= arguments.calibration or bool(arguments.report)  # for its reliability diagram
    hooks = _hooks(arguments, session)
    modalities = tuple(runner.network.modalities)
    subsets = given_subsets(arguments) or (all_subsets(modalities) if arguments.robustness else [modalities])
    session.evaluate(subsets, hooks, by_subset=bool(arguments.modalities))
    robustness = session.measure_robustness(arguments.every) if arguments.robustness else None
    if runner.rank == 0:
        write_outputs(arguments, checkpoint, session, hooks, robustness)


def _hooks(arguments: argparse.Namespace, session: TestSession) -> list[Hook]:
    hooks: list[Hook] = [PictureHook(arguments.draw_count)] if arguments.draw else []
    if arguments.save_predictions:
        hooks.append(PredictionHook(arguments.save_predictions, session.dataset, overwrite=arguments.overwrite))
    return hooks
