"""Overrides of config values from the command line, refused where nothing would read them."""

from __future__ import annotations

import ast
import inspect
import itertools
import reprlib
import typing
from collections.abc import Callable, Sequence
from typing import Any

import torch
from mmengine.config import Config, ConfigDict, DictAction
from torch.utils.data import DataLoader

from rgbx._text import nearest
from rgbx._types import Options
from rgbx.cli.arguments import split_option
from rgbx.cli.errors import ConfigError
from rgbx.train.adversarial import AdversarialConstructor
from rgbx.train.changes import literal
from rgbx.train.optim import EncoderDecoderConstructor

TOP_LEVEL = frozenset(
    (
        "model",
        "work_dir",
        "train_dataloader",
        "val_dataloader",
        "test_dataloader",
        "train_cfg",
        "val_cfg",
        "test_cfg",
        "auto_scale_lr",
        "optim_wrapper",
        "param_scheduler",
        "val_evaluator",
        "test_evaluator",
        "default_hooks",
        "custom_hooks",
        "load_from",
        "resume",
        "launcher",
        "env_cfg",
        "log_processor",
        "log_level",
        "visualizer",
        "default_scope",
        "randomness",
        "experiment_name",
        "model_wrapper_cfg",  # read by mmengine's Runner
        "cache",
        "compile",
        "ema",
        "on_nonfinite",
        "sync_norm",
        "dataset",
        "data_root",
        "custom_imports",
        "trust_checkpoint",  # read by rgbx
        "device",
    )
)


def _parameters(function: Callable[..., object]) -> set[str] | None:
    """Names that a class or function takes by keyword; None where it takes any, or does not tell."""
    try:
        parameters = inspect.signature(function).parameters.values()
        rest = next((p.name for p in parameters if p.kind is p.VAR_KEYWORD), None)
        told: set[str] = set()
        if rest is not None:  # such as **common: Unpack[Common], a TypedDict
            called = function.__init__ if isinstance(function, type) else function  # type: ignore[misc]
            told = set(typing.get_args(typing.get_type_hints(called)[rest])[0].__annotations__)
    except (ValueError, TypeError, NameError, LookupError, AttributeError):
        return None
    return {parameter.name for parameter in parameters if parameter.name != rest} | told


_LOADER = {
    "dataset",
    "sampler",
    "batch_sampler",
    "collate_fn",
    "worker_init_fn",
    "num_batch_per_epoch",
    *(_parameters(DataLoader) or ()),
}
_BY_PATH: dict[str, set[str]] = {
    "train_dataloader": _LOADER,
    "val_dataloader": _LOADER,
    "test_dataloader": _LOADER,
    "train_cfg": {"by_epoch", "max_epochs", "val_begin", "val_interval", "dynamic_intervals"},
    "val_cfg": {"protocol", "dtype", "pictures", "pictures_interval"},
    "test_cfg": {"protocol", "dtype"},
    "randomness": {"seed", "deterministic"},
    "env_cfg": {"cudnn_benchmark", "mp_cfg", "dist_cfg", "resource_limit"},
    "optim_wrapper.paramwise_cfg": {*EncoderDecoderConstructor.OPTIONS, *AdversarialConstructor.OPTIONS},
    "custom_imports": {"imports"},
    "compile": _parameters(torch.compile) or set(),
    "on_nonfinite": {"policy", "limit"},
    "ema": {"momentum", "update_buffers", "begin_epoch", "begin_iter", "interval"},
}
LONGEST_PATH, LONGEST_VALUE, LONGEST_WORDS, DEEPEST_VALUE, MOST_DIGITS = 1_000, 100_000, 1_000, 50, 9
_BESIDE_TYPE = {"type", "constructor", "paramwise_cfg", "optimizer", "priority", "_scope_"}


