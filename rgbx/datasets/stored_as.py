"""What a dataset's readers say about its files, in the words of `rgbx.datasets.encoding`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from rgbx.datasets.grey import read_log, read_relative, read_sensor
from rgbx.datasets.reading import read_depth8, read_depth16

_WORDS: dict[Any, dict[str, str]] = {  # per reader its arguments, and what an encoding calls them
    read_depth16: {"divisor": "scale"},
    read_sensor: {"scale": "scale", "add": "add"},
    read_relative: {"full": "scale"},
    read_log: {"log": "log"},
}


def stored_as(reader: Callable[..., Any]) -> dict[str, float | int] | None:
    """Options of `read_map` with which it reads a file as this reader does.

    Args:
        reader: turns a file into an array; known are functions of this package and partials of them.

    Returns:
        An empty dict where the defaults of the unit serve, None for a reader that these options cannot describe.
    """
    function, given = (reader.func, reader.keywords) if isinstance(reader, partial) else (reader, {})
    if function is read_depth8 and given.get("half_step") == 0:
        return {"scale": float(given["levels_per_metre"]), "bits": 8}
    if function not in _WORDS:
        return None
    words = _WORDS[function]
    return {words[key]: float(value) for key, value in given.items() if key in words and value is not None}
