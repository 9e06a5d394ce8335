"""What `tools/test.py` does with a checkpoint of image-to-image translation."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

import torch

from rgbx._text import text_table
from rgbx.cli.errors import ConfigError
from rgbx.cli.evaluate_options import config_identity, given_subsets
from rgbx.evaluate.grid_hook import GridHook
from rgbx.evaluate.session import SubsetSession, TranslationSession
from rgbx.evaluate.translation_result import write_translation_result
from rgbx.evaluate.translation_scores import TranslationEvaluation
from rgbx.train.runner import Runner

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
    speed, logger = session.speed, runner.logger
    logger.info(f"{speed['images_per_second']:.2f} images/s; scoring took {100 * speed['metric_share']:.1f} % of it")
    file = Path(arguments.json or Path(runner.log_dir, "results.json"))
    write_translation(arguments, checkpoint, session, session.evaluations, file)
    if arguments.draw:
        logger.info(f"{hooks[0].drawn} rows of pictures are in {arguments.draw}")


def write_translation(
    arguments: argparse.Namespace,
    checkpoint: Path,
    session: SubsetSession,
    evaluations: Mapping[str, TranslationEvaluation],
    file: Path,
) -> None:
    """Prints the scores and writes the result file of translation."""
    predictor, logger = session.loop.predictor, session.runner.logger
    result = write_translation_result(
        file,
        evaluations,
        protocol=predictor.protocol.as_dict(),
        config=config_identity(arguments),
        checkpoint=checkpoint,
        dataset=session.whole_dataset,
        every=arguments.every,
        speed=session.speed,
        dtype=str(predictor.dtype or torch.float32).removeprefix("torch."),
    )
    frames = f"{len(result['images'])} frames" + (f" (1 in {arguments.every})" if arguments.every > 1 else "")
    target = f"{result['target']['name']} ({result['target']['unit']})"
    logger.info(f"To {target}, protocol {predictor.protocol.name}, {frames}:\n{score_table(result['subsets'])}")
    logger.info(f"Results are in {file}")


test_translation.__test__ = False  # type: ignore[attr-defined]  # not pytest's


def score_table(subsets: Mapping[str, Mapping[str, Mapping[str, float]]]) -> str:
    """One row per subset and prediction; one column per score."""
    keys = list(dict.fromkeys(key for found in subsets.values() for scores in found.values() for key in scores))
    rows = [
        [subset, name, *("-" if scores.get(key) is None else f"{scores[key]:.4g}" for key in keys)]
        for subset, found in subsets.items()
        for name, scores in found.items()
    ]
    return text_table(["modalities", "image", *keys], rows, texts=2)
