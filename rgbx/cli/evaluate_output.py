"""What `tools/test.py` leaves behind: tables in the terminal, a result file, a report, pictures."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.hooks import Hook

from rgbx._text import percent, text_table
from rgbx.cli.evaluate_options import config_identity
from rgbx.evaluate.picture_hook import PictureHook
from rgbx.evaluate.prediction_hook import PredictionHook
from rgbx.evaluate.result_file import build_result, write_result
from rgbx.evaluate.session import TestSession
from rgbx.report import write_report
from rgbx.report.frames import write_frames
from rgbx.report.tables import robustness_table


def write_outputs(
    arguments: argparse.Namespace,
    checkpoint: Path,
    session: TestSession,
    hooks: Sequence[Hook],
    robustness: dict[str, Any] | None,
) -> None:
    """Prints the tables and writes the files that the arguments ask for."""
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
    result["robustness"] = robustness
    frames = f"{len(result['images'])} frames" + (f" (1 in {arguments.every})" if arguments.every > 1 else "")
    logger.info(f"Protocol {protocol.name}, {frames}, in percent:\n{subset_table(session.metrics)}")
    if robustness:
        logger.info(f"mIoU with one modality damaged, {frames}:\n{damage_table(result)}")
    speed = session.speed
    logger.info(f"{speed['images_per_second']:.2f} images/s; scoring took {100 * speed['metric_share']:.1f} % of it")
    file = Path(arguments.json or Path(session.runner.log_dir, "results.json"))
    write_result(result, file)
    logger.info(f"Results are in {file}")
    if arguments.report:
        logger.info(f"The report is {_write_report(result, session, arguments.report)}")
    _finish_hooks(arguments, session, hooks)


def _write_report(result: dict[str, Any], session: TestSession, folder: str) -> Path:
    """With pictures, whose paths start at the report."""
    file = Path(folder, "results.json")
    session.runner.network.use_modalities(session.headline)
    pictures = write_frames(result["images"], session.dataset, session.loop.predictor, folder)
    session.runner.network.use_modalities(None)
    write_result({**result, "pictures": pictures}, file)
    return write_report(file)


def _finish_hooks(arguments: argparse.Namespace, session: TestSession, hooks: Sequence[Hook]) -> None:
    logger = session.runner.logger
    for hook in hooks:
        if isinstance(hook, PictureHook):
            drawn = hook.draw(arguments.draw, session.whole_dataset.metainfo)
            logger.info(f"{len(drawn)} pictures are in {arguments.draw}")
        if isinstance(hook, PredictionHook):
            logger.info(f"{hook.count} predictions are in {arguments.save_predictions}")


def subset_table(results: dict[str, dict[str, float]]) -> str:
    """One row per subset: mIoU, mAcc and aAcc of the ensemble, in percent."""
    keys = ("mIoU", "mAcc", "aAcc")
    return text_table(
        ["modalities", *keys], [[name, *(f"{metrics[key]:.2f}" for key in keys)] for name, metrics in results.items()]
    )


def damage_table(result: dict[str, Any]) -> str:
    """One row per modality and corruption: mIoU at severities 1 to 5, their mean, and the relative drop, in percent.

    Args:
        result: a result file with `robustness`.
    """
    table, measured = robustness_table(result), result["robustness"]
    if table is None:
        return "no corruption suits these modalities"
    texts = ("modality", "corruption")
    rows = [[row[key] if key in texts else _cell(row[key]) for key in table.columns] for row in table.rows]
    header = [heading.lower() for heading in table.columns.values()]
    clean, mean = _cell(measured["clean"]["mIoU"]), _cell(measured["mean_corruption_mIoU"])
    return f"{text_table(header, rows, texts=len(texts))}\nclean {clean}, mean over corruptions {mean}"


def _cell(fraction: float | None) -> str:
    return "-" if fraction is None else percent(fraction)
