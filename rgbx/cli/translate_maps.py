"""What the image files of `tools/translate.py` hold: by the checkpoint, as a standard map, or as the user says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from rgbx._text import one_of
from rgbx._types import Options, State
from rgbx.cli.errors import ConfigError
from rgbx.datasets.sample import Sample
from rgbx.maps import STANDARD_MAPS, UNITS, Encoding, MapSpec
from rgbx.maps.normals import unit_length
from rgbx.models.checkpoint import dataset_meta


@dataclass(frozen=True)
class MapFiles:
    """Files of one map.

    Attributes:
        spec: what the values mean.
        options: `scale`, `add`, `bits` and `log` of `rgbx.maps.Encoding`, where they are not the unit's defaults.
    """

    spec: MapSpec
    options: Options = field(default_factory=dict)

    def read(self, path: Path) -> Sample:
        """The map [H, W] or [H, W, C] in its unit and, where it needs one, its mask; raises as `Encoding.read`."""
        array, measured = Encoding(self.spec, **self.options).read_masked(path)
        return {self.spec.name: array, **({} if measured is None else {f"{self.spec.name}_valid": measured})}

    def write(
        self,
        path: Path,
        values: np.ndarray,  # [H, W] or [H, W, 3], in the map's unit
    ) -> None:
        """Writes a prediction as a PNG that says what it holds; raises as `Encoding.write`.

        Normals become unit vectors, whose length a network does not learn; what lies in the last thousandth of a
        logarithmic range, the largest value of such a file.
        """
        if self.spec.unit == "unit_vector":
            values = unit_length(values)
        if "log" in self.options:
            values = np.minimum(values, Encoding(self.spec, **self.options).highest)
        Encoding(self.spec, **self.options).write(path, values)


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


def map_files(
    names: Sequence[str],
    given: Mapping[str, Options],
    known: Mapping[str, MapSpec],
    stored: Mapping[str, Options | None] | None = None,
) -> dict[str, MapFiles]:
    """What the files of each map hold.

    Args:
        names: the maps that are read or written.
        given: by name what the user said, options of `Encoding` and the unit, see `parse_map`.
        known: specs of the maps that the checkpoint was trained on.
        stored: how the files it was trained on hold them, see `stored_in`; counts for maps that the user does not name.

    Raises:
        ConfigError: a map that nobody describes, also where its dataset reads it in a way of its own; options for one
            that is not used; or a sensor's without a scale.
        ValueError: options that the unit does not have.
    """
    if unused := sorted(set(given) - set(names)):
        raise ConfigError(f"--map describes {unused}, but the maps are {list(names)}")
    found = {}
    for name in names:
        trained = (stored or {}).get(name, {})
        if name not in given and trained is None:
            raise ConfigError(
                f"the files of {name!r} that this model was trained on are stored in a way of their dataset's own: say "
                f"what yours hold, such as --map {name} scale=1000"
            )
        options = dict(given.get(name, trained or {}))
        unit = options.pop("unit", None)
        spec = {**STANDARD_MAPS, **known}.get(name)
        if unit is not None and (spec is None or spec.unit != unit):
            spec = MapSpec.of_unit(name, unit)
        if spec is None:
            raise ConfigError(f"say what the files of {name!r} hold: --map {name} unit=UNIT, one of {', '.join(UNITS)}")
        if spec.unit == "sensor" and "scale" not in options:
            raise ConfigError(f"say what the stored values of {name!r} mean: --map {name} scale=STEPS_PER_UNIT [add=X]")
        Encoding(spec, **options)  # raises
        found[name] = MapFiles(spec, options)
    return found


def stored_in(state: State) -> dict[str, dict[str, Any] | None]:
    """How the files that a checkpoint was trained on hold its maps; None for those in a way of their dataset's own."""
    return {name: None if words is None else dict(words) for name, words in dataset_meta(state, "stored").items()}
