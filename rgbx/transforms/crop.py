"""A crop at a random place, for recipes that resize first (286, then 256)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rgbx.datasets.sample import Sample
from rgbx.transforms.spatial import Box, Maps, check_size, crop, image_size, specs_of


class RandomCrop:
    """Cuts a window at a random place, the same of all maps; after `Resize`, as pix2pix and CEN do.

    Required keys: at least one map. Modified keys: all maps and `label` become [h, w, ...], values unchanged.

    Args:
        size: (height, width), or one side of a square.
        maps: specs of maps that are not standard.

    Raises:
        ValueError: when called, an image that is smaller.
    """

    def __init__(self, size: int | Sequence[int], *, maps: Maps | None = None) -> None:
        self.size = check_size("RandomCrop size", size)
        self.maps = maps

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        specs = specs_of(sample, self.maps)
        (height, width), (rows, columns) = image_size(sample, specs), self.size
        if rows > height or columns > width:
            raise ValueError(
                f"RandomCrop of {self.size} from sample {sample.get('sample_id')!r} of {(height, width)}: the image is "
                "smaller; resize it first"
            )
        box = Box(int(rng.integers(height - rows + 1)), int(rng.integers(width - columns + 1)), rows, columns)
        return {**sample, **{name: np.ascontiguousarray(crop(sample[name], box)) for name in specs}}
