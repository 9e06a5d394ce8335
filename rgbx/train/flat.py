"""Configs as flat tables of values, and what differs between two of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

Flat = dict[str, str]  # dotted path in a resolved config to the value, as Python writes it


def flatten(config: object) -> Flat:
    """Every value of nested plain containers under its dotted path."""
    return {".".join(path): repr(value) for path, value in _leaves(config, ())}


def _leaves(value: object, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    inner = value.items() if isinstance(value, Mapping) else list(enumerate(value)) if isinstance(value, list) else ()
    if not inner:
        yield path, value
    for key, item in inner:
        yield from _leaves(item, (*path, str(key)))


def changes(before: Mapping[str, str], now: Mapping[str, str]) -> dict[str, str]:
    """What differs between two flat configs: path to "old → new", such as "6 → 8"."""
    paths = sorted(path for path in {**before, **now} if before.get(path) != now.get(path))
    return {path: f"{before.get(path, 'absent')} → {now.get(path, 'absent')}" for path in paths}


def differences(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """One line per path whose value is another one, such as "train_cfg.max_epochs: 6 → 8"."""
    return [f"{path}: {change}" for path, change in changes(before, now).items()]
