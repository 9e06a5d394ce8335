"""Files that are there as a whole or not at all."""

from __future__ import annotations

import uuid
from pathlib import Path


def replace_file(path: Path, content: bytes | memoryview) -> None:
    """Writes a file, and its folder if need be, so that no reader ever sees a part of it.

    Args:
        path: replaced if it is there.
        content: all of it.

    Raises:
        OSError: it cannot be written; nothing is left of it then.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex}.part")
    try:
        part.write_bytes(content)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
