"""Overrides of a config: in layers, as command-line arguments, and what differs between two resolved configs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rgbx.study.checks import Overrides

Flat = dict[str, str]  # dotted path in a resolved config to the value, as Python writes it


def merge_overrides(*layers: Overrides) -> Overrides:
    """Overrides one after the other: a later value replaces the whole of an earlier one, dicts included."""
    merged: Overrides = {}
    for layer in layers:
        for path, value in layer.items():
            for known in [known for known in merged if known == path or known.startswith(f"{path}.")]:
                del merged[known]
            merged[path] = value
    return merged


def as_options(overrides: Overrides) -> list[str]:
    """What follows --cfg-options: values as Python literals, which come back exactly."""
    return [f"{path}={value!r}" for path, value in overrides.items()]


def flatten(config: Any) -> Flat:
    """Every value of nested plain containers under its dotted path."""
    return {".".join(path): repr(value) for path, value in _leaves(config, ())}


def _leaves(value: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    inner = value.items() if isinstance(value, Mapping) else list(enumerate(value)) if isinstance(value, list) else ()
    if not inner:
        yield path, value
    for key, item in inner:
        yield from _leaves(item, (*path, str(key)))


def differences(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """One line per path whose value is another one, such as "train_cfg.max_epochs: 6 → 8"."""
    paths = [path for path in {**before, **now} if before.get(path) != now.get(path)]
    return [f"{path}: {before.get(path, 'absent')} → {now.get(path, 'absent')}" for path in sorted(paths)]
