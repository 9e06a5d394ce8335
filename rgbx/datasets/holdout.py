"""A validation part held out of a training list, so that the test split chooses nothing."""

from __future__ import annotations

from typing import Literal

Holdout = Literal["exclude", "only"] | None


def holdout_indices(count: int, holdout: Holdout, *, block: int = 16, every: int = 10) -> list[int]:
    """Positions of a list that belong to the training or to the held-out part.

    Video data sets list neighbouring frames of one scene next to each other, so holding out every
    tenth *frame* would put near copies of the validation frames into training. Here contiguous
    blocks are held out: of the list cut into blocks of `block` frames, the middle one of each
    `every` (for 795 frames: 5 blocks of 16, about 10 %).

    Args:
        count: length of the list.
        holdout: "exclude" gives the training part, "only" the held-out part, None everything.
        block: frames per block.
        every: one block in this many is held out.

    Raises:
        ValueError: an unknown part, or a list too short to hold anything out.
    """
    if holdout is None:
        return list(range(count))
    if holdout not in ("exclude", "only"):
        raise ValueError(f"holdout must be 'exclude', 'only' or None, found {holdout!r}")
    held = [index for index in range(count) if (index // block) % every == every // 2]
    if not held:
        raise ValueError(
            f"a list of {count} frames is too short to hold out a part of it "
            f"(needs more than {block * (every // 2)}); use holdout=None"
        )
    if holdout == "only":
        return held
    excluded = set(held)
    return [index for index in range(count) if index not in excluded]
