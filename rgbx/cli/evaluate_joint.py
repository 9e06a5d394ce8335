"""What `tools/test.py` does with a checkpoint of segmentation and translation on one backbone."""

from __future__ import annotations

import argparse
from pathlib import Path

from rgbx.cli.errors import ConfigError
from rgbx.cli.evaluate_options import given_subsets
from rgbx.cli.evaluate_output import write_outputs
from rgbx.cli.evaluate_translation import SEGMENTATION_ONLY, write_translation
from rgbx.evaluate.session import JointSession
from rgbx.train.runner import Runner


def refuse_joint_options(arguments: argparse.Namespace) -> None:
    """Refuses what is for models of one head.

    Raises:
        ConfigError: naming the option.
    """
    for name in (*SEGMENTATION_ONLY, "draw"):
        if getattr(arguments, name):
            raise ConfigError(f"--{name.replace('_', '-')} is for models of one head, and this config has two")


def test_joint(arguments: argparse.Namespace, checkpoint: Path, runner: Runner) -> None:
    """Evaluates both heads on each subset of modalities; the translation's result file lies beside the other."""
    session = JointSession(runner)
    session.evaluate(given_subsets(arguments) or [tuple(runner.network.modalities)])
    if runner.rank:
        return
    write_outputs(arguments, checkpoint, session, [], None)
    file = Path(arguments.json or Path(runner.log_dir, "results.json"))
    write_translation(
        arguments, checkpoint, session, session.translations, file.with_name(f"{file.stem}_translation.json")
    )


test_joint.__test__ = False  # type: ignore[attr-defined]  # not pytest's
