"""What the user says of the files of a map, `--map NAME KEY=VALUE ...`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rgbx._text import one_of
from rgbx.cli.errors import ConfigError
from rgbx.maps import UNITS


def map_option(name: str, option: str) -> str:
    """ "thermal" and "scale=100" as the command line has it."""
    return f"--map {name} {option}"


def parse_map(words: Sequence[str]) -> tuple[str, dict[str, Any]]:
    """["thermal", "scale=100", "add=-273.15"] as ("thermal", {"scale": 100.0, "add": -273.15}).

    Raises:
        ConfigError: another form.
    """
    name, *texts = words
    options: dict[str, Any] = {}
    for text in texts:
        key, _, value = text.partition("=")
        try:
            options[key] = {"unit": str, "scale": float, "add": float, "bits": int, "log": float}[key](value)
        except (KeyError, ValueError):
            raise ConfigError(
                f"--map takes a name and unit=, scale=, add=, bits= or log=, such as: thermal scale=100; found {text!r}"
            ) from None
    if options.get("unit", "metre") not in UNITS:
        raise ConfigError(f"--map {name} unit={options['unit']}: expected one of {one_of(UNITS, options['unit'])}")
    if "=" in name or not options:
        raise ConfigError(f"--map takes a name and what its files hold, such as: depth scale=5000; found {words}")
    return name, options
