"""What the values of a map mean: channels, type, unit, and how they may be resized."""

from __future__ import annotations

from dataclasses import dataclass

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
    """

    name: str
    channels: int
    dtype: str
    unit: str
    interpolation: str
    fill: float = 0.0

    def __post_init__(self) -> None:
        choices = {"dtype": ("uint8", "float32"), "interpolation": ("linear", "nearest")}
        for field, allowed in choices.items():
            if getattr(self, field) not in allowed:
                found = getattr(self, field)
                raise ValueError(f"MapSpec {self.name!r}: {field} must be one of {allowed}, found {found!r}")
        if self.channels < 1:
            raise ValueError(f"MapSpec {self.name!r}: channels must be >= 1, found {self.channels}")

    @classmethod
    def of_unit(cls, name: str, unit: str, interpolation: str | None = None) -> MapSpec:
        """The spec of a map that says its unit, one of `UNITS`, and perhaps how it is resized."""
        channels, dtype, usual = UNITS[unit]
        return cls(name, channels, dtype, unit, interpolation or usual)

    @property
    def zero_is_hole(self) -> bool:
        """Whether the value 0 says that a pixel was not measured, where no mask says it: of metres and of any depth."""
        return self.unit == "metre" or self.name == "depth"

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
