"""Measured depth held out of the input, to train and score its completion on pixels whose depth is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from rgbx.datasets.sample import Sample
from rgbx.maps import STANDARD_MAPS, MapSpec
from rgbx.transforms.computed import source_array
from rgbx.transforms.spatial import Maps, still


class HoldOutDepth:
    """Punches random holes into a map of depth and gives the whole one as a map to predict.

    It may come before or after geometry, before PackSample. All randomness comes from the sample's generator.

    Required and modified key: `source`, float32 [H, W], 0 = no measurement; 0 in the holes too, and in its mask
    `{source}_valid` where the sample has one, which then says what was measured. Added keys: `target`,
    float32 [H, W], the source as it was, and `{target}_valid`, uint8 [H, W], 1 on pixels that were measured and are
    held out of the source, the only ones to be scored: no model can copy them. Pixels that were damaged before
    (`{source}_corrupted`) are no truth and are not among them.

    Args:
        keep: share of the pixels that stay, 0 < keep < 1.
        block: side in pixels of the squares that are kept or held out as a whole; 1 for single pixels.
        source: the map that gets holes.
        target: what the whole one is called.
        maps: specs of maps that are not standard.

    Raises:
        ValueError: a share or side that makes no sense, or a source without a spec or that is no depth; when called, a
            sample without the source as an array, or with a target of its own.
    """

    def __init__(
        self,
        keep: float = 0.5,
        *,
        block: int = 1,
        source: str = "depth",
        target: str = "depth_dense",
        maps: Maps | None = None,
    ) -> None:
        if not 0 < keep < 1 or block < 1:
            raise ValueError(f"HoldOutDepth needs 0 < keep < 1 and block >= 1, found keep {keep} and block {block}")
        known = {**STANDARD_MAPS, **(maps or {})}
        spec = known.get(source)
        if spec is None or (spec.channels, spec.dtype) != (1, "float32"):
            raise ValueError(f"HoldOutDepth needs a source of one channel of float32, found {source!r} ({spec})")
        self.keep, self.block, self.source, self.target = keep, block, source, target
        self.adds = (target,)
        self.added_maps: dict[str, MapSpec] = {target: replace(spec, name=target)}

    @property
    def needs(self) -> tuple[str, ...]:
        """See `rgbx.datasets.sample.DenseDataset`."""
        return (self.source,)

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        whole = source_array("HoldOutDepth", sample, self.source, self.target)
        still("HoldOutDepth", sample, self.source)
        held = self._held_out(whole.shape[0], whole.shape[1], rng)
        mask = f"{self.source}_valid"
        known = sample[mask] > 0 if mask in sample else whole > 0
        damaged = sample.get(f"{self.source}_corrupted")
        scored = held & known if damaged is None else held & known & (damaged == 0)
        left = {mask: (known & ~held).astype(np.uint8)} if mask in sample else {}
        return {
            **sample,
            **left,
            self.source: np.where(held, np.float32(0), whole),
            self.target: whole,
            f"{self.target}_valid": scored.astype(np.uint8),
        }

    def _held_out(self, height: int, width: int, rng: np.random.Generator) -> np.ndarray:
        """bool [H, W]; blocks begin at a random place, so that their grid is never the same."""
        down, right = rng.integers(self.block, size=2).tolist()
        cells = rng.random((-(-(height + down) // self.block), -(-(width + right) // self.block))) >= self.keep
        pixels = cells.repeat(self.block, axis=0).repeat(self.block, axis=1)
        return pixels[down : down + height, right : right + width]
