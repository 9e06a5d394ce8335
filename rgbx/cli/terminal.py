"""What a terminal is told: text, whatever the names, lists and files of others hold."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from rgbx._text import visible


class _Told:
    """A stream that writes what is visible; in all else it is the one that it stands for."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        self._stream.write(visible(text))
        return len(text)

    def writelines(self, lines: list[str]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def plain_terminal() -> Iterator[None]:
    """In this block, nothing that is printed moves a cursor, names a window or cannot be encoded."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (each and _Told(each) for each in before)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before
