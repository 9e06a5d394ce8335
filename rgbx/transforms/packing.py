"""Packing: arrays of one sample to tensors, and the tensors of several samples to a batch."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import default_collate

from rgbx._types import Batch
from rgbx.datasets.clip import clips_of
from rgbx.datasets.sample import Sample
from rgbx.maps import MASKS, TIMES
from rgbx.transforms.spatial import MASK, Maps, specs_of


class PackSample:
    """Turns a sample's arrays into tensors, channels first; the last transform.

    Values stay in their units: the model's preprocessor, saved in its checkpoint, normalises.

    Required keys: at least one map. Modified keys: every map becomes [C, H, W] in its own dtype
    (rgb uint8 [3, H, W], depth float32 [1, H, W]); `label` becomes int64 [H, W]. Added keys:
    `{name}_valid` bool [1, H, W] for `depth` and every map in metres, True where its value > 0, and for maps of unit
    vectors, True where the vector is not 0; a mask `{name}_valid` that the sample brings is packed in its place,
    and `{name}_corrupted` alike. `sample_id` and `paths` are unchanged. A clip becomes [T, C, H, W] and its masks
    [T, 1, H, W]; `{name}_time` becomes float64 [T], and `time` float64 [].

    Args:
        maps: specs of maps that are not standard.
        require: keys that must be present, such as ("rgb", "depth", "label").

    Raises:
        ValueError: a required key is absent, or a map's dtype or channels are not its spec's.
    """

    def __init__(self, *, maps: Maps | None = None, require: tuple[str, ...] = ()) -> None:
        self.maps = maps
        self.require = tuple(require)

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        missing = [key for key in self.require if key not in sample]
        if missing:
            raise ValueError(f"PackSample: sample {sample.get('sample_id')!r} lacks {missing}; it has {sorted(sample)}")
        packed = dict(sample)
        clips = clips_of(sample)
        for name, spec in specs_of(sample, self.maps).items():
            array, base = sample[name], name
            for ending in MASKS:
                base = base.removesuffix(ending) if base.removesuffix(ending) in clips else base
            frames = array.shape[: int(base in clips)]
            if array.dtype != spec.dtype or array.shape != (*frames, *spec.shape(*array.shape[len(frames) :][:2])):
                raise ValueError(
                    f"PackSample: {name} of sample {sample.get('sample_id')!r} must be "
                    f"{spec.dtype} with {spec.channels} channels, found {array.dtype} "
                    f"{array.shape}"
                )
            if name == "label":
                packed[name] = torch.from_numpy(array.astype(np.int64))
                continue
            if spec.unit == MASK:
                packed[name] = torch.from_numpy(np.expand_dims(array, -3) > 0)
                continue
            packed[name] = torch.from_numpy(np.stack([*map(_planes, array)]) if frames else _planes(array))
            if f"{name}_valid" in sample:
                continue
            if spec.zero_is_hole:
                packed[f"{name}_valid"] = torch.from_numpy(np.expand_dims(array, -3) > 0)
            if spec.unit == "unit_vector":
                packed[f"{name}_valid"] = torch.from_numpy(np.expand_dims(array.any(axis=-1), -3))
        for key in (f"{name}{TIMES}" for name in clips):
            packed[key] = torch.tensor(sample[key])
        return {**packed, "time": torch.tensor(sample["time"], dtype=torch.float64)} if clips else packed


def collate(samples: Sequence[Sample]) -> Batch:
    """A batch of packed samples, by torch's default_collate.

    A mask that only some of them have would be lost, or missed, without a word. For the others `{map}_valid`, as of
    files that say what was not measured, is true all over, and `{map}_corrupted` false: nobody damaged them.
    """
    masks = {key for sample in samples for key in sample if key.endswith(MASKS)}
    partial = [key for key in masks if any(key not in sample for sample in samples)]
    filled = [{**{key: _unsaid(sample, key) for key in partial}, **sample} for sample in samples]
    batch: Batch = default_collate(filled if partial else list(samples))
    return batch


def _unsaid(sample: Sample, key: str) -> Tensor:
    """The mask bool [1, H, W], of a clip [T, 1, H, W], that a packed sample means without having it."""
    name, valid = key.rpartition("_")[0], key.endswith("_valid")
    if not isinstance(sample.get(name), Tensor):
        raise ValueError(f"sample {sample.get('sample_id')!r} has neither {key!r} nor {name!r} of its batch")
    return torch.full_like(sample[name].narrow(-3, 0, 1), valid, dtype=torch.bool)


def _planes(array: np.ndarray) -> np.ndarray:
    """A copy [C, H, W] of [H, W] or [H, W, C]; OpenCV splits colours faster than numpy transposes."""
    planes = np.empty((array.shape[2] if array.ndim == 3 else 1, *array.shape[:2]), array.dtype)
    if array.ndim == 3 and array.shape[2] in (3, 4):
        cv2.split(array, list(planes))
    else:
        planes[...] = array if array.ndim == 2 else array.transpose(2, 0, 1)
    return planes
