"""What a terminal is told: text, whatever the names, lists and files of others hold."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

# C0 but for tab, line feed and the return of progress bars, DEL, C1, halves of characters, and what turns the direction
# of writing; of escape sequences colours pass, which say nothing but colours
_UNSEEN = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1a\x1c-\x1f\x7f-\x9f\ud800-\udfff\u202a-\u202e\u2066-\u2069]|\x1b(?!\\[[0-9;]*m)"
)


def visible(text: str) -> str:
    r"""Text in which control characters stand as Python writes them, "\x1b"."""
    return _UNSEEN.sub(lambda found: ascii(found[0])[1:-1], text)


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
