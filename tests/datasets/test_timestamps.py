"""Timestamps: pairs against a naive search of all pairs, and what is no list of them."""

from __future__ import annotations

import numpy as np
import pytest

from rgbx.datasets.timestamps import Stamped, pair_stamps, read_stamps, stamped_columns


def naive_pairs(first, second, gap):
    """The closest pair of those that are left, again and again."""
    pairs = {}
    while True:
        left = [
            (abs(a.time - b.time), i, j)
            for i, a in enumerate(first)
            for j, b in enumerate(second)
            if i not in pairs and j not in pairs.values() and abs(a.time - b.time) <= gap
        ]
        if not left:
            return pairs
        _, i, j = min(left)
        pairs[i] = j


@pytest.mark.parametrize("gap", [0.0, 0.01, 0.05, 0.5, 10.0])
@pytest.mark.parametrize("seed", range(4))
def test_pairs(gap, seed):
    rng = np.random.default_rng(seed)
    first, second = (
        [Stamped(float(time), str(time), "") for time in np.sort(rng.integers(0, 300, count) / 64)]
        for count in (20, 26)
    )
    pairs = pair_stamps(first, second, gap)
    assert pairs == dict(sorted(naive_pairs(first, second, gap).items()))
    assert list(pairs) == sorted(pairs) and (not gap or pairs)


def test_lists(tmp_path):
    path = tmp_path / "rgb.txt"
    path.write_text("# color images\n# timestamp filename\n2.5 rgb/b.png\n\n1.25 rgb/a.png\n")
    assert read_stamps(path) == [(1.25, "rgb/a.png", f"{path}:5"), (2.5, "rgb/b.png", f"{path}:3")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 a.png\nb.png\n", r"rgb\.txt:2: expected a timestamp in seconds and a file name, found 'b\.png'"),
        ("nan a.png\n", r"rgb\.txt:1: expected a timestamp"),
        ("inf a.png\n", r"rgb\.txt:1: expected a timestamp"),
        ("1 a.png 2 b.png\n", r"rgb\.txt:1: expected a timestamp"),
        ("1 a.png\n1.0 b.png\n", r"rgb\.txt:2: the timestamp 1 is there already, at .*rgb\.txt:1"),
        ("# nothing\n", r"rgb\.txt: only comments"),
    ],
)
def test_what_is_no_list_of_timestamps(tmp_path, text, message):
    (tmp_path / "rgb.txt").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_stamps(tmp_path / "rgb.txt")


def test_columns():
    assert stamped_columns("1 a.png 2.5 b/c.PNG") == [(1.0, "a.png"), (2.5, "b/c.PNG")]
    for line in ("a.png", "a.png b.png", "1 2", "1 a.png 2", "x a.png", "day/1"):
        assert stamped_columns(line) == []
