"""Clips as ordinary frames, for networks that read one frame of each modality; see `rgbx.datasets.clip`.

Both belong before `PackSample`, and before or after geometry.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from rgbx.datasets.clip import clips_of, nearest_frames, with_masks
from rgbx.datasets.sample import Sample
from rgbx.maps import STANDARD_MAPS, TIMES, MapSpec
from rgbx.transforms.spatial import Maps


class NearestFrames:
    """Keeps of every clip the frame that was nearest in time, which makes an ordinary sample.

    Required keys: `time`, `{name}_time` of each clip. Modified keys: clips and their masks lose their first axis.
    Removed keys: `time`, `{name}_time`. A sample without clips stays as it is.

    Args:
        delays: seconds by which a modality lags, estimated or known (`rgbx.doctor.delay`): a sensor that lags by d
            shows the scene at t in the frame with the stamp t + d. They come on top of those that a declaration
            states, which are taken off the stamps already: one delay belongs into one of the two. None for those not
            named.
        augment: (low, high) in seconds by modality, of which each visit draws a further delay, for networks that are
            to bear delays.

    Raises:
        ValueError: numbers that make no sense; when called, a named modality that is no clip of the sample.
    """

    makes_stills = True

    def __init__(
        self,
        *,
        delays: Mapping[str, float] | None = None,
        augment: Mapping[str, Sequence[float]] | None = None,
    ) -> None:
        self.delays, self.augment = dict(delays or {}), dict(augment or {})
        for name, span in self.augment.items():
            if len(span) != 2 or not -np.inf < span[0] <= span[1] < np.inf:
                raise ValueError(f"NearestFrames augment of {name!r} must be (low, high) in seconds, found {span!r}")
        for name, delay in self.delays.items():
            if not np.isfinite(delay):
                raise ValueError(f"NearestFrames delay of {name!r} must be in seconds, found {delay!r}")

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        clips = clips_of(sample)
        wrong = [name for name in (*self.delays, *self.augment) if name not in clips]
        if wrong:
            raise ValueError(
                f"NearestFrames has delays of {wrong}, but the clips of sample {sample.get('sample_id')!r} are {clips}"
            )
        drawn = {name: float(rng.uniform(span[0], span[1])) for name, span in self.augment.items()}
        delays = {name: self.delays.get(name, 0.0) + drawn.get(name, 0.0) for name in clips}
        return nearest_frames(sample, delays) if clips else sample


class FramesAsMaps:
    """Makes each frame of a clip a map of its own, `NAME_0` (the earliest), `NAME_1`, ..., for any fusion to read.

    A model then has these names as its modalities; `fusion="early"` stacks them. A clip that is not named must have one
    frame and keeps its name.

    Required keys: `{name}_time` of each named clip. Removed keys: the named clips with their masks, `time`,
    `{name}_time`. Added keys: `{name}_{k}`, [H, W, ...] of the clip's own dtype and unit, and its masks
    `{name}_{k}_valid` where the clip has any.

    Args:
        frames: how many frames each has, by modality.
        maps: specs of maps that are not standard.

    Raises:
        ValueError: a modality without a spec or a count below 1; when called, clips of another number of frames.
    """

    makes_stills = True

    def __init__(self, frames: Mapping[str, int], *, maps: Maps | None = None) -> None:
        known = {**STANDARD_MAPS, **(maps or {})}
        for name, count in frames.items():
            if name not in known or type(count) is not int or count < 1:
                raise ValueError(
                    f"FramesAsMaps needs numbers of frames >= 1 of maps with a MapSpec ({sorted(known)}), found "
                    f"{name!r}: {count!r}"
                )
        self.frames = dict(frames)
        self.added_maps: dict[str, MapSpec] = {
            f"{name}_{k}": replace(known[name], name=f"{name}_{k}")
            for name, count in frames.items()
            for k in range(count)
        }
        self.adds = tuple(self.added_maps)
        # of depth without a unit it is the name that says that 0 is no measurement
        self.unsaid = {n for n in frames if known[n].zero_is_hole and not self.added_maps[f"{n}_0"].zero_is_hole}

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        counts = {name: len(sample[name]) for name in clips_of(sample)}
        if counts != {**dict.fromkeys(counts, 1), **self.frames}:
            raise ValueError(
                f"FramesAsMaps expects {self.frames} frames, and one of other clips; sample "
                f"{sample.get('sample_id')!r} has {counts}"
            )
        result = {key: value for key, value in sample.items() if key != "time" and not key.endswith(TIMES)}
        for name in counts:
            for key in with_masks(sample, name):
                frames, ending = result.pop(key), key.removeprefix(name)
                names = [f"{name}_{k}" for k in range(len(frames))] if name in self.frames else [name]
                result |= {f"{own}{ending}": frame for own, frame in zip(names, frames, strict=True)}
                if key == name and name in self.unsaid and f"{name}_valid" not in sample:
                    result |= {f"{own}_valid": (result[own] > 0).astype(np.uint8) for own in names}
        return result
