"""Clips: maps of a sample that have several frames, each with its time, around the time of the label.

`NAME` [T, H, W] or [T, H, W, c], and beside it `NAME_time` float64 [T], seconds, ascending, as the sensor's own
stamps say, less the delay that a declaration states (`delays`), and nothing else: one that nobody stated is in them.
`time` (a float, seconds, on the clock of the first modality) is that of the label. T may differ from modality to
modality, and is the same in all samples of a dataset.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any, TypeVar

import numpy as np

from rgbx._text import one_of
from rgbx._types import Batch
from rgbx.datasets.timestamps import nearest_of
from rgbx.maps import MASKS, TIMES

Value = TypeVar("Value")

_USUAL_FRAMES = 5


def clips_of(sample: Batch) -> list[str]:
    """The maps of a sample that are clips."""
    return [key.removesuffix(TIMES) for key in sample if key.endswith(TIMES)]


def frame_size(sample: Batch, name: str) -> tuple[int, ...]:
    """(H, W) of a map [H, W, ...], or of the frames of a clip [T, H, W, ...]."""
    shape = np.shape(sample[name])
    return shape[1:3] if f"{name}{TIMES}" in sample else shape[:2]


def check_times(sample: Batch, where: Mapping[str, str]) -> None:
    """Refuses times that no clip has.

    Args:
        sample: as it is read.
        where: what begins messages, by map.

    Raises:
        ValueError: naming the map, what was found and what was expected.
    """
    clips = clips_of(sample)
    time = sample.get("time")
    if clips and (not isinstance(time, Real) or isinstance(time, bool) or not math.isfinite(time)):
        raise ValueError(
            f"sample {sample.get('sample_id')!r} has clips of {clips}: expected time, of its label, in seconds, found "
            f"{time!r}"
        )
    for name in clips:
        times, at = sample[f"{name}{TIMES}"], where.get(name, name)
        if name not in sample:
            raise ValueError(f"sample {sample.get('sample_id')!r} has {name}{TIMES} without {name}")
        if not isinstance(times, np.ndarray) or times.dtype != np.float64 or times.shape != np.shape(sample[name])[:1]:
            raise ValueError(
                f"{at}: expected {name}{TIMES} float64 of {np.shape(sample[name])[:1]}, a time in seconds for "
                f"each frame, found {getattr(times, 'dtype', type(times).__name__)} {np.shape(times)}"
            )
        if not len(times) or not np.isfinite(times).all() or (np.diff(times) <= 0).any():
            raise ValueError(f"{at}: expected ascending times in seconds, found {times.tolist()}")


def nearest_frames(sample: Batch, delays: Mapping[str, float]) -> dict[str, Any]:
    """An ordinary sample of one with clips: of each map the frame whose stamp is nearest to `time` + its delay.

    A sensor that lags by d shows at stamp s the scene at s - d, so that the scene at t has the stamp t + d.

    Args:
        sample: unpacked.
        delays: seconds by map, beyond those that a declaration states, which the stamps do not have any more; none for
            those not named.
    """
    result = {key: value for key, value in sample.items() if key != "time" and not key.endswith(TIMES)}
    for name in clips_of(sample):
        at = nearest_of(sample[f"{name}{TIMES}"], sample["time"] + delays.get(name, 0.0))
        for key in with_masks(sample, name):
            result[key] = sample[key][at]
    return result


def with_masks(sample: Batch, name: str) -> list[str]:
    """A map's key and those of its masks that the sample has."""
    return [name, *(f"{name}{ending}" for ending in MASKS if f"{name}{ending}" in sample)]


def per_modality(
    what: str, given: Value | Mapping[str, Value] | None, names: Sequence[str], default: Value
) -> dict[str, Value]:
    """An option's value for each modality: one for all, or by name.

    Args:
        what: the option, for messages.
        given: one value, values by modality, or None.
        names: the modalities.
        default: of those that have none.

    Raises:
        ValueError: a modality that there is not.
    """
    values: Mapping[str, Value] = given if isinstance(given, Mapping) else {}
    for name in values:
        if name not in names:
            raise ValueError(f"{what} names the modality {name!r}; expected some of {one_of(names, name)}")
    rest = default if given is None or isinstance(given, Mapping) else given
    return {name: values.get(name, rest) for name in names}


def windows_around(
    names: Sequence[str], frames: Mapping[str, int] | int | None, offsets: Mapping[str, int] | int | None
) -> tuple[dict[str, int], dict[str, int]]:
    """How many frames the clip of each modality has, and with which it begins, counted from the nearest to the label.

    Args:
        names: the modalities.
        frames: numbers of frames; 1 of the first, and 5 of others that are not named; one number is of all but the
            first.
        offsets: of the first frame; where none is named the window lies around the label: -2 of 5; one number is of all
            but the first.

    Raises:
        ValueError: what is no whole number or too low, or a modality that there is not.
    """
    counts = per_modality("frames", {names[0]: 1, **_by_name("frames", frames, names)}, names, _USUAL_FRAMES)
    for name, count in counts.items():
        if type(count) is not int or count < 1:
            raise ValueError(f"frames of {name}: expected a whole number >= 1, found {count!r}")
    around = {name: -(count // 2) for name, count in counts.items()}
    begins = per_modality("offsets", {**around, **_by_name("offsets", offsets, names)}, names, 0)
    for name, begin in begins.items():
        if type(begin) is not int:
            raise ValueError(f"offsets of {name}: expected a whole number, found {begin!r}")
    return counts, begins


def _by_name(what: str, given: Mapping[str, int] | int | None, names: Sequence[str]) -> Mapping[str, int]:
    """By modality; one number is of all but the first."""
    if given is None or isinstance(given, Mapping):
        return given or {}
    if type(given) is not int:
        raise ValueError(
            f"{what}: expected whole numbers by modality, such as {{{names[-1]!r}: 5}}, or one for all but "
            f"{names[0]!r}, found {given!r}"
        )
    return dict.fromkeys(names[1:], given)
