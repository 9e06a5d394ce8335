"""Default colours: a fixed sequence that stays apart, also for those who see fewer colours."""

from __future__ import annotations

import numpy as np
import pytest
from skimage.color import rgb2lab

from rgbx.maps.colour import HOLE, IGNORED
from rgbx.maps.palette import OKABE_ITO, default_palette, seen_lab


def test_it_is_a_sequence_of_different_colours():
    every = default_palette(255)
    assert len({tuple(colour) for colour in every}) == 255 and list(IGNORED) not in every
    assert all(type(value) is int and 0 <= value <= 255 for colour in every for value in colour)
    for count in (1, 8, 13, 40):
        assert default_palette(count) == every[:count]
    assert [tuple(colour) for colour in every[:7]] == list(OKABE_ITO)


def test_no_class_looks_like_what_was_not_measured():
    """Both may stand in one legend; also as those see it who lack cones."""
    seen, hole = seen_lab(np.array(default_palette(255))), seen_lab(np.array([HOLE]))
    assert np.linalg.norm(seen - hole, axis=-1).min() > 15


def test_lab_is_that_of_another_library():
    colours = np.random.default_rng(0).integers(0, 256, (50, 3))
    np.testing.assert_allclose(seen_lab(colours)[:, 0], rgb2lab(colours / 255), atol=0.02)


def test_greys_look_alike_to_all():
    """White and grey have no colour that cones could miss."""
    seen = seen_lab(np.array([[255, 255, 255], [120, 120, 120]]))
    np.testing.assert_allclose(seen, seen[:, :1].repeat(3, axis=1), atol=0.01)


@pytest.mark.parametrize(("count", "apart", "confused"), [(8, 25, 15), (20, 25, 14), (40, 20, 9), (150, 9, 4.5)])
def test_colours_are_apart(count, apart, confused):
    """In CIELAB, where 2.3 can just be told; without M or L cones, less."""
    seen = seen_lab(np.array(default_palette(count)))
    for sight, least in enumerate((apart, confused, confused)):
        distances = np.linalg.norm(seen[:, None, sight] - seen[None, :, sight], axis=-1)
        assert distances[~np.eye(count, dtype=bool)].min() > least
