"""The stages of a network that an option chooses, by their numbers."""

from __future__ import annotations

from collections.abc import Sequence


def check_stages(stages: Sequence[int] | None, what: str) -> tuple[int, ...] | None:
    """The numbers that a field ``stages`` holds, or None for all stages.

    Args:
        stages: as they were given.
        what: begins the message, "fusion".

    Raises:
        ValueError: something else than distinct whole numbers.
    """
    if stages is None:
        return None
    whole = isinstance(stages, Sequence) and all(type(stage) is int for stage in stages)
    if not whole or not stages or len(set(stages)) < len(stages):
        raise ValueError(f"{what} field stages is {stages!r}; expected distinct numbers, or None for all")
    return tuple(stages)


def chosen_stages(stages: Sequence[int] | None, count: int, what: str, network: str) -> tuple[int, ...]:
    """The numbers that are meant of a network of `count` stages.

    Raises:
        ValueError: for a stage that the network, in the message by its name, does not have.
    """
    numbers = tuple(range(1, count + 1)) if stages is None else tuple(stages)
    for number in numbers:
        if not 1 <= number <= count:
            raise ValueError(f"{what} stage {number} does not exist; this {network} has stages 1 to {count}")
    return numbers
