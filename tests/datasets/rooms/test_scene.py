"""Scenes: classes that one modality cannot tell apart are drawn alike in all that it sees."""

from __future__ import annotations

import numpy as np
import pytest

from rgbx.datasets.rooms import make_scene
from rgbx.datasets.rooms.classes import BALL, BLUE_POSTER, BOWL, HEATER, HOT_HEATER
from rgbx.datasets.rooms.paints import item_paint
from rgbx.datasets.rooms.scene import Board, Item, Placer, Round


@pytest.fixture(scope="module")
def items() -> list[Item]:
    return [item for index in range(250) for item in make_scene(9, index).items]


def item_features(item: Item) -> list[float]:
    """What rgb shows of an item: size, place, colours, pattern."""
    shape = item.shape
    size = shape.half if not isinstance(shape, Round) else (shape.radius,)
    return [*size[:2], *shape.centre, *item.paint.colours.ravel(), *item.paint.frequency]


@pytest.mark.parametrize(("one", "other"), [(3, 4), (5, 6), (BALL, BOWL), (HEATER, HOT_HEATER)])
def test_pairs_are_drawn_by_the_same_draws(one: int, other: int) -> None:
    placed = 0
    for index in range(40):
        scene = make_scene(9, index)
        features = []
        for label in (one, other):
            rng = np.random.default_rng(index)
            placer = Placer(rng, scene.camera, scene.room, 0.75)
            board = label in range(3, 7)
            shape = placer.board(label % 2 == 0, False) if board else placer.thing(label)
            if shape is not None:
                item = Item(shape, item_paint(rng, label, 20.0), label)
                features.append([*item_features(item), *shape.corners().ravel()])
        assert len(features) in (0, 2)
        placed += len(features) // 2
        if features:
            assert features[0] == features[1]
    assert placed > 20


@pytest.mark.parametrize(("one", "other"), [(3, 4), (5, 6), (BALL, BOWL), (HEATER, HOT_HEATER)])
def test_pairs_are_drawn_alike(items: list[Item], one: int, other: int) -> None:
    stats = pytest.importorskip("scipy.stats")
    first, second = (np.array([item_features(item) for item in items if item.label == label]) for label in (one, other))
    p_values = [stats.ks_2samp(a, b).pvalue for a, b in zip(first.T, second.T, strict=True)]
    assert min(p_values) > 0.01 / len(p_values), p_values
    assert 0.8 < len(first) / len(second) < 1.25


def test_red_and_blue_are_told_apart_by_rgb_and_drawn_alike_otherwise(items: list[Item]) -> None:
    stats = pytest.importorskip("scipy.stats")
    boards = [item for item in items if isinstance(item.shape, Board)]
    red, blue = ([item for item in boards if (item.label < BLUE_POSTER) is side] for side in (True, False))
    assert all((item.paint.colours[:, 0] > item.paint.colours[:, 2]).all() for item in red)
    assert all((item.paint.colours[:, 0] < item.paint.colours[:, 2]).all() for item in blue)
    for feature in (
        lambda item: item.shape.lift,
        lambda item: item.shape.half[0],
        lambda item: item.paint.celsius,
        lambda item: item.paint.frequency[0],
    ):
        assert stats.ks_2samp([feature(i) for i in red], [feature(i) for i in blue]).pvalue > 0.01
