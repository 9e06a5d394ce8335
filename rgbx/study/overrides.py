"""Overrides of a config: in layers, and as command-line arguments."""

from __future__ import annotations

from rgbx.study.checks import Overrides


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
