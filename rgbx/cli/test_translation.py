"""What `tools/test.py` does with a checkpoint of image-to-image translation."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch

from rgbx.cli.errors import ConfigError
from rgbx.cli.test_options import config_identity, given_subsets
from rgbx.engine.grid_hook import GridHook
from rgbx.engine.runner import Runner
from rgbx.engine.segmentation_metric import text_table
from rgbx.engine.test_session import TranslationSession
from rgbx.engine.translation_result import write_translation_result

SEGMENTATION_ONLY = ("boundary", "calibration", "robustness", "report", "save_predictions")


def refuse_options(arguments: argparse.Namespace) -> None:
    """Refuses what has no meaning for translation.

    Raises:
        ConfigError: naming the option.
    """
    for name in SEGMENTATION_ONLY:
        if getattr(arguments, name):
            hint = "; tools/translate.py writes maps" if name == "save_predictions" else ""
            raise ConfigError(f"--{name.replace('_', '-')} is for segmentation, and this config translates{hint}")


def test_translation(arguments: argparse.Namespace, checkpoint: Path, runner: Runner) -> None:
    """Evaluates each subset of modalities and writes the table, a JSON file and grids of pictures."""
    session = TranslationSession(runner)
    hooks = [GridHook(count=arguments.draw_count, folder=arguments.draw)] if arguments.draw else []
    session.evaluate(given_subsets(arguments) or [tuple(runner.network.modalities)], hooks)
    if runner.rank:
        return
    logger, protocol = runner.logger, session.loop.predictor.protocol
    frames = f"{len(session.dataset)} frames" + (f" (1 in {arguments.every})" if arguments.every > 1 else "")
    network = runner.network
    logger.info(f"To {network.target}, protocol {protocol.name}, {frames}:\n{score_table(session.metrics)}")
    speed = session.speed
    logger.info(f"{speed['images_per_second']:.2f} images/s; scoring took {100 * speed['metric_share']:.1f} % of it")
    file = Path(arguments.json or Path(runner.log_dir, "results.json"))
    write_translation_result(
        file,
        session.evaluations,
        protocol=protocol.as_dict(),
        config=config_identity(arguments),
        checkpoint=checkpoint,
        dataset=session.whole_dataset,
        every=arguments.every,
        dtype=str(session.loop.predictor.dtype or torch.float32).removeprefix("torch."),
    )
    logger.info(f"Results are in {file}")
    if arguments.draw:
        logger.info(f"{hooks[0].drawn} rows of pictures are in {arguments.draw}")


test_translation.__test__ = False  # type: ignore[attr-defined]  # not pytest's


def score_table(results: dict[str, dict[str, float]]) -> str:
    """One row per subset and branch, the ensemble first; one column per score."""
    keys = list(dict.fromkeys(name.rpartition("/")[2] for scores in results.values() for name in scores))
    rows: list[list[Any]] = []
    for subset, scores in results.items():
        branches = list(dict.fromkeys(name.rpartition("/")[0] for name in scores))
        for branch in branches:
            cells = [scores.get(f"{branch}/{key}" if branch else key) for key in keys]
            rows.append([subset, branch or "ensemble", *("-" if x is None else f"{x:.4g}" for x in cells)])
    return text_table(["modalities", "image", *keys], rows, texts=2)
