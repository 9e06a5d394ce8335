"""Clips in a batch: several frames of each modality, taken at times of its own around the time of the label.

``NAME`` [N, T, c, H, W] with ``NAME_time`` [N, T] in seconds and ``time`` [N], when the label holds. T is a modality's
own. ``NAME_valid`` bool or uint8 [N, T, 1, H, W].
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from rgbx._types import Batch
from rgbx.layers import CLIP
from rgbx.maps import TIMES


class Clip(NamedTuple):
    """A modality of a batch of clips.

    Attributes:
        length: T.
        times: of the frames after the label's, float32 [N, T] in seconds.
        folded: its maps by their keys, as of N*T samples: [N*T, c, H, W] and, where the batch has it, [N*T, 1, H, W].
    """

    length: int
    times: Tensor
    folded: dict[str, Tensor]


def read_clip(name: str, data: Batch) -> Clip:
    """A modality of a batch that is a clip.

    Raises:
        ValueError: without times, or with others than its frames; the message names the key.
    """
    frames, valid = data[name], data.get(f"{name}_valid")
    shape = list(frames.shape[:2])
    if f"{name}_corrupted" in data:
        raise ValueError(f"the batch holds {name}_corrupted of a clip; gates of purification read stills")
    stamps, time = _seconds(f"{name}{TIMES}", data, shape), _seconds("time", data, shape[:1])
    if not (stamps.isfinite().all() and time.isfinite().all()):
        raise ValueError(f"{name}{TIMES} or time of the batch is not finite; expected seconds")
    folded = {name: frames.flatten(0, 1)}
    if valid is not None:
        if not isinstance(valid, Tensor) or list(valid.shape) != [*shape, 1, *frames.shape[3:]]:
            found = list(valid.shape) if isinstance(valid, Tensor) else type(valid).__name__
            raise ValueError(f"{name}_valid is {found}; expected a tensor bool {[*shape, 1, *frames.shape[3:]]}")
        folded[f"{name}_valid"] = valid.flatten(0, 1)
    return Clip(shape[1], (stamps - time[:, None]).float(), folded)


def _seconds(key: str, data: Batch, shape: list[int]) -> Tensor:
    """float64 of a key of the batch."""
    value = data.get(key)
    if not isinstance(value, Tensor) or list(value.shape) != shape:
        found = f"{list(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
        found = found if key in data else "not in the batch"
        raise ValueError(f"{key} is {found}; expected a tensor {shape} in seconds, as the batch holds clips")
    return value.to(torch.float64)


def refuse_clips(inputs: Mapping[str, Tensor]) -> None:
    """Refuses clips [N, T, c, H, W] among the inputs of a model that reads stills.

    Raises:
        ValueError: naming the first and the ways out.
    """
    for name, x in inputs.items():
        if x.ndim == CLIP:
            raise ValueError(
                f"input {name} is a clip of {x.shape[1]} frames, {list(x.shape)}; this model reads stills: take the "
                "frames nearest to the label by the transform NearestFrames, each frame as a map of its own by "
                "FramesAsMaps, or a fusion method that reads clips, such as 'mea'"
            )


def times_of(
    inputs: Mapping[str, Tensor],  # [N, T, c, H, W] or [N, c, H, W] each
    times: Mapping[str, Tensor] | None,  # [N, T] each
) -> dict[str, Tensor]:
    """Times of all inputs of a model that reads clips, [N, T]; of stills among them 0.

    Raises:
        ValueError: a clip without times, or with those of other frames.
    """
    found = {}
    for name, x in inputs.items():
        shape = list(x.shape[:2]) if x.ndim == CLIP else [len(x), 1]
        own = None if times is None else times.get(name)
        if own is None and x.ndim != CLIP:
            own = torch.zeros(shape, device=x.device)
        if own is None or list(own.shape) != shape:
            given = "none" if own is None else f"{list(own.shape)}"
            raise ValueError(
                f"input {name} is a clip {list(x.shape)} with times {given}; expected times={{{name!r}: {shape}}}, "
                "seconds after the label, as data_preprocessor gives them"
            )
        found[name] = own
    return found
