"""How label files hold class ids, read and written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np

from rgbx.maps.files import counted, read_colours, read_stored_ids
from rgbx.maps.spec import IGNORE_INDEX

_MOST_CLASSES = IGNORE_INDEX
_LARGEST_STORED = 2**16 - 1  # of a PNG
Colour = tuple[int, int, int]  # red, green, blue


@dataclass(frozen=True)
class LabelEncoding:
    """How label files hold class ids: train id = value - offset; void values and 255 are 255.

    Attributes:
        offset: 1 where the file counts void as 0.
        void: stored whole numbers that mean "no class", such as 0, -1 or 65535; with `colours`, red, green, blue.
        table: the train id of each stored value 0..255, in place of offset and void.
        values: the stored whole number of each class, in place of offset; 255 is a class where it is one of them, and
            void otherwise. Values that are neither are refused.
        colours: red, green and blue of each class, in place of all these numbers.
        key: the array of an `.npz` with several.

    Raises:
        ValueError: a value below the offset that is not declared void, more than one of offset, table, values and
            colours, or a value or colour that stands for two things.
    """

    offset: int = 0
    void: tuple[int, ...] | tuple[Colour, ...] = ()
    table: tuple[int, ...] = ()
    values: tuple[int, ...] = ()
    colours: tuple[Colour, ...] = ()
    key: str = ""

    def __post_init__(self) -> None:
        given = [name for name in ("offset", "table", "values", "colours") if getattr(self, name)]
        if len(given) > 1:
            raise ValueError(f"a label has one of offset, table, values and colours, found {given}")
        stored = (*(self.colours or self.values), *self.void)
        twice = (
            sorted({str(value) for value in stored if stored.count(value) > 1}) if self.colours or self.values else []
        )
        if twice:
            raise ValueError(f"stored values of a label must differ, found {', '.join(twice)} more than once")
        if len(stored) - len(self.void) > _MOST_CLASSES:
            raise ValueError(f"a label has at most {_MOST_CLASSES} classes, found {len(stored) - len(self.void)}")
        negative = [value for value in range(self.offset) if value not in (*self.void, IGNORE_INDEX)]
        if negative:
            raise ValueError(f"label offset {self.offset} makes ids negative for values {negative}: list them in void")

    @cached_property
    def lookup(self) -> np.ndarray:
        """uint8 [256]: stored value to train id; values that are refused have 255 too."""
        ids = [self._train_id(value) for value in range(IGNORE_INDEX + 1)]
        return np.array([IGNORE_INDEX if found is None else found for found in ids], dtype=np.uint8)

    def read(self, path: str | Path) -> np.ndarray:
        """Train ids, uint8 [H, W].

        Raises:
            FileNotFoundError, ValueError: see `stored` and `decode`.
        """
        return self.decode(self.stored(path), path)

    def stored(self, path: str | Path) -> np.ndarray:
        """Whole numbers [H, W] as the file holds them, or colours uint8 [H, W, 3].

        Raises:
            FileNotFoundError, ValueError: see `rgbx.maps.files.read_stored_ids`.
        """
        return read_colours(path) if self.colours else read_stored_ids(path, self.key)

    def decode(self, stored: np.ndarray, path: str | Path = "") -> np.ndarray:
        """Train ids, uint8 [H, W], of what `stored` gives.

        Raises:
            ValueError: values that stand for no class and are not void; names the path.
        """
        if self.colours:
            return self._decode_colours(stored, path)
        if stored.dtype == np.uint8:
            if self._refused.size and (wrong := np.isin(stored, self._refused)).any():
                raise self._unknown(path, counted(stored[wrong]))
            return cv2.LUT(stored, self.lookup)
        values, where = np.unique(stored, return_inverse=True)
        ids = [self._train_id(value) for value in values.tolist()]
        unknown = [value for value, found in zip(values, ids, strict=True) if found is None]
        if unknown:
            raise self._unknown(path, f"{counted(stored[np.isin(stored, unknown)])} in {stored.dtype}")
        return np.array(ids, np.uint8)[where].reshape(stored.shape)

    def encode(self, ids: np.ndarray) -> np.ndarray:
        """Train ids, uint8 [H, W], as files store them: the smallest value that reads as the id; others as 255 does.

        Returns:
            uint8 [H, W], uint16 where a value needs it, or colours uint8 [H, W, 3].

        Raises:
            ValueError: an id whose stored value no PNG can hold.
        """
        if self.colours:
            inverse = np.zeros((256, 3), np.uint8)
            known = len(self.colours)
            inverse[:known] = self.colours
            if self.void:
                inverse[known:] = self.void[0]
            return self._written(inverse, ids, range(256) if self.void else range(known))
        smallest: dict[int, int] = {}
        for value in sorted({*range(256), *self.values, *self._void_numbers}):
            found = self._train_id(value)
            if found is not None and 0 <= value <= _LARGEST_STORED:
                smallest.setdefault(found, value)
        void = smallest.get(IGNORE_INDEX)
        values = [smallest.get(found, void) for found in range(256)]
        known_ids = [found for found, value in enumerate(values) if value is not None]
        inverse = np.array([value or 0 for value in values])
        kind = np.uint8 if inverse.max() <= IGNORE_INDEX else np.uint16
        return self._written(inverse.astype(kind), ids, known_ids)

    def _written(self, inverse: np.ndarray, ids: np.ndarray, known: Sequence[int]) -> np.ndarray:
        """The rows of inverse [256] or [256, 3] for ids [H, W]."""
        if len(known) < 256 and (wrong := ~np.isin(ids, known)).any():
            raise ValueError(f"ids {counted(ids[wrong])} have no stored value that a PNG can hold; give one in void")
        return inverse[ids]

    @cached_property
    def _void_numbers(self) -> frozenset[int]:
        return frozenset(value for value in self.void if isinstance(value, int))

    @cached_property
    def _refused(self) -> np.ndarray:
        """uint8 [...]: the values of 8 bits that stand for nothing."""
        return np.array([value for value in range(256) if self._train_id(value) is None], np.uint8)

    def _train_id(self, value: int) -> int | None:
        """Of a stored value; None where it stands for nothing."""
        if self.table:
            return self.table[value] if 0 <= value < len(self.table) else None
        if self.values and value in self.values:
            return self.values.index(value)
        if value in self._void_numbers or value == IGNORE_INDEX:
            return IGNORE_INDEX
        train_id = value - self.offset
        return train_id if 0 <= train_id < IGNORE_INDEX and not self.values else None

    def _decode_colours(
        self,
        image: np.ndarray,  # uint8 [H, W, 3]
        path: str | Path,
    ) -> np.ndarray:
        """Train ids, uint8 [H, W]."""
        known = np.array([*self.colours, *self.void], np.uint8)
        ids = np.array([*range(len(self.colours)), *[IGNORE_INDEX] * len(self.void)], np.uint8)
        order = np.argsort(numbers := _as_numbers(known))
        numbers, ids = numbers[order], ids[order]
        found = _as_numbers(image)
        place = np.minimum(np.searchsorted(numbers, found), len(numbers) - 1)
        wrong = numbers[place] != found
        if wrong.any():
            colours, counts = np.unique(image[wrong], axis=0, return_counts=True)
            most = np.argsort(-counts)[:5]
            first = ", ".join(f"{colours[i].tolist()} on {counts[i]} pixels" for i in most)
            more = f" and {len(colours) - 5} more" if len(colours) > 5 else ""
            raise self._unknown(path, f"the colours {first}{more}")
        return ids[place]

    def _unknown(self, path: str | Path, found: str) -> ValueError:
        expected = "colours must be those declared" if self.colours else "ids must be 0..255"
        if self.values:
            expected = f"values must be {str(list(self.values[:10]))[:-1]}{', …' if len(self.values) > 10 else ''}]"
        beyond = [value for value in self.void if self.colours or self.values or value not in range(256)]
        void = f" or the void {', '.join(map(str, beyond))}" if beyond else ""
        return ValueError(
            f"label {path}: {expected}{void}, found {found}; list what stands for no class in void, or is this an "
            "instance or a depth image?"
        )


def _as_numbers(colours: np.ndarray) -> np.ndarray:
    """One number, int32 [...], of each colour, uint8 [..., 3]."""
    wide = colours.astype(np.int32)
    return wide[..., 0] << 16 | wide[..., 1] << 8 | wide[..., 2]
