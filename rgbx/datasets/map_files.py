"""Single maps as image files in stated units: what is written is read back exactly."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from rgbx.datasets.reading import read_image, read_rgb, stored_kind

COLOURS = ("rgb", "hha")
FULL = {np.dtype(np.uint8): 255, np.dtype(np.uint16): 65535}


@dataclass(frozen=True)
class FileUnit:
    """How the stored whole numbers of a one-channel map become values: value = stored * step + offset.

    Attributes:
        step: of the stored values, in the map's unit, such as 0.001 m.
        offset: the value of a stored 0.
    """

    step: float
    offset: float = 0.0

    def __post_init__(self) -> None:
        if not self.step > 0:
            raise ValueError(f"the step of stored values must be > 0, found {self.step}")


DEFAULT_UNITS: dict[str, FileUnit] = {"depth": FileUnit(0.001)}  # millimetres


def parse_unit(text: str) -> tuple[str, FileUnit]:
    """ "depth=0.001" or "thermal=0.01,-273.15" as the map's name and its unit.

    Raises:
        ValueError: any other form.
    """
    name, equals, numbers = text.partition("=")
    try:
        values = [float(part) for part in numbers.split(",")]
        if not name or not equals or len(values) > 2:
            raise ValueError
    except ValueError:
        raise ValueError(f"a unit is NAME=STEP or NAME=STEP,OFFSET, such as depth=0.001; found {text!r}") from None
    return name, FileUnit(*values)


def unit_of(name: str, units: Mapping[str, FileUnit]) -> FileUnit | None:
    """The unit of a map's files; None where the kind of map fixes it.

    Raises:
        ValueError: it has to be stated.
    """
    if name in (*COLOURS, "normal", "edge"):
        if name in units:
            raise ValueError(f"files of {name!r} have a fixed unit; none can be given")
        return None
    known = {**DEFAULT_UNITS, **units}
    if name not in known:
        raise ValueError(f"say what the stored values of {name!r} mean: --unit {name}=STEP or {name}=STEP,OFFSET")
    return known[name]


def read_map(path: str | Path, name: str, unit: FileUnit | None = None) -> np.ndarray:
    """Reads a map in its own unit.

    Args:
        path: an image: rgb and hha 8 bits per channel; normal three channels of 8 or 16 bits for -1..1; edge one
            channel of which the largest storable value is 1; other maps one channel of 8 or 16 bits.
        name: of the map.
        unit: of other maps, see `unit_of`.

    Returns:
        uint8 [H, W, 3] of colours, else float32 [H, W] or [H, W, 3].

    Raises:
        FileNotFoundError, ValueError: missing, damaged, or of another kind.
    """
    if name in COLOURS:
        return read_rgb(path)
    raw = read_image(path)
    channels = 3 if name == "normal" else 1
    if raw.dtype not in FULL or (1 if raw.ndim == 2 else raw.shape[2]) != channels:
        raise ValueError(f"{name} {path}: expected {channels} channel(s) of 8 or 16 bits, found {stored_kind(raw)}")
    full = FULL[raw.dtype]
    if name == "normal":
        return (raw / (full / 2) - 1).astype(np.float32)
    if unit is None:
        return (raw / full).astype(np.float32)
    if name == "depth" and raw.dtype == np.uint8:
        raise ValueError(f"depth {path}: expected 16 bits, found 8; a depth image of 8 bits carries no metres")
    return (raw * unit.step + unit.offset).astype(np.float32)


def encode_map(values: np.ndarray, name: str, unit: FileUnit | None = None) -> bytes:
    """A map as the PNG that `read_map` reads: colours and edges with 8 bits, all else with 16.

    Args:
        values: [H, W] or [H, W, 3] in the map's unit; colours beyond 0..255, edges beyond 0..1 and components of
            normals beyond -1..1 count as the bound.
        name: of the map.
        unit: see `unit_of`.

    Raises:
        ValueError: values that 16 bits in this unit do not hold.
    """
    x = values.astype(np.float64)
    if name in COLOURS:
        stored = x.round().clip(0, 255).astype(np.uint8)
    elif name == "normal":
        stored = ((x + 1) * 32767.5).round().clip(0, 65535).astype(np.uint16)
    elif unit is None:
        stored = (x * 255).round().clip(0, 255).astype(np.uint8)
    else:
        steps = ((x - unit.offset) / unit.step).round()
        if steps.size and (steps.min() < 0 or steps.max() > 65535):
            raise ValueError(
                f"{name} reaches from {x.min():.6g} to {x.max():.6g}, which 16 bits in steps of {unit.step:g} from "
                f"{unit.offset:g} do not hold; state another unit"
            )
        stored = steps.astype(np.uint16)
    return cv2.imencode(".png", stored[..., ::-1] if stored.ndim == 3 else stored)[1].tobytes()
