"""Damaged blocks of a map, and where they are: supervision for networks that learn when a sensor is not to be believed.

`Corrupt` spoils a whole map at stated severities; here most of a map stays as it was measured.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Sequence
from functools import cached_property
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from rgbx._text import one_of
from rgbx.datasets.sample import Sample
from rgbx.maps import STANDARD_MAPS, MapSpec
from rgbx.maps.normals import unit_length
from rgbx.transforms.corruption import NEAREST_M, extent
from rgbx.transforms.spatial import Box, Maps, crop, still

SPREADS = (0.1, 0.5)  # standard deviation of noise, fraction of the map's spread
_SEEN = 2**14  # pixels, about, that say how a map's values are spread
_STRIPE = 8  # stripes are at most this part of the block


class Piece(NamedTuple):
    """A part of a map: values [h, w, ...] and where they count, bool [h, w]."""

    values: np.ndarray
    known: np.ndarray


class DamageBlocks:
    """Damages blocks of maps and hands on where; most of the sample stays as it is, bit for bit.

    Required and modified keys: the maps that are named, shapes, dtypes and units unchanged; their masks `{name}_valid`
    where the sample has them, or where a map of floats whose values cannot say so loses measurements. Added keys:
    `{name}_corrupted`, uint8 [H, W], 1 inside the blocks, of every named map, damaged or not; what an earlier transform
    damaged stays marked. It belongs before PackSample. All randomness comes from the sample's generator.

    The kinds of damage, `DAMAGES`, one drawn for each block:

    - "noise": Gaussian, of a tenth to half of the map's own spread (1st to 99th percentile of each channel).
    - "foreign": what the same map shows at the same place of another frame of the dataset, holes included; one frame
      for all blocks of a sample. It comes as it is read: put the transform before geometry, or the place and size of
      what it shows are not the scene's. A larger frame is cut at a random place, a smaller one repeated. Without
      another frame, it is another place of this one, a quarter to three quarters of each side away.
    - "holes": no measurement. Colours without a mask become black.
    - "constant": one value out of the map's spread.
    - "stripes": rows or columns of such values, each at most an eighth of the block wide.
    - "mirrored": its own content, left and right swapped, as `HorizontalFlip` does it.

    Noise leaves holes as they are, "constant" and "stripes" write values over them. Where damage changes nothing, such
    as holes where nothing was measured, the block counts as damaged all the same.

    Name inputs, not what a head is to predict: its truth would be damaged too.

    Args:
        keys: names of the maps.
        kinds: of `DAMAGES`, drawn with equal chances.
        probability: of damaging a map at all, 0..1, drawn for each map of each sample.
        blocks: (least, most) blocks of a damaged map, both included.
        side: (least, most) share of the map's height, and likewise of its width, that a block has.
        maps: specs of maps that are not standard.

    Attributes:
        borrows: see `rgbx.datasets.sample.Borrower`.

    Raises:
        ValueError: names, kinds or numbers that make no sense; when called, a sample without one of the maps as an
            array.
    """

    def __init__(
        self,
        keys: Sequence[str],
        *,
        kinds: Sequence[str] = ("noise", "foreign", "holes"),
        probability: float = 0.5,
        blocks: Sequence[int] = (1, 4),
        side: Sequence[float] = (0.1, 0.5),
        maps: Maps | None = None,
    ) -> None:
        known = {**STANDARD_MAPS, **(maps or {})}
        self.keys, self.kinds = _names("keys", keys, known), _names("kinds", kinds, DAMAGES)
        if not _rise((0, probability, 1)):
            raise ValueError(f"DamageBlocks probability must be in 0..1, found {probability!r}")
        if not _rise(blocks, 2) or not all(type(n) is int for n in blocks) or blocks[0] < 1:
            raise ValueError(f"DamageBlocks blocks must be whole numbers (least, most), 1 <= least, found {blocks!r}")
        if not _rise(side, 2) or not 0 < side[0] <= side[1] <= 1:
            raise ValueError(
                f"DamageBlocks side must be shares (least, most) with 0 < least <= most <= 1, found {side!r}"
            )
        self.probability, self.blocks, self.side = probability, tuple(blocks), tuple(side)
        self.specs = {key: known[key] for key in self.keys}
        self.borrows = self.keys if "foreign" in self.kinds else ()

    @property
    def needs(self) -> tuple[str, ...]:
        """See `rgbx.datasets.sample.DenseDataset`."""
        return self.keys

    def without(self, names: Collection[str]) -> DamageBlocks | None:
        """The same of the other maps; None where there are none."""
        rest = copy.copy(self)
        rest.keys = tuple(key for key in self.keys if key not in names)
        rest.specs = {key: self.specs[key] for key in rest.keys}
        return rest if rest.keys else None

    def __call__(self, sample: Sample, rng: np.random.Generator, another: Callable[[], Sample] | None = None) -> Sample:
        """See `rgbx.datasets.sample.Borrower`."""
        for name in self.keys:
            if not isinstance(sample.get(name), np.ndarray):
                raise ValueError(
                    f"DamageBlocks needs the array {name!r}, but sample {sample.get('sample_id')!r} has "
                    f"{sorted(sample)}; it comes before PackSample"
                )
            still("DamageBlocks", sample, name)
        result, lender = dict(sample), _Lender(sample, sample[self.keys[0]].shape[:2], rng, another)
        for name, spec in self.specs.items():
            size, before = sample[name].shape[:2], sample.get(f"{name}_corrupted")
            where = np.zeros(size, np.uint8) if before is None else before.copy()
            if rng.random() < self.probability:
                damaged = _Map(spec, sample, lender)
                for _ in range(int(rng.integers(self.blocks[0], self.blocks[1] + 1))):
                    box = self._box(size, rng)
                    damaged.strike(self.kinds[int(rng.integers(len(self.kinds)))], box, rng)
                    crop(where, box)[...] = 1
                result |= damaged.as_sample()
            result[f"{name}_corrupted"] = where
        return result

    def _box(self, size: tuple[int, ...], rng: np.random.Generator) -> Box:
        """Inside the map."""
        shares = rng.uniform(self.side[0], self.side[1], 2).tolist()
        height, width = (max(round(share * length), 1) for share, length in zip(shares, size, strict=True))
        return Box(int(rng.integers(size[0] - height + 1)), int(rng.integers(size[1] - width + 1)), height, width)


class _Lender:
    """Another frame, read when the first block asks for it, and which of its pixels stand for this one's."""

    def __init__(
        self, own: Sample, size: tuple[int, ...], rng: np.random.Generator, another: Callable[[], Sample] | None
    ) -> None:
        self.own, self.size, self.rng, self.another = own, size, rng, another
        self._drawn: list[int] | None = None

    @cached_property
    def sample(self) -> Sample:
        """As it is read."""
        return self.own if self.another is None else self.another()

    def piece(self, spec: MapSpec, box: Box) -> Piece:
        """What its map shows in a box of this frame."""
        values, known = self.sample[spec.name], _known(self.sample, spec)
        down, right = self._offset(values.shape[:2])
        rows = (np.arange(box.top, box.top + box.height) + down) % values.shape[0]
        columns = (np.arange(box.left, box.left + box.width) + right) % values.shape[1]
        return Piece(values[np.ix_(rows, columns)], known[np.ix_(rows, columns)])

    def _offset(self, theirs: tuple[int, ...]) -> list[int]:
        """Rows and columns from a pixel of this frame to the one that stands for it, the same for all maps."""
        if self._drawn is None:
            if self.another is None:
                least = [max(length // 4, 1) for length in self.size]
                spans = [(low, max(length - low, low)) for low, length in zip(least, self.size, strict=True)]
            else:
                spans = [(0, max(their - own, 0)) for their, own in zip(theirs, self.size, strict=True)]
            self._drawn = [int(self.rng.integers(low, high + 1)) for low, high in spans]
        return self._drawn


class _Map:
    """A map of a sample while it is being damaged.

    Attributes:
        values: [H, W, ...] of the map's own dtype.
        known: bool [H, W], where they count.
    """

    def __init__(self, spec: MapSpec, sample: Sample, lender: _Lender) -> None:
        self.spec, self.sample, self.lender = spec, sample, lender
        self.values, self.known = sample[spec.name].copy(), _known(sample, spec)
        self.masked = f"{spec.name}_valid" in sample

    @cached_property
    def span(self) -> tuple[np.ndarray, np.ndarray]:
        """The least and the largest value of the map before it was damaged, outliers aside; [C] each, never equal."""
        pixels, known = self.sample[self.spec.name].reshape(-1, self.spec.channels), _known(self.sample, self.spec)
        step = max(len(pixels) // _SEEN, 1)
        low, high = extent(pixels[::step][known.reshape(-1)[::step]])
        flat = high <= low
        if self.spec.dtype == "uint8" or self.spec.unit == "relative":
            return np.where(flat, 0, low), np.where(flat, 1 if self.spec.unit == "relative" else 255, high)
        return low, np.where(flat, low + np.maximum(np.abs(low), 1), high)

    def strike(self, kind: str, box: Box, rng: np.random.Generator) -> None:
        """Damages a box, in place."""
        here = Piece(crop(self.values, box), crop(self.known, box))
        values, known = DAMAGES[kind](here, self, box, rng)
        here.known[...] = known
        shown = known if values.ndim == 2 else known[..., None]
        here.values[...] = np.where(shown, values, np.asarray(self.spec.fill, self.spec.dtype))

    def possible(
        self,
        values: np.ndarray,  # [h, w, ...]
    ) -> np.ndarray:
        """Computed values as the nearest that the map can have, in its dtype."""
        if self.spec.unit == "unit_vector":
            values = unit_length(values)
        elif self.spec.dtype == "uint8":
            values = np.rint(values).clip(0, 255)
        elif self.spec.unit == "relative":
            values = values.clip(0, 1)
        if self.spec.zero_is_hole:
            values = np.maximum(values, NEAREST_M)
        return values.astype(self.spec.dtype)

    def as_sample(self) -> Sample:
        """The map and, where it needs one, its mask."""
        tells_holes = self.spec.zero_is_hole or self.spec.unit == "unit_vector" or self.spec.dtype == "uint8"
        mask = {f"{self.spec.name}_valid": self.known.astype(np.uint8)}
        return {self.spec.name: self.values, **(mask if self.masked or not (tells_holes or self.known.all()) else {})}


def _known(sample: Sample, spec: MapSpec) -> np.ndarray:
    """bool [H, W]: where a map was measured, by its mask or else its values."""
    array, mask = sample[spec.name], sample.get(f"{spec.name}_valid")
    if mask is not None:
        return np.asarray(mask > 0)
    if spec.zero_is_hole:
        return np.asarray(array > 0)
    return array.any(axis=2) if spec.unit == "unit_vector" else np.ones(array.shape[:2], bool)


def _noise(here: Piece, of: _Map, box: Box, rng: np.random.Generator) -> Piece:
    low, high = of.span
    sigma = rng.uniform(*SPREADS) * (high - low)
    return Piece(of.possible(here.values + sigma * rng.standard_normal(here.values.shape)), here.known)


def _foreign(here: Piece, of: _Map, box: Box, rng: np.random.Generator) -> Piece:
    of.masked |= f"{of.spec.name}_valid" in of.lender.sample
    return of.lender.piece(of.spec, box)


def _holes(here: Piece, of: _Map, box: Box, rng: np.random.Generator) -> Piece:
    return Piece(here.values, np.zeros_like(here.known))


def _constant(here: Piece, of: _Map, box: Box, rng: np.random.Generator) -> Piece:
    values = np.broadcast_to(rng.uniform(*of.span), here.values.shape)
    return Piece(of.possible(values), np.ones_like(here.known))


def _stripes(here: Piece, of: _Map, box: Box, rng: np.random.Generator) -> Piece:
    axis = int(rng.integers(2))
    length, channels = here.known.shape[axis], of.spec.channels
    width = int(rng.integers(max(length // _STRIPE, 1))) + 1
    lines = rng.uniform(*of.span, (-(-length // width), channels)).repeat(width, axis=0)[:length]
    lines = lines.reshape(length, *([] if here.values.ndim == 2 else [channels]))
    values = np.broadcast_to(np.expand_dims(lines, 1 - axis), here.values.shape)
    return Piece(of.possible(values), np.ones_like(here.known))


def _mirrored(here: Piece, of: _Map, box: Box, rng: np.random.Generator) -> Piece:
    values = here.values[:, ::-1].copy()
    if of.spec.unit == "unit_vector":
        values[..., 0] *= -1
    return Piece(values, here.known[:, ::-1].copy())


def _rise(values: object, count: int = 3) -> bool:
    """Whether they are so many numbers, none less than the one before it."""
    if not isinstance(values, Sequence) or len(values) != count or not all(isinstance(n, (int, float)) for n in values):
        return False
    return all(a <= b for a, b in pairwise(values))


def _names(option: str, given: Sequence[str], known: Collection[str]) -> tuple[str, ...]:
    """Distinct names that are known."""
    listed = isinstance(given, Sequence) and not isinstance(given, str)
    if not listed or not given or len(set(map(str, given))) < len(given):
        raise ValueError(f"DamageBlocks {option} must be a sequence of distinct names, found {given!r}")
    for name in given:
        if not isinstance(name, str) or name not in known:
            raise ValueError(f"DamageBlocks {option} names {name!r}; expected some of {one_of(sorted(known), name)}")
    return tuple(given)


DAMAGES: dict[str, Callable[[Piece, _Map, Box, np.random.Generator], Piece]] = {
    "noise": _noise,
    "foreign": _foreign,
    "holes": _holes,
    "constant": _constant,
    "stripes": _stripes,
    "mirrored": _mirrored,
}