def parse_options(options: Sequence[str]) -> dict[str, Any]:
    """ "a.b=value" as {"a.b": value}; values are Python literals, also with dict(a=1), or else strings.

    Raises:
        ConfigError: an option without "=" or of no path, or a value that cannot be read.
    """
    parsed = {}
    for option in options:
        path, text = split_option(option)
        shown = f"--cfg-options {reprlib.repr(path)[1:-1]}"
        if len(path) > LONGEST_PATH or len(text) > LONGEST_VALUE or _depth(text) > DEEPEST_VALUE:
            raise ConfigError(f"{shown}: {reprlib.repr(text)} is too long, or has too many brackets in each other")
        try:
            parsed[path] = _value(text)
        except (TypeError, AssertionError, IndexError, RecursionError, MemoryError) as error:
            reason = "its brackets stand in a word" if isinstance(error, RecursionError) else error
            raise ConfigError(f"{shown}: {reprlib.repr(text)} cannot be read: {reason}") from error
    return parsed


def _value(text: str) -> Any:
    try:
        return literal(ast.parse(text, mode="eval").body)
    except (ValueError, SyntaxError):
        if len(text) > LONGEST_WORDS:  # mmengine's time grows with the square
            raise TypeError(f"{len(text)} characters that are no Python literal") from None
        return DictAction._parse_iterable(text)


def _depth(text: str) -> int:
    """How many brackets stand in each other, those in quotes included."""
    depths = itertools.accumulate((char in "([{") - (char in ")]}") for char in text)
    return max(depths, default=0)


def apply_options(config: Config, overrides: Options) -> None:
    """Sets values of a config by their dotted path; list items are named by their index.

    Raises:
        ConfigError: a path that nothing would read, with the nearest known name.
    """
    for path, value in overrides.items():
        node: Any = config._cfg_dict
        *parents, last = path.split(".")
        for depth, key in enumerate(parents):
            _check(node, key, parents[:depth], path)
            if not isinstance(node, list) and isinstance(node.get(key), (bool, type(None))):
                node[key] = ConfigDict()  # such as compile.mode where compile=False
            node = node[int(key)] if isinstance(node, list) else node[key]
        _check(node, last, parents, path)
        node[int(last) if isinstance(node, list) else last] = value


def _check(node: object, key: str, parents: Sequence[str], path: str) -> None:
    where = ".".join(parents) or "the config"
    if isinstance(node, list):
        if not key.isdecimal() or len(key) > MOST_DIGITS or int(key) >= len(node):
            found = reprlib.repr(key)
            raise ConfigError(
                f"--cfg-options {path}: {where} is a list of {len(node)}, expected an index below that, found {found}"
            )
        return
    if not isinstance(node, dict):
        raise ConfigError(f"--cfg-options {path}: {where} is {reprlib.repr(node)} and has no {key!r}")
    known = known_names(node, parents)
    if known is None or key in node or key in known:
        return
    hint = nearest(key, [*known, *node])
    if hint or known:
        hint = hint or f"; it has {', '.join(sorted(known))}"
        raise ConfigError(f"--cfg-options {path}: {where} has no {key!r}{hint}")


def known_names(node: Options, parents: Sequence[str]) -> set[str] | None:
    """What may stand in a dict of the config: None for anything, empty where it is not known."""
    if not parents:
        return set(TOP_LEVEL)
    if "type" not in node:
        return _BY_PATH.get(".".join(parents), set())
    if not callable(node["type"]):
        return None
    if parents[0] == "param_scheduler" and isinstance(node["type"], type):
        return _of_schedule(node["type"])
    names = _parameters(node["type"])
    return None if names is None else {*names, *_BESIDE_TYPE, *_BY_PATH.get(".".join(parents), ())}


def _of_schedule(kind: type) -> set[str] | None:
    """What a schedule takes: mmengine's give their base what they do not name."""
    names = {"type", "convert_to_iter_based"}
    for base in kind.__mro__:
        own = inspect.signature(base.__init__).parameters.values() if "__init__" in vars(base) else ()  # type: ignore[misc]
        names |= {parameter.name for parameter in own if parameter.kind is parameter.POSITIONAL_OR_KEYWORD} - {"self"}
        if own and not any(parameter.kind is parameter.VAR_KEYWORD for parameter in own):
            return names
    return None
