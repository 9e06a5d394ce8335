"""Trains what a config describes, or a folder by the config that is planned for it."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch.distributed

from rgbx._files import read_json
from rgbx._runs import find_last, find_result
from rgbx.cli.arguments import CONFIG, RECORD, work_dir_of
from rgbx.cli.config import Config, check_roots, load_config, without_initial_weights
from rgbx.cli.derived import derive_from_checkpoint, derive_from_data
from rgbx.cli.errors import INTERRUPTED, ConfigError, building, command, leaving_nothing
from rgbx.cli.init import write_plan
from rgbx.cli.plan import check_training
from rgbx.evaluate.metric import headlines
from rgbx.profile.measure import measure_complexity
from rgbx.train.curves import plot_losses
from rgbx.train.distributed import finish_together
from rgbx.train.runner import Runner


@command("train")
def main(arguments: argparse.Namespace) -> int:
    """Parses, builds, runs; exit code 0, 2 for a user's error, 130 for Ctrl-C."""
    if Path(arguments.config).is_dir():
        arguments.config = str(_config_of(arguments))
    config = configure(arguments)
    warnings = check_training(config, arguments.config)
    runner: Runner | None = None
    try:
        with leaving_nothing(config.work_dir, unless=lambda: runner is not None and runner.began):
            with building(arguments.config):
                runner = Runner.from_cfg(config)
                runner.prepare_training()
            _train(runner, warnings)
        finish_together()
    except KeyboardInterrupt:
        print(f"\n{resume_hint(arguments.command_line, config.work_dir)}", file=sys.stderr)
        return INTERRUPTED
    finally:
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
    return 0


def _config_of(arguments: argparse.Namespace) -> Path:
    """The config of a dataset's folder, planned where there is none yet.

    Raises:
        ConfigError: the config is another folder's, or several processes would plan.
    """
    config = work_dir_of(arguments.config, arguments.work_dir) / CONFIG
    if config.is_file() and not arguments.overwrite:
        record, own = config.with_name(RECORD), str(Path(arguments.config).resolve())
        planned: Any = read_json(record) if record.is_file() else {}
        if not isinstance(planned, dict):
            raise ConfigError(f"{record} is no plan; --overwrite plans anew, --work-dir DIR trains elsewhere")
        if planned.get("folder", own) != own:
            raise ConfigError(
                f"{config} was planned for {planned['folder']}: --work-dir DIR trains elsewhere, --overwrite plans anew"
            )
        print(f"Training by {config}, which was planned before; --overwrite plans anew.")
        return config
    if arguments.launcher == "pytorch":
        raise ConfigError(f"{config} is not there yet: plan it first, by rgbx init {arguments.config}")
    return write_plan(argparse.Namespace(**vars(arguments), folder=arguments.config))


def _train(runner: Runner, warnings: Sequence[str]) -> None:
    for warning in warnings:
        runner.logger.warning(warning)
    if runner.rank == 0:
        runner.logger.info(describe_model(runner))
    runner.train()
    if runner.rank == 0 and runner.keeps_scalars:
        _plot(runner)


def _plot(runner: Runner) -> None:
    """Writes ``curves.png`` of the loss and each head's first score."""
    dataset = runner.train_dataloader.dataset
    scores = headlines(runner.network.tasks, dataset.metainfo)
    plot_losses(runner.work_dir, Path(runner.work_dir, "curves.png"), scores)


def describe_model(runner: Runner) -> str:
    """Parameters and operations of the model, at the size of the training samples, and the weights it starts from."""
    model = runner.network
    sample = runner.train_dataloader.dataset[0]
    size = next(sample[name].shape[-2:] for name in model.modalities if name in sample)
    description = f"{type(model).__name__}: {measure_complexity(model, tuple(size))}"
    weights = getattr(getattr(model, "backbone", None), "pretrained_summary", None)
    return description if weights is None else f"{description}\n{weights}"


def configure(arguments: argparse.Namespace) -> Config:
    """The config with everything that the command line says about it.

    Raises:
        ConfigError: arguments that contradict each other.
    """
    config = load_config(arguments.config, options=arguments.cfg_options, data_root=arguments.data_root)
    config.work_dir = str(
        arguments.work_dir or config.get("work_dir") or Path("work_dirs", Path(arguments.config).stem)
    )
    use_launcher(config, arguments)
    check_roots(config)
    randomness = dict(config.get("randomness") or {})
    if arguments.seed is not None:
        randomness["seed"] = arguments.seed
    if arguments.deterministic:
        randomness["deterministic"] = True
    config.randomness = {"seed": 0, **randomness}
    if arguments.load_from:
        config.load_from = str(find_result(arguments.load_from))
    if arguments.resume is not None or config.get("resume"):
        _resume(config, arguments.resume or "auto")
    if config.get("resume") and isinstance(config.model, dict):  # a run keeps the figures that it began with
        derive_from_checkpoint(config.model, config.load_from, trust=config.trust_checkpoint)
    if told := derive_from_data(config):
        print(told)
    return config


def _resume(config: Config, source: str) -> None:
    """Notes what to resume; "auto" with nothing there starts as without it."""
    folder = config.work_dir if source == "auto" else source
    found = find_last(folder) if Path(folder).is_dir() else Path(folder) if source != "auto" else None
    config.resume = found is not None
    if found is None:
        print(f"Nothing to resume in {config.work_dir}: starting at epoch 1.")
    else:
        config.load_from = str(found)
        without_initial_weights(config)


def use_launcher(config: Config, arguments: argparse.Namespace) -> None:
    """Notes the launcher and the trust in the config.

    Raises:
        ConfigError: torchrun is asked for but did not start this process.
    """
    if arguments.launcher == "pytorch" and "RANK" not in os.environ:
        raise ConfigError(
            "--launcher pytorch needs torchrun: torchrun --nproc-per-node 2 -m rgbx train CONFIG --launcher pytorch"
        )
    config.launcher = arguments.launcher
    config.trust_checkpoint = bool(arguments.trust or config.get("trust_checkpoint", False))


def resume_hint(command_line: Sequence[str], work_dir: str) -> str:
    """What to do after an interruption: the same command, with --resume."""
    last = find_last(work_dir)
    if last is None:
        return "Interrupted before the first epoch was saved: start again with the same command."
    words = [*_without_resume(command_line), "--resume"]
    if "RANK" in os.environ:
        started = words[1:] if words[0] == "python" else words
        words = ["torchrun", "--nproc-per-node", os.environ.get("LOCAL_WORLD_SIZE", "1"), *started]
    return f"Interrupted; {last} is complete. Resume with: {shlex.join(words)}"


def _without_resume(words: Sequence[str]) -> list[str]:
    """The words without --resume, which argparse also takes abbreviated, and its value."""
    kept: list[str] = []
    after_flag = False
    for word in words:
        name = word.partition("=")[0]
        is_flag = len(name) > 2 and "--resume".startswith(name)
        if not is_flag and not (after_flag and not word.startswith("-")):
            kept.append(word)
        after_flag = is_flag and "=" not in word
    return kept
