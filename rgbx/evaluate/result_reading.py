"""Reads a result file and says what is wrong with one that it cannot use."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rgbx.evaluate import result_file
from rgbx.models.predictor import ENSEMBLE

FIELDS: dict[str, type | tuple[type, ...]] = {
    "protocol.name": str,
    "config.file": str,
    "checkpoint.file": str,
    "checkpoint.sha256": str,
    "dataset.type": str,
    "dataset.fingerprint": str,
    "dataset.samples": int,
    "dataset.every": int,
    "dataset.classes": list,
    "dataset.palette": list,
    "subsets": dict,
    "images": list,
}
PER_CLASS = ("IoU", "Acc", "pixels", "confusion")

Result = dict[str, Any]


def read_result(path: str | Path) -> Result:
    """A result file of which a report can be made.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no JSON, another format, or a field that is missing or of another kind, naming
            the file and the field.
    """
    result = result_file.read_result(path)
    check_result(result, name=str(path))
    return result


def check_result(result: Result, *, name: str = "result") -> None:
    """Raises ValueError where a report could not be made of `result`, naming the field."""
    for field, kind in FIELDS.items():
        value = look_up(result, field)
        if not isinstance(value, kind):
            expected = kind.__name__ if isinstance(kind, type) else " or ".join(k.__name__ for k in kind)
            raise ValueError(f"{name}: {field}: expected {expected}, found {_short(value)}")
    _check_subsets(result, name)
    colours = result["dataset"]["palette"]
    if not all(_is_colour(colour) for colour in colours) or len(colours) < len(result["dataset"]["classes"]):
        raise ValueError(f"{name}: dataset.palette: expected one [r, g, b] of 0..255 per class")


def _check_subsets(result: Result, name: str) -> None:
    if not result["subsets"]:
        raise ValueError(f"{name}: subsets: expected at least one, found none")
    count = len(result["dataset"]["classes"])
    for subset, predictions in result["subsets"].items():
        if not isinstance(predictions, dict) or ENSEMBLE not in predictions:
            raise ValueError(f"{name}: subsets.{subset}: expected scores of {ENSEMBLE!r}, found {_short(predictions)}")
        for prediction, scores in predictions.items():
            for key in PER_CLASS:
                value = scores.get(key) if isinstance(scores, dict) else None
                if not isinstance(value, list) or len(value) != count:
                    raise ValueError(
                        f"{name}: subsets.{subset}.{prediction}.{key}: expected {count} entries, found {_short(value)}"
                    )


def _is_colour(colour: Any) -> bool:
    return (
        isinstance(colour, (list, tuple))
        and len(colour) == 3
        and all(isinstance(value, int) and 0 <= value <= 255 for value in colour)
    )


def look_up(result: Mapping[str, Any], field: str) -> Any:
    """The value of a dotted field such as "dataset.classes", None where it is absent."""
    value: Any = result
    for part in field.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _short(value: Any) -> str:
    text = f"{len(value)} entries" if isinstance(value, (list, dict)) else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def headline(result: Result) -> tuple[str, dict[str, dict[str, Any]]]:
    """The first subset and its scores: "rgb+depth", {"ensemble": ..., "rgb": ..., "depth": ...}."""
    return next(iter(result["subsets"].items()))
