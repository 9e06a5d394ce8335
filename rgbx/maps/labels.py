"""How label files hold class ids, read and written."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np

from rgbx._files import File
from rgbx.maps.arrays import row_blocks
from rgbx.maps.files import counted, read_colours, read_stored_ids
from rgbx.maps.spec import IGNORE_INDEX

_MOST_CLASSES = IGNORE_INDEX
_LARGEST_NUMBER, _LARGEST_COLOUR = 2**16 - 1, 2**24 - 1  # of a PNG
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

    def read(self, path: File) -> np.ndarray:
        """Train ids, uint8 [H, W].

        Raises:
            FileNotFoundError, ValueError: see `stored` and `decode`.
        """
        return self.decode(self.stored(path), path)

    def stored(self, path: File) -> np.ndarray:
        """Whole numbers [H, W] as the file holds them, or colours uint8 [H, W, 3].

        Raises:
            FileNotFoundError, ValueError: see `rgbx.maps.files.read_stored_ids`.
        """
        return read_colours(path) if self.colours else read_stored_ids(path, self.key)

    def decode(self, stored: np.ndarray, path: File = "") -> np.ndarray:
        """Train ids, uint8 [H, W], of what `stored` gives.

        Raises:
            ValueError: values that stand for no class and are not void; names the path.
        """
        if stored.dtype == np.uint8 and not self.colours:
            if self.values and (wrong := cv2.LUT(stored, self._refused).astype(bool)).any():
                raise self._unknown(path, stored[wrong])
            return cv2.LUT(stored, self.lookup)
        numbers, ids = self._known
        found, wrong = np.empty(stored.shape[:2], np.uint8), np.empty(stored.shape[:2], bool)
        for rows in row_blocks(stored.shape):
            wide = _as_numbers(stored[rows]) if self.colours else stored[rows].astype(np.int64)
            place = np.minimum(np.searchsorted(numbers, wide), len(numbers) - 1)
            found[rows], wrong[rows] = ids[place], numbers[place] != wide
            if stored.dtype == np.uint64:
                wrong[rows] |= wide < 0  # beyond int64
        if wrong.any():
            raise self._unknown(path, stored[wrong])
        return found

    def encode(self, ids: np.ndarray) -> np.ndarray:
        """Train ids, uint8 [H, W], as files store them: the smallest value that reads as the id; others as 255 does.

        Returns:
            uint8 [H, W], uint16 where a value needs it, or colours uint8 [H, W, 3].

        Raises:
            ValueError: an id whose stored value no PNG can hold.
        """
        numbers, known = self._known
        fits = (numbers >= 0) & (numbers <= (_LARGEST_COLOUR if self.colours else _LARGEST_NUMBER))
        written, first = np.unique(known[fits], return_index=True)
        inverse = np.full(256, -1)
        inverse[written] = numbers[fits][first]
        inverse[np.setdiff1d(np.arange(256), known)] = inverse[IGNORE_INDEX]
        stored = inverse[ids]
        if (stored < 0).any():
            wrong = counted(ids[stored < 0])
            raise ValueError(f"ids {wrong} have no stored value that a PNG can hold; name one >= 0 in void")
        if self.colours:
            return np.stack([stored >> 16, stored >> 8 & 255, stored & 255], axis=-1).astype(np.uint8)
        return stored.astype(np.uint8 if inverse.max() <= IGNORE_INDEX else np.uint16)

    @cached_property
    def _known(self) -> tuple[np.ndarray, np.ndarray]:
        """int64 [n] and uint8 [n]: the stored numbers that stand for something, ascending, and their train ids."""
        if self.colours:
            colours = _as_numbers(np.array([*self.colours, *self.void])).tolist()
            found = dict(zip(colours, [*range(len(self.colours)), *[IGNORE_INDEX] * len(self.void)], strict=True))
        else:
            ids = {number: self._train_id(number) for number in {*range(256), *self.values, *self._void_numbers}}
            found = {number: train_id for number, train_id in ids.items() if train_id is not None}
        return np.array(sorted(found)), np.array([found[number] for number in sorted(found)], np.uint8)

    @cached_property
    def _refused(self) -> np.ndarray:
        """uint8 [256]: 1 for each value 0..255 that stands for nothing."""
        return np.array([self._train_id(value) is None for value in range(256)], np.uint8)

    @cached_property
    def _void_numbers(self) -> frozenset[int]:
        return frozenset(value for value in self.void if isinstance(value, int))

    def _train_id(self, value: int) -> int | None:
        """Of a stored whole number; None where it stands for nothing."""
        if self.table:
            return self.table[value] if 0 <= value < len(self.table) else None
        if value in self.values:
            return self.values.index(value)
        if value in self._void_numbers or value == IGNORE_INDEX:
            return IGNORE_INDEX
        train_id = value - self.offset
        return train_id if 0 <= train_id < IGNORE_INDEX and not self.values else None

    def _unknown(
        self,
        path: File,
        wrong: np.ndarray,  # [n] or [n, 3]
    ) -> ValueError:
        expected, found = "ids must be 0..255", f"{counted(wrong)} in {wrong.dtype}"
        if self.values:
            expected = f"values must be {', '.join(map(str, self.values[:10]))}{' …' if len(self.values) > 10 else ''}"
        if self.colours:
            colours, counts = np.unique(wrong, axis=0, return_counts=True)
            first = ", ".join(f"{colours[i].tolist()} on {counts[i]} pixels" for i in np.argsort(-counts)[:5])
            more = f" and {len(colours) - 5} more colours" if len(colours) > 5 else ""
            expected, found = "colours must be those declared", f"{first}{more}"
        beyond = [value for value in self.void if self.colours or self.values or value not in range(256)]
        void = f" or the void {', '.join(map(str, beyond))}" if beyond else ""
        return ValueError(
            f"label {path}: {expected}{void}, found {found}; list what stands for no class in void, or is this an "
            "instance or a depth image?"
        )


def _as_numbers(colours: np.ndarray) -> np.ndarray:
    """One number, int64 [...], of each colour, whole numbers 0..255 [..., 3]."""
    wide = colours.astype(np.int64)
    return wide[..., 0] << 16 | wide[..., 1] << 8 | wide[..., 2]
