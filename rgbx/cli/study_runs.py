"""A study file made into runs: every config of the grid resolved, checked and identified."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from rgbx._text import nearest
from rgbx._types import Batch, Options
from rgbx.cli.arguments import existing_study
from rgbx.cli.config import OF_WORKERS, Config, load_config, read_values
from rgbx.cli.derived import derive_from_data
from rgbx.cli.errors import ConfigError, sentence
from rgbx.cli.evaluate import config_sha256
from rgbx.cli.model import config_model
from rgbx.cli.options import parse_options
from rgbx.datasets.sample import build_from
from rgbx.models import MultimodalModel
from rgbx.objectives import objective_text
from rgbx.study import Study, declare_study
from rgbx.study.costs import UNMEASURED, Subject
from rgbx.study.declaration import Overrides, as_options, merge_overrides
from rgbx.study.runs import Run
from rgbx.study.shown import Shown, choose_scores
from rgbx.train.flat import flatten
from rgbx.train.runner import Runner


def read_study(path: str | Path) -> Study:
    """Reads and checks a study file."""
    path = existing_study(path)
    return declare_study(read_values(path), path)


def shared_overrides(study: Study, arguments: argparse.Namespace) -> Overrides:
    """What every run changes in the config: the budget, then --cfg-options, then --dtype."""
    layers = [study.budget, parse_options(arguments.cfg_options)]
    if arguments.dtype:
        dtype = None if arguments.dtype == "float32" else arguments.dtype
        layers.append({"optim_wrapper.dtype": dtype, "test_cfg.dtype": dtype})
    return merge_overrides(*layers)


def method_overrides(study: Study, method: str, arguments: argparse.Namespace) -> Overrides:
    """What every run of a method changes; the method's own values have the last word."""
    return merge_overrides(shared_overrides(study, arguments), study.methods[method])


def resolve_runs(study: Study, work_dir: Path, arguments: argparse.Namespace) -> list[Run]:
    """All runs of the grid, in the order in which they are carried out.

    Every method's model is laid out once, without memory, so that a misspelt field shows before hours of training.

    Raises:
        ConfigError: an override that nothing would read, or a model that cannot be built; the message names the method.
    """
    configs = {method: method_config(study, method, arguments) for method in study.methods}
    models = {method: _laid_out(study, method, config) for method, config in configs.items()}
    shown = _shown(study, configs, models)
    return [_resolve(study, method, seed, work_dir, arguments, models[method], shown) for method, seed in study.grid()]


def _laid_out(study: Study, method: str, config: Config) -> MultimodalModel:
    try:
        with torch.device("meta"):
            return config_model(config)
    except ValueError as error:
        raise ConfigError(f"{study.file}, method {method!r}: {sentence(error)}") from error


def _shown(study: Study, configs: Mapping[str, Config], models: Mapping[str, MultimodalModel]) -> Shown:
    """The scores of all methods.

    Raises:
        ConfigError: methods whose results have different scores, or scores that they do not have.
    """
    found: dict[str, Shown] = {}
    meta = _metainfo(next(iter(configs.values())))
    for method, config in configs.items():
        options = {name: value for name, value in dict(config.get("test_evaluator") or {}).items() if name != "type"}
        try:
            found[method] = choose_scores(models[method].tasks, study.scores, study.head, meta=meta, options=options)
        except ValueError as error:
            raise ConfigError(f"{study.file}, method {method!r}: {error}") from error
    (first, shown), *others = found.items()
    for method, other in others:
        if other != shown:
            raise ConfigError(
                f"{study.file}: method {first!r} is scored by {_said(shown)} and {method!r} by {_said(other)}; a study "
                "compares results of one kind"
            )
    return shown


def _said(shown: Shown) -> str:
    return f"{', '.join(score.label for score in shown.scores)} of {shown.head!r}"


def _metainfo(config: Config) -> Mapping[str, Any] | None:
    """Of the test data; None where that is not there yet."""
    try:
        found: Mapping[str, Any] = build_from(config.test_dataloader["dataset"]).metainfo
    except UNMEASURED:
        return None
    return found


def _resolve(
    study: Study,
    method: str,
    seed: int,
    work_dir: Path,
    arguments: argparse.Namespace,
    model: MultimodalModel,
    shown: Shown,
) -> Run:
    overrides = merge_overrides(method_overrides(study, method, arguments), {"randomness.seed": seed})
    config = _load(study, method, overrides)
    return Run(
        method=method,
        seed=seed,
        folder=work_dir / study.folder_of(method, seed),
        overrides=overrides,
        resolved=flatten(config.to_dict()),
        sha256=config_sha256(config),
        subsets=study.subsets_of(method, model.modalities),
        shown=shown,
        objectives=tuple(map(objective_text, model.recipe["parameters"]["objectives"] if model.recipe else ())),
    )


def _load(study: Study, method: str, overrides: Overrides, data_root: str | None = None) -> Config:
    try:
        return load_config(study.config, options=as_options(overrides), data_root=data_root)
    except ConfigError as error:
        raise ConfigError(f"{study.file}, method {method!r}: {str(error).removeprefix('--cfg-options ')}") from error


def method_config(study: Study, method: str, arguments: argparse.Namespace) -> Config:
    """A method's config, for building its model and its test data without training."""
    return _load(study, method, method_overrides(study, method, arguments), arguments.data_root)


def subject_of(study: Study, method: str, arguments: argparse.Namespace, subset: str) -> Subject:
    """What is measured of a method: its model at the size of the first test frame, with a subset ("rgb+depth")."""
    config, names = method_config(study, method, arguments), tuple(subset.split("+"))
    trained = method_config(study, method, arguments)
    sample = build_from(config.test_dataloader["dataset"])[0]
    height, width = next(sample[name].shape[-2:] for name in names)
    dtype = (config.get("test_cfg") or {}).get("dtype")
    return Subject(config_model(config), (int(height), int(width)), names, dtype, partial(_training_of, trained))


def _training_of(config: Config) -> tuple[Batch, Options]:
    """The first batch that a training by a config would see, and its `optim_wrapper`."""
    derive_from_data(config)  # also the sizes of crops
    loader = {key: value for key, value in config.train_dataloader.items() if key not in OF_WORKERS}
    batches = Runner.build_dataloader({**loader, "num_workers": 0}, seed=0)
    return next(iter(batches)), config.optim_wrapper


def select(study: Study, runs: Sequence[Run], *, only: Sequence[str] | None, seeds: Sequence[int] | None) -> list[Run]:
    """The runs of some methods and seeds; None for all.

    Raises:
        ConfigError: a method or seed that the study does not have, or no run is left.
    """
    for method in only or ():
        if method not in study.methods:
            known = ", ".join(map(repr, study.methods))
            raise ConfigError(
                f"--only: {method!r} is no method of {study.file}; it has {known}{nearest(method, study.methods)}"
            )
    declared = sorted({run.seed for run in runs})
    if set(seeds or ()) - set(declared):
        raise ConfigError(f"--seeds: {study.file} has the seeds {declared}, found {list(seeds or ())}")
    selected = [run for run in runs if (not only or run.method in only) and (not seeds or run.seed in seeds)]
    if not selected:
        raise ConfigError(f"no run of {study.file} is left by --only and --seeds")
    return selected


def common_arguments(arguments: argparse.Namespace) -> list[str]:
    """What rgbx train and rgbx test are given besides the config's overrides."""
    root = ["--data-root", str(arguments.data_root)] if arguments.data_root else []
    return [*root, "--trust"] if arguments.trust else root
