"""Colours for classes that have none of their own."""

from __future__ import annotations


def bitwise_palette(count: int) -> list[list[int]]:
    """The usual 256-colour palette: bit 3j + c of the index is bit 7 - j of channel c.

    Entry 0 is black.
    """
    return [
        [sum(((index >> (3 * j + c)) & 1) << (7 - j) for j in range(8)) for c in range(3)] for index in range(count)
    ]
