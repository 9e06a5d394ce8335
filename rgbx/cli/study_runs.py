"""A study file made into runs: every config of the grid resolved, checked and identified."""

from __future__ import annotations

import argparse
from collections.abc import Collection, Sequence
from pathlib import Path

from mmengine.config import Config
from mmengine.registry import DATASETS

from rgbx.cli.config import load_config, nearest, read_values, without_initial_weights
from rgbx.cli.errors import ConfigError, building
from rgbx.cli.evaluate import config_identity
from rgbx.cli.options import parse_options
from rgbx.datasets.class_weights import equal_class_weights
from rgbx.maps import STANDARD_MAPS
from rgbx.study import Study, declare_study
from rgbx.study.checks import Overrides
from rgbx.study.costs import PROBLEMS, build_model
from rgbx.study.kind import Kind, segmentation_kind, translation_kind
from rgbx.study.overrides import as_options, merge_overrides
from rgbx.study.runs import Run
from rgbx.train.changes import flatten


def read_study(path: str | Path) -> Study:
    """Reads and checks a study file."""
    path = Path(path)
    if not path.is_file():
        siblings = [item.name for item in path.parent.glob("*.py")] if path.parent.is_dir() else []
        raise FileNotFoundError(f"study {path} does not exist{nearest(path.name, siblings)}")
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

    Raises:
        ConfigError: an override that nothing would read; the message names the method.
    """
    kind = _kind(study, arguments)
    return [_resolve(study, method, seed, work_dir, arguments, kind) for method, seed in study.grid()]


def _kind(study: Study, arguments: argparse.Namespace) -> Kind:
    """What the results of all methods are.

    Raises:
        ConfigError: methods whose results are of different kinds, or scores that they do not have.
    """
    configs = {
        name: _load(study, name, method_overrides(study, name, arguments), arguments.data_root)
        for name in study.methods
    }
    targets = {name: (config.get("model") or {}).get("target") for name, config in configs.items()}
    (first, target), *others = targets.items()
    for name, other in others:
        if other != target:
            raise ConfigError(
                f"{study.file}: method {first!r} predicts {target or 'classes'} and {name!r} {other or 'classes'}; "
                "a study compares results of one kind"
            )
    try:
        if target is None:
            return segmentation_kind(study.scores or ("mIoU",))
        unit, certain = _unit_of(target, configs[first])
        evaluator = configs[first].get("test_evaluator")
        return translation_kind(unit, study.scores, evaluator=evaluator, certain=certain)
    except ValueError as error:
        raise ConfigError(f"{study.file}: {error}") from error


def _unit_of(target: str, config: Config) -> tuple[str, bool]:
    """The unit of the map that is predicted, and whether it is the dataset that says so."""
    try:
        maps, certain = DATASETS.build(config.test_dataloader["dataset"]).metainfo["maps"], True
    except (*PROBLEMS, OSError, ImportError):  # as where the data is not there yet
        maps, certain = {}, False
    spec = {**STANDARD_MAPS, **maps}.get(target)
    return ("", False) if spec is None else (spec.unit, certain)


def _resolve(study: Study, method: str, seed: int, work_dir: Path, arguments: argparse.Namespace, kind: Kind) -> Run:
    overrides = merge_overrides(method_overrides(study, method, arguments), {"randomness.seed": seed})
    config = _load(study, method, overrides)
    options = argparse.Namespace(config=str(study.config), cfg_options=as_options(overrides))
    return Run(
        method=method,
        seed=seed,
        folder=work_dir / study.folder_of(method, seed),
        overrides=overrides,
        resolved=flatten(config.to_dict()),
        sha256=config_identity(options)["sha256"],
        subsets=study.subsets_of(method, _modalities(study, config)),
        kind=kind,
    )


def _load(study: Study, method: str, overrides: Overrides, data_root: str | None = None) -> Config:
    try:
        return load_config(study.config, options=as_options(overrides), data_root=data_root)
    except ConfigError as error:
        raise ConfigError(f"{study.file}, method {method!r}: {str(error).removeprefix('--cfg-options ')}") from error


def _modalities(study: Study, config: Config) -> tuple[str, ...]:
    model = config.get("model")
    if not isinstance(model, dict) or not model.get("modalities"):
        raise ConfigError(f"{study.config}: model has no modalities; a study compares segmentors or translators")
    return tuple(model["modalities"])


def method_config(study: Study, method: str, arguments: argparse.Namespace) -> Config:
    """A method's config, for building its model and its test data without training."""
    config = _load(study, method, method_overrides(study, method, arguments), arguments.data_root)
    without_initial_weights(config)
    equal_class_weights(config.model)
    return config


def check_builds(study: Study, arguments: argparse.Namespace, methods: Collection[str] | None = None) -> None:
    """Builds the model of every method once, so that a misspelt field shows before hours of training.

    Raises:
        ConfigError: a model that cannot be built; the message names the method.
    """
    for method in study.methods:
        if methods is None or method in methods:
            where = f"{study.file}, method {method!r}"
            try:
                with building(where):
                    build_model(method_config(study, method, arguments))
            except ValueError as error:
                raise ConfigError(str(error) if where in str(error) else f"{where}: {error}") from error


def select(study: Study, runs: Sequence[Run], *, only: Sequence[str] | None, seeds: Sequence[int] | None) -> list[Run]:
    """The runs of some methods and seeds; None for all.

    Raises:
        ConfigError: a method or seed that the study does not have, or no run is left.
    """
    for method in only or ():
        if method not in study.methods:
            known = ", ".join(map(repr, study.methods))
            raise ConfigError(
                f"--only: {method!r} is no method of {study.file}{nearest(method, study.methods)}; it has {known}"
            )
    declared = sorted({run.seed for run in runs})
    if set(seeds or ()) - set(declared):
        raise ConfigError(f"--seeds: {study.file} has the seeds {declared}, found {list(seeds or ())}")
    selected = [run for run in runs if (not only or run.method in only) and (not seeds or run.seed in seeds)]
    if not selected:
        raise ConfigError(f"no run of {study.file} is left by --only and --seeds")
    return selected


def common_arguments(arguments: argparse.Namespace) -> list[str]:
    """What tools/train.py and tools/test.py are given besides the config's overrides."""
    root = ["--data-root", str(arguments.data_root)] if arguments.data_root else []
    return [*root, "--trust"] if arguments.trust else root
