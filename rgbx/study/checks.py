"""Checks of a study file's values; every message names the file, the field, what was found and what was expected."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from rgbx._text import nearest

Overrides = dict[str, Any]  # dotted path in the config to a plain value
SEEDS = 2**32
SCALARS = (type(None), bool, int, float, str)


def check_config(value: Any, file: Path) -> Path:
    """The config's path.

    Raises:
        ValueError: not a string.
        FileNotFoundError: no such file beside the study.
    """
    if not isinstance(value, str):
        raise ValueError(f"{file}: config is {value!r}; expected the path of a config, relative to this file")
    path = Path(file.parent, value)
    if not path.is_file():
        siblings = [item.name for item in path.parent.glob("*.py")] if path.parent.is_dir() else []
        raise FileNotFoundError(f"{file}: config {value!r} does not exist{nearest(path.name, siblings)}")
    return path.resolve()


def check_methods(value: Any, file: Path) -> dict[str, Any]:
    """Methods whose names give different folders.

    Raises:
        ValueError: no dict, no method, or a name without a folder of its own.
    """
    if not isinstance(value, dict) or not value:
        raise ValueError(f"{file}: methods is {value!r}; expected a dict of at least one name to its overrides")
    known: dict[str, str] = {}
    for name in value:
        folder = folder_name(name) if isinstance(name, str) else ""
        if not folder or folder in known:
            twin = f", as that of {known[folder]!r}" if folder else ""
            raise ValueError(f"{file}: the runs of method {name!r} would lie in a folder {folder!r}{twin}; rename it")
        known[folder] = name
    return value


def folder_name(method: str) -> str:
    """A method's name as that of a folder, in lower case."""
    return re.sub(r"[^\w.+-]+", "_", method.lower()).strip("_.")


def check_overrides(value: Any, file: Path, where: str) -> Overrides:
    """Dotted names with plain values.

    Raises:
        ValueError: something else.
    """
    if not isinstance(value, dict):
        raise ValueError(f"{file}: {where} is {value!r}; expected a dict of dotted names in the config to their values")
    for path, item in value.items():
        if not isinstance(path, str) or not all(path.split(".")) or "=" in path or path.startswith("-"):
            raise ValueError(f"{file}: {where} overrides {path!r}; expected a dotted name such as 'model.fusion'")
        odd = list(_not_plain(item))
        if odd:
            raise ValueError(
                f"{file}: {where} sets {path} to {odd[0]!r}; expected None, True, False, finite numbers, strings, or "
                "lists, tuples and dicts of them"
            )
    return dict(value)


def _not_plain(value: Any) -> Iterable[Any]:
    """What a command line could not carry exactly."""
    if type(value) is dict:
        value = [*value, *value.values()]
    if type(value) in (list, tuple):
        for item in value:
            yield from _not_plain(item)
    elif type(value) not in SCALARS or (isinstance(value, float) and not math.isfinite(value)):
        yield value


def check_seeds(value: Any, file: Path, where: str) -> tuple[int, ...]:
    """Different seeds.

    Raises:
        ValueError: something else.
    """
    seeds = tuple(value) if isinstance(value, (list, tuple)) else ()
    valid = all(type(seed) is int and 0 <= seed < SEEDS for seed in seeds)
    if not seeds or not valid or len(set(seeds)) < len(seeds):
        raise ValueError(f"{file}: {where} is {value!r}; expected different integers of 0..2**32-1, such as (0, 1, 2)")
    return seeds


def check_subsets(value: Any, file: Path, where: str) -> tuple[str, ...]:
    """Different subsets of modalities.

    Raises:
        ValueError: something else.
    """
    subsets = tuple(value) if isinstance(value, (list, tuple)) else ()
    valid = all(isinstance(subset, str) and all(subset.split("+")) for subset in subsets)
    if not subsets or not valid or len({frozenset(subset.split("+")) for subset in subsets}) < len(subsets):
        raise ValueError(f"{file}: {where} is {value!r}; expected different subsets, such as ('rgb+depth', 'rgb')")
    return subsets


def check_scores(value: Any, file: Path) -> tuple[str, ...]:
    """Different names; which there are depends on the results.

    Raises:
        ValueError: something else.
    """
    names = tuple(value) if isinstance(value, (list, tuple)) else ()
    if not names or not all(isinstance(name, str) for name in names) or len(set(names)) < len(names):
        raise ValueError(f"{file}: scores is {value!r}; expected different names, such as ('PSNR', 'SSIM')")
    return names


def check_head(value: Any, file: Path) -> str | None:
    """A name; which heads there are depends on the model.

    Raises:
        ValueError: something else.
    """
    if value is not None and not isinstance(value, str):
        raise ValueError(f"{file}: head is {value!r}; expected the name of one of the model's heads, such as 'labels'")
    return value


def by_method(name: str, values: Mapping[str, Any], file: Path) -> dict[str, Any]:
    """A dict whose keys are methods.

    Raises:
        ValueError: something else.
    """
    value = values.get(name) or {}
    if not isinstance(value, dict):
        raise ValueError(f"{file}: {name} is {value!r}; expected a dict of methods")
    for method in value:
        check_method(method, values["methods"], file, name)
    return value


def check_method(method: Any, methods: Iterable[str], file: Path, where: str) -> None:
    """Raises ValueError where a name is that of no method."""
    if method not in methods:
        raise ValueError(f"{file}: {where} names {method!r}, which is no method{nearest(str(method), methods)}")
