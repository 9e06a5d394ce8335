"""What the values of a map mean: channels, type, unit, and how they may be resized."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from rgbx._types import Options

IGNORE_INDEX = 255
METRE_STEPS = {  # how many stored units a metre usually has, the likelier first
    1000: "millimetres",
    5000: "1/5000 m",
    100: "centimetres",
    256: "1/256 m",
    10000: "1/10000 m",
}
MASKS = ("_valid", "_corrupted")  # what ends the keys of masks beside a map: what was measured, what was damaged
TIMES = "_time"  # what ends the key of a clip's stamps beside its map
MOST_CHANNELS = 64  # of a map in a file
UNLESS_USUAL = {"unless_usual": True}  # of a field that says nothing where it has its default
BANDS = ("sensor", "relative")  # units of maps that may have any number of channels
UNITS = {  # channels, dtype and interpolation of a map that says no more than its unit
    "rgb8": (3, "uint8", "linear"),
    "metre": (1, "float32", "nearest"),
    "sensor": (1, "float32", "linear"),
    "relative": (1, "float32", "linear"),
    "unit_vector": (3, "float32", "nearest"),
    "encoded": (3, "uint8", "linear"),
}


@dataclass(frozen=True)
class MapSpec:
    """What one modality's array means.

    Attributes:
        name: the key in the sample.
        channels: 1 for [H, W], otherwise the last axis of [H, W, channels].
        dtype: "uint8" or "float32".
        unit: "rgb8", "metre", "relative", "sensor", "unit_vector", "encoded". "metre" promises
            finite, non-negative values with 0 = no measurement.
        interpolation: "linear" or "nearest", how resizing may compute new values.
        fill: the value, in the unit above, of pixels that padding invents.
        shown: of a map of several channels of a sensor, the three that pictures show as red, green and blue, counted
            from 0; the first ones where nothing is said. It changes no value.
    """

    name: str
    channels: int
    dtype: str
    unit: str
    interpolation: str
    fill: float = 0.0
    shown: tuple[int, ...] = field(default=(), metadata=UNLESS_USUAL)

    def __post_init__(self) -> None:
        choices = {"dtype": ("uint8", "float32"), "interpolation": ("linear", "nearest")}
        for key, allowed in choices.items():
            if getattr(self, key) not in allowed:
                found = getattr(self, key)
                raise ValueError(f"MapSpec {self.name!r}: {key} must be one of {allowed}, found {found!r}")
        if self.channels < 1:
            raise ValueError(f"MapSpec {self.name!r}: channels must be >= 1, found {self.channels}")
        if self.shown and (len(self.shown) != 3 or not all(0 <= channel < self.channels for channel in self.shown)):
            raise ValueError(
                f"MapSpec {self.name!r}: shown must be three channels of 0..{self.channels - 1}, found {self.shown}"
            )

    @classmethod
    def of_unit(
        cls,
        name: str,
        unit: str,
        interpolation: str | None = None,
        *,
        channels: int | None = None,
        shown: Sequence[int] = (),
    ) -> MapSpec:
        """The spec of a map that says its unit, one of `UNITS`, and perhaps how it is resized, and its channels."""
        usual_channels, dtype, usual = UNITS[unit]
        return cls(name, channels or usual_channels, dtype, unit, interpolation or usual, shown=tuple(shown))

    @classmethod
    def of_dict(cls, values: Options) -> MapSpec:
        """The spec that `as_dict` told, where it came from a file of somebody else.

        Raises:
            TypeError: values of another kind, or fields that are missing or unknown.
            ValueError: values that no spec has.
        """
        kinds: dict[str, tuple[type, ...]] = dict.fromkeys(("name", "dtype", "unit", "interpolation"), (str,))
        kinds |= {"channels": (int,), "fill": (float, int), "shown": (list, tuple)}
        told = {"shown": (), **values}
        for name, value in told.items():
            numbers = all(type(each) is int for each in value) if isinstance(value, (list, tuple)) else True
            if not isinstance(value, kinds.get(name, ())) or isinstance(value, bool) or not numbers:
                raise TypeError(f"a spec of a map has {name}={value!r}")
        return cls(**{**told, "shown": tuple(told["shown"])})

    def as_dict(self) -> dict[str, Any]:
        """Plain values by field; without `shown` where nothing is said."""
        found = asdict(self)
        return found if self.shown else {name: value for name, value in found.items() if name != "shown"}

    @property
    def has_bands(self) -> bool:
        """Whether it has several channels that are measurements, each with values of its own; no colours or vectors."""
        return self.unit in BANDS and self.channels > 1

    @property
    def zero_is_hole(self) -> bool:
        """Whether the value 0 says that a pixel was not measured, where no mask says it: of metres and of any depth."""
        return self.unit == "metre" or self.name == "depth"

    def check_metres(self, who: str) -> None:
        """Refuses a map that has no metres for what computes with them.

        Args:
            who: needs metres.

        Raises:
            ValueError: another unit; names the map.
        """
        if self.unit != "metre":
            raise ValueError(f"{who} needs metres, but the map {self.name!r} is {self.unit}: it has no metres")

    def shape(self, height: int, width: int) -> tuple[int, ...]:
        """Array shape at reading."""
        return (height, width) if self.channels == 1 else (height, width, self.channels)


_STANDARD = {
    "rgb": "rgb8",
    "depth": "metre",
    "thermal": "sensor",
    "normal": "unit_vector",
    "hha": "encoded",
    "edge": "relative",
}
STANDARD_MAPS: dict[str, MapSpec] = {name: MapSpec.of_unit(name, unit) for name, unit in _STANDARD.items()}
RELATIVE_DEPTH = MapSpec.of_unit("depth", "relative", "nearest")  # of an unknown scale: no metres
