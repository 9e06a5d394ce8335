"""Values of strangers, and what code that meets them says."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

LONGEST_MESSAGE = 1_000  # of what is said about such values


@contextmanager
def refusing(where: str, what: str = "its recipe cannot be used") -> Iterator[None]:
    """What goes wrong with a stranger's values in this block is a ValueError that says where they are from.

    Args:
        where: begins the messages.
        what: said before errors that were not meant for people.
    """
    try:
        yield
    except ValueError as error:
        if str(error).startswith(where):
            raise
        raise ValueError(f"{where}: {str(error)[:LONGEST_MESSAGE]}") from error
    except Exception as error:  # whatever code meets in values that are not what it expects
        raise ValueError(f"{where}: {what}: {type(error).__name__}: {str(error)[:LONGEST_MESSAGE]}") from error
