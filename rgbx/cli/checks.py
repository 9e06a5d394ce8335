"""What of a config nothing could be built from, or no training could carry out: told before anything is built."""

from __future__ import annotations

import reprlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rgbx._protocol import PROTOCOLS, Protocol
from rgbx._text import nearest, one_of
from rgbx._types import Options
from rgbx.cli.errors import ConfigError
from rgbx.cli.options import Config, known_names
from rgbx.profile.measure import find_device

DICTS = (
    *("model", "train_dataloader", "val_dataloader", "test_dataloader", "train_cfg", "val_cfg", "test_cfg"),
    *("optim_wrapper", "auto_scale_lr", "default_hooks", "env_cfg", "randomness", "visualizer", "log_processor"),
)
KINDS: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(DICTS, (dict,)),
    **dict.fromkeys(("val_evaluator", "test_evaluator"), (dict, list)),
    **dict.fromkeys(("ema", "compile"), (bool, dict)),
    **dict.fromkeys(("work_dir", "load_from", "data_root", "experiment_name", "device"), (str,)),
    "cache": (str,),
    "on_nonfinite": (str, dict),
    "custom_hooks": (list, tuple),
    "param_scheduler": (list, tuple, dict),
    **dict.fromkeys(("resume", "sync_norm"), (bool,)),
}
CACHES = ("auto", "none")  # of decoded frames
LOOPS = {
    "train": ("train_dataloader", "train_cfg", "optim_wrapper"),
    "val": ("val_dataloader", "val_cfg", "val_evaluator"),
    "test": ("test_dataloader", "test_cfg", "test_evaluator"),
}


def check_form(config: Config, path: str | Path) -> None:
    """Compares the values of a config with what reads them.

    Args:
        config: with its overrides.
        path: its file, for messages.

    Raises:
        ConfigError: a value of another kind, or an argument that a class does not take.
    """
    for name, kinds in KINDS.items():
        value = config.get(name)
        if value is not None and not isinstance(value, kinds):
            expected = " or ".join(kind.__name__ for kind in kinds)
            raise ConfigError(f"{path}: {name} is {reprlib.repr(value)}; expected {expected}")
    if (cache := config.get("cache") or "auto") not in CACHES:
        raise ConfigError(f"{path}: cache is {cache!r}; expected one of {one_of(CACHES, cache)}")
    try:
        find_device(config.get("device") or "auto")
    except ValueError as error:
        raise ConfigError(f"{path}: {error}") from error
    built = ["model", *(f"{loop}_dataloader.dataset" for loop in LOOPS)]
    for name in [*built, *(f"default_hooks.{hook}" for hook in config.get("default_hooks") or ())]:
        node = _find(config, name)
        kind = node.get("type") if isinstance(node, dict) else None
        if node is not None and not (callable(kind) or isinstance(kind, str)):
            found = f"of type {kind!r}" if kind is not None else reprlib.repr(node)
            raise ConfigError(f"{path}: {name} is {found}; expected dict(type=..., ...) of a class or builder")
    for loop in ("val_cfg", "test_cfg"):
        protocol = (config.get(loop) or {}).get("protocol", "rgbx")
        if not isinstance(protocol, Protocol) and protocol not in PROTOCOLS:
            raise ConfigError(f"{path}: {loop}.protocol is {protocol!r}; expected one of {one_of(PROTOCOLS, protocol)}")
    for place, node in _nodes(config._cfg_dict, ()):
        known = known_names(node, place) if place else None
        unknown = [key for key in dict.keys(node) if known and key not in known]
        if unknown:
            names = sorted(known or ())
            hint = nearest(unknown[0], names) or f"; it has {', '.join(names)}"
            raise ConfigError(f"{path}: {'.'.join(place)} has no {unknown[0]!r}{hint}")


def check_loops(config: Config, path: str | Path) -> None:
    """Whether each loop of a config that is to be run is there with all its parts, or not at all.

    Raises:
        ConfigError: a loop that lacks a part.
    """
    for parts in LOOPS.values():
        there = [name for name in parts if config.get(name) is not None]
        if there and len(there) < len(parts):
            lacks = next(name for name in parts if name not in there)
            raise ConfigError(f"{path}: it has {', '.join(there)} but no {lacks}, which belongs to them")


def check_training(config: Config, path: str | Path) -> list[str]:
    """Whether a training can be carried out as its config plans it.

    Returns:
        Warnings: what is planned in vain.

    Raises:
        ConfigError: nothing to train, a loop that lacks a part, or epochs and schedules that contradict each other.
    """
    lacking = [name for name in LOOPS["train"] if config.get(name) is None]
    if lacking:
        raise ConfigError(f"{path}: it has nothing to train, as it lacks {', '.join(lacking)}")
    check_loops(config, path)
    for name in ("max_epochs", "val_interval", "val_begin"):
        value = config.train_cfg.get(name, 1)
        if type(value) is not int or value < 1:
            raise ConfigError(f"{path}: train_cfg.{name} is {value!r}; expected a whole number from 1 on")
    epochs = config.train_cfg.get("max_epochs", 1)
    for index, schedule in _schedules(config.get("param_scheduler")):
        begin = schedule.get("begin", 0) if schedule.get("by_epoch", True) else 0
        if begin >= epochs:
            raise ConfigError(
                f"{path}: param_scheduler.{index} begins after {begin} epochs, but train_cfg.max_epochs is {epochs}: "
                "the run would end in the warm-up; shorten it by `end` of the schedule before and `begin` of this one"
            )
    return list(_in_vain(config, epochs))


def _in_vain(config: Config, epochs: int) -> Iterator[str]:
    plan, validates = config.train_cfg, config.get("val_cfg") is not None
    if validates and plan.get("val_begin", 1) > epochs:
        yield f"train_cfg.val_begin is {plan.val_begin}, max_epochs {epochs}: nothing is validated, and no best is kept"
    elif validates and plan.get("val_interval", 1) > epochs:
        yield f"train_cfg.val_interval is {plan.val_interval}, max_epochs {epochs}: only the last epoch is validated"
    for index, schedule in _schedules(config.get("param_scheduler")):
        end = schedule.get("end")
        if schedule.get("by_epoch", True) and isinstance(end, int) and end > epochs:
            yield f"param_scheduler.{index} ends after {end} epochs, train_cfg.max_epochs is {epochs}: it is cut off"


def _schedules(value: object) -> Iterator[tuple[str, Options]]:
    """Schedules with their place below `param_scheduler`, of one optimizer or of several."""
    if isinstance(value, dict) and "type" not in value:
        for name, items in value.items():
            yield from ((f"{name}.{place}", schedule) for place, schedule in _schedules(items))
    elif isinstance(value, dict):
        yield "0", value
    else:
        items = value if isinstance(value, (list, tuple)) else ()
        yield from ((str(index), item) for index, item in enumerate(items) if isinstance(item, Mapping))


def _find(config: Config, name: str) -> object:
    node: object = config
    for part in name.split("."):
        node = node.get(part) if isinstance(node, (dict, Config)) else None
    return node


def _nodes(value: object, place: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    """Every dict of a config with its place."""
    if isinstance(value, dict):
        yield place, value
        for key, item in dict.items(value):
            yield from _nodes(item, (*place, str(key)))
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            yield from _nodes(item, (*place, str(index)))
