"""The held-out part: a partition in contiguous blocks."""

from __future__ import annotations

import pytest

from rgbx.datasets.holdout import holdout_indices


def test_parts_partition_the_list():
    training, held = holdout_indices(795, "exclude"), holdout_indices(795, "only")
    assert sorted(training + held) == holdout_indices(795, None) == list(range(795))
    assert len(held) == 80


def test_held_out_frames_are_contiguous_blocks():
    held = holdout_indices(795, "only")
    starts = [i for i in held if i - 1 not in held]
    assert starts == [80, 240, 400, 560, 720]
    assert all(start + offset in held for start in starts for offset in range(16))


def test_exception():
    with pytest.raises(ValueError, match="too short"):
        holdout_indices(80, "only")
    with pytest.raises(ValueError, match="'train'"):
        holdout_indices(800, "train")
