"""Pictures with words: legends, bars in units, strips."""

from __future__ import annotations

import numpy as np
import pytest

from rgbx.maps.colour import colour_map
from rgbx.maps.drawing import (
    BAR,
    GAP,
    PAPER,
    TEXT,
    Bar,
    Panel,
    draw_bar,
    draw_legend,
    draw_strip,
    sign_of,
    ticks,
    with_bar,
)


@pytest.mark.parametrize(
    ("low", "high", "most", "expected"),
    [
        (0, 1, 6, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (0.7, 5.2, 6, [1, 2, 3, 4, 5]),
        (-3, 42, 6, [0, 10, 20, 30, 40]),
        (1234, 1239, 6, [1234, 1235, 1236, 1237, 1238, 1239]),
        (0.001, 0.0021, 3, [0.001, 0.0015, 0.002]),
        (3, 3, 6, [3]),
        (np.nan, 1, 6, [np.nan]),
    ],
)
def test_numbers_of_a_bar_are_round(low, high, most, expected):
    np.testing.assert_allclose(ticks(low, high, most), expected, atol=1e-12)


@pytest.mark.parametrize("scale", ["viridis", "viridis_r", "inferno"])
def test_a_bar_has_the_colours_of_its_picture(scale):
    """The largest value on top."""
    bar = draw_bar(Bar((2.0, 6.0), scale, "m"), 200)
    assert bar.shape[0] == 200
    rows = np.linspace(6.0, 2.0, 200 - 2 * (TEXT // 2))
    expected = colour_map(rows[:, None], None, scale, (2.0, 6.0))[:, 0]
    column = bar[TEXT // 2 : 200 - TEXT // 2, GAP + BAR // 2]
    assert np.abs(column[1:-1].astype(int) - expected[1:-1]).max() <= 3


def test_the_unit_is_written():
    plain, metres = (draw_bar(Bar((0.0, 4.0), "viridis", sign_of(unit)), 150) for unit in ("sensor", "metre"))
    assert metres.shape[1] > plain.shape[1]
    assert (sign_of("sensor", -273.15), sign_of("sensor", 1), sign_of("unit_vector")) == ("°C", "", "")
    assert draw_bar(Bar((5.0, 5.0), "viridis"), 60).shape[0] == 60  # a constant map


def test_a_legend_has_every_colour_in_order():
    entries = {"wall": [200, 0, 0], "a name that is much too long for the picture": [0, 200, 0], "x": [0, 0, 200]}
    for width in (80, 400):
        drawn = draw_legend(entries, width)
        assert drawn.shape[1] == width
        places = [np.argwhere((drawn == colour).all(-1)) for colour in entries.values()]
        first = [tuple(place[0]) for place in places]
        assert all(len(place) == (TEXT - 2) ** 2 for place in places) and first == sorted(first)


def test_a_strip_holds_its_pictures():
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 256, (40, 50, 3), dtype=np.uint8) for _ in range(2)]
    bar = Bar((0.0, 1.0), "viridis")
    strip = draw_strip([Panel("one", pictures[0]), Panel("two", pictures[1], bar)], {"wall": [200, 0, 0]})
    windows = np.lib.stride_tricks.sliding_window_view(strip, (40, 50, 3))[:, :, 0]
    for picture in pictures:
        assert (windows == picture).all((-3, -2, -1)).any()
    assert (strip[0] == PAPER).all() and (strip == [200, 0, 0]).all(-1).sum() == (TEXT - 2) ** 2
    with pytest.raises(ValueError, match="the height of a strip is 0"):
        draw_strip([Panel("one", pictures[0])], height=0)
    larger = draw_strip([Panel("one", pictures[0])], height=80)
    assert (larger[:, :, 0].shape[0]) > 80
    assert np.array_equal(with_bar(Panel("", pictures[0])), pictures[0])
