"""Rendered rooms against a naive ray caster, finite differences and swapped classes."""

from __future__ import annotations

import hashlib
import itertools
import math
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace

import cv2
import numpy as np
import pytest

from rgbx.datasets.rooms import CLASSES, PALETTE, cast_scene, make_scene, render, render_scene
from rgbx.datasets.rooms.classes import (
    BALL,
    BLUE_POSTER,
    BOWL,
    CEILING,
    FLOOR,
    HEATER,
    HOT_HEATER,
    RED_POSTER,
    WALL,
)
from rgbx.datasets.rooms.scene import Board, Crate, Item, Round, Scene

SMALL = (48, 64)


def digest(frame: dict[str, np.ndarray]) -> str:
    return hashlib.sha256(b"".join(frame[name].tobytes() for name in sorted(frame))).hexdigest()


def test_another_process_renders_the_same_frame() -> None:
    code = (
        "import hashlib; from rgbx.datasets.rooms import render; "
        "f = render(3, 7, (48, 64)); b = b''.join(f[n].tobytes() for n in sorted(f)); "
        "print(hashlib.sha256(b).hexdigest())"
    )
    environment = {
        **os.environ,
        "PYTHONHASHSEED": "77",
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
    }
    result = subprocess.run([sys.executable, "-c", code], env=environment, check=True, capture_output=True, text=True)
    assert result.stdout.strip() == digest(render(3, 7, SMALL))


def test_render_ignores_call_order_and_global_state() -> None:
    np.random.seed(1)
    expected = np.random.random()
    np.random.seed(1)
    first = digest(render(0, 4, SMALL))
    render(0, 5, SMALL)
    assert np.random.random() == expected  # nothing was drawn from the global generator
    np.random.seed(2)
    assert digest(render(0, 4, SMALL)) == first
    assert len({digest(render(seed, index, SMALL)) for seed in (0, 1) for index in (4, 5)}) == 4


def naive_hits(scene: Scene, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Depth and label by looping over pixels and shapes in float64, boards as real rectangles."""
    height, width = size
    depth, label = np.zeros(size), np.zeros(size, int)
    for row, column in itertools.product(range(height), range(width)):
        pixel = scene.camera.focal * width
        ray = scene.camera.rotation @ np.array(
            [(column + 0.5 - width / 2) / pixel, (row + 0.5 - height / 2) / pixel, 1.0]
        )
        hits = [(naive_side(scene, side, ray), (WALL, WALL, WALL, WALL, FLOOR, CEILING)[side]) for side in range(6)]
        hits += [(naive_item(scene, item, ray), item.label) for item in scene.items]
        depth[row, column], label[row, column] = min(hits)
    return depth, label


def naive_rectangle(
    origin: np.ndarray, ray: np.ndarray, centre: np.ndarray, first: np.ndarray, second: np.ndarray
) -> float:
    """Ray parameter at a rectangle with two perpendicular half edges, inf where it misses."""
    # Solve origin + t ray = centre + u first + v second.
    t, u, v = np.linalg.solve(np.stack([ray, -first, -second], axis=1), centre - origin)
    return t if t > 1e-9 and abs(u) <= 1 and abs(v) <= 1 else math.inf


def naive_side(scene: Scene, side: int, ray: np.ndarray) -> float:
    axis = side // 2
    t = (scene.room[side % 2, axis] - scene.camera.position[axis]) / ray[axis]
    return t if t > 0 else math.inf


def naive_item(scene: Scene, item: Item, ray: np.ndarray) -> float:
    shape, origin = item.shape, scene.camera.position
    if isinstance(shape, Board):  # 1 nm nearer, so that a painted board beats its own wall
        gap = abs(shape.centre[shape.side // 2] - origin[shape.side // 2])
        share = 1 - max(shape.lift, 1e-9) / gap
        edges = [share * half * axis for half, axis in zip(shape.half, shape.axes, strict=True)]
        return naive_rectangle(origin, ray, origin + share * (shape.centre - origin), *edges)
    if isinstance(shape, Crate):
        edges = [shape.half[i] * shape.rotation()[:, i] for i in range(3)]
        return min(
            naive_rectangle(origin, ray, shape.centre + sign * edges[i], edges[i - 1], edges[i - 2])
            for i in range(3)
            for sign in (-1, 1)
        )
    towards = shape.centre - origin
    roots = np.roots([ray @ ray, -2 * ray @ towards, towards @ towards - shape.radius**2])
    if abs(roots.imag).max() > 0:
        return math.inf
    return float(roots.real.min() if shape.solid else roots.real.max())


@pytest.mark.parametrize("index", range(4))
def test_depth_and_labels_equal_a_naive_ray_caster(index: int) -> None:
    size = (30, 40)
    scene = make_scene(11, index, size)
    depth, label = naive_hits(scene, size)
    frame = render(11, index, size)
    same = frame["label"] == label
    assert same.mean() > 0.997  # a pixel on an outline may fall to either side in float32
    np.testing.assert_allclose(frame["depth_clean"][same], depth[same], rtol=2e-4)


def test_normals_are_those_of_the_clean_depth() -> None:
    for index in range(3):
        frame = render(5, index)
        height, width = frame["label"].shape
        pixel = make_scene(5, index).camera.focal * width
        rows, columns = np.mgrid[:height, :width]
        rays = np.stack(
            [(columns + 0.5 - width / 2) / pixel, (rows + 0.5 - height / 2) / pixel, np.ones((height, width))], axis=-1
        )
        points = rays * frame["depth_clean"].astype(np.float64)[..., None]
        across = points[1:-1, 2:] - points[1:-1, :-2]
        down = points[2:, 1:-1] - points[:-2, 1:-1]
        expected = np.cross(down, across)  # towards the camera, z forward and y down
        expected /= np.linalg.norm(expected, axis=-1, keepdims=True)
        edge = frame["edge"]
        clear = sum(edge[i : height - 2 + i, j : width - 2 + j] for i, j in itertools.product(range(3), repeat=2)) == 0
        normal = frame["normal"].astype(np.float64)
        cosine = (expected * normal[1:-1, 1:-1]).sum(-1)[clear]
        assert (cosine > math.cos(math.radians(1))).mean() > 0.96
        assert np.median(cosine) > math.cos(math.radians(0.1))
        assert (cosine > 0.8).all()
        np.testing.assert_allclose(np.linalg.norm(normal, axis=-1), 1, atol=1e-6)
        assert ((normal * rays).sum(-1) < 1e-3).all()


def test_a_scene_does_not_depend_on_the_resolution() -> None:
    low, high = (render(2, 6, size)["label"] for size in ((60, 80), (180, 240)))
    assert (low == high[1::3, 1::3]).mean() > 0.999


def raw_maps(scene: Scene) -> tuple[dict[str, np.ndarray], np.ndarray]:
    return render_scene(scene, (0, 0), SMALL)


def changed(scene: Scene, change: Callable[[Item], Item]) -> Scene:
    return replace(scene, items=tuple(change(item) for item in scene.items))


def flip_lift(item: Item) -> Item:
    if not isinstance(item.shape, Board):
        return item
    lifted = item.shape.lift > 0
    return replace(
        item, label=item.label - 1 if lifted else item.label + 1, shape=replace(item.shape, lift=0.0 if lifted else 0.3)
    )


def flip_solid(item: Item) -> Item:
    if not isinstance(item.shape, Round):
        return item
    return replace(item, label=BALL + BOWL - item.label, shape=replace(item.shape, solid=not item.shape.solid))


def flip_heat(item: Item) -> Item:
    if not isinstance(item.shape, Crate):
        return item
    hot = item.label == HEATER
    return replace(
        item, label=HEATER + HOT_HEATER - item.label, paint=replace(item.paint, celsius=60.0 if hot else 21.0)
    )


def flip_colour(item: Item) -> Item:
    if not isinstance(item.shape, Board):
        return item
    red = item.label < BLUE_POSTER
    return replace(
        item, label=item.label + (2 if red else -2), paint=replace(item.paint, colours=item.paint.colours[:, ::-1])
    )


@pytest.mark.parametrize(
    ("flip", "blind", "seeing", "classes"),
    [
        (flip_lift, ("rgb", "thermal", "normal", "edge"), ("depth",), range(3, 7)),
        (flip_solid, ("rgb", "thermal", "edge"), ("depth", "normal"), (BALL, BOWL)),
        (flip_heat, ("rgb", "depth", "normal", "edge"), ("thermal",), (HEATER, HOT_HEATER)),
        (flip_colour, ("depth", "thermal", "normal", "edge"), ("rgb",), range(3, 7)),
    ],
)
def test_swapping_a_pair_of_classes_changes_only_what_tells_them_apart(
    flip: Callable[[Item], Item], blind: tuple[str, ...], seeing: tuple[str, ...], classes: range | tuple[int, ...]
) -> None:
    for index in range(20):
        scene = make_scene(1, index, SMALL)
        before, _ = raw_maps(scene)
        after, _ = raw_maps(changed(scene, flip))
        for name in blind:
            np.testing.assert_array_equal(before[name], after[name], err_msg=name)
        concerned = np.isin(before["label"], classes)
        np.testing.assert_array_equal(before["label"] != after["label"], concerned)
        for name in seeing if concerned.any() else ():
            assert (before[name] != after[name])[concerned].mean() > 0.3, name


def test_posters_have_the_depth_of_the_empty_room_and_panels_stand_clear() -> None:
    posters = panels = 0
    for index in range(20):
        scene = make_scene(1, index, SMALL)
        full, empty = cast_scene(scene, SMALL), cast_scene(replace(scene, items=()), SMALL)
        label = render(1, index, SMALL)["label"]
        flat, lifted = (np.isin(label, (RED_POSTER + k, BLUE_POSTER + k)) for k in (0, 1))
        np.testing.assert_array_equal(full.depth[flat], empty.depth[flat])
        np.testing.assert_array_equal(full.normal[flat], empty.normal[flat])
        assert (full.depth[lifted] < 0.95 * empty.depth[lifted]).all()
        posters, panels = posters + flat.sum(), panels + lifted.sum()
    assert posters > 1000 and panels > 1000


def test_colours_on_the_image_are_alike_for_posters_and_panels() -> None:
    stats = pytest.importorskip("scipy.stats")
    means: dict[int, list[np.ndarray]] = {label: [] for label in range(3, 9)}
    for index in range(120):
        frame = render(4, index, SMALL)
        for label, colours in means.items():
            mask = frame["label"] == label
            if mask.any():
                colours.append(frame["rgb"][mask].mean(axis=0))
    for one in (3, 5, 7):
        for channel in range(3):
            samples = [[colour[channel] for colour in means[label]] for label in (one, one + 1)]
            assert stats.ks_2samp(*samples).pvalue > 0.003


def test_every_class_is_frequent_and_ids_are_in_range() -> None:
    frames = [render(0, index, SMALL)["label"] for index in range(50)]
    shares = np.array([np.bincount(f.ravel(), minlength=11) / f.size for f in frames])
    assert shares.shape == (50, len(CLASSES)) and len(set(PALETTE)) == 11
    assert (shares.mean(axis=0) > 0.01).all(), dict(zip(CLASSES, shares.mean(axis=0), strict=True))
    assert ((shares > 0.003).mean(axis=0) > 0.6).all()


def test_the_depth_sensor_is_noisy_quantised_and_has_holes() -> None:
    frames = [render(0, index) for index in range(10)]
    depth, clean = (np.stack([f[name] for f in frames]) for name in ("depth", "depth_clean"))
    assert 0.005 < (depth == 0).mean() < 0.15
    np.testing.assert_allclose(depth * 1000, np.rint(depth * 1000), atol=1e-3)
    error = np.abs(depth - clean)
    near, far = ((depth > 0) & (clean > low) & (clean < high) for low, high in ((1.5, 2), (4.5, 5)))
    assert 0.001 < error[near].mean() < 0.02 < error[far].mean() < 0.06
    assert (clean > 0).all()


def test_hot_heaters_are_hot() -> None:
    for index in range(20):
        frame = render(0, index, SMALL)
        hot = frame["label"] == HOT_HEATER
        inner = hot & np.roll(hot, 2, 0) & np.roll(hot, -2, 0) & np.roll(hot, 2, 1)
        inner &= np.roll(hot, -2, 1)
        assert (frame["thermal"][inner] > 40).all()
        assert (frame["thermal"][frame["label"] == FLOOR] < 65).all()
        assert np.median(frame["thermal"][~hot]) < 32


def test_paints_by_class_change_colours_alone() -> None:
    """The same room; inside each class red : green : blue is one ratio, shared by boards that differ in hue alone."""
    ratios: dict[int, list[np.ndarray]] = {}
    for index in range(12):
        random, plain = (render(4, index, SMALL, paints) for paints in ("random", "class"))
        assert all((random[name] == plain[name]).all() for name in random if name != "rgb")
        assert (random["rgb"] != plain["rgb"]).mean() > 0.5
        label, rgb = plain["label"], plain["rgb"].astype(np.float64)
        unclipped = rgb.max(2) < 255
        for k in np.unique(label):
            inside = cv2.erode((label == k).astype(np.uint8), np.ones((5, 5), np.uint8)).astype(bool) & unclipped
            if inside.sum() > 30:
                mean = rgb[inside].mean(0)
                ratios.setdefault(int(k), []).append(mean / mean.sum())
    assert set(ratios) == set(range(11))
    centre = {k: np.mean(values, axis=0) for k, values in ratios.items()}
    for k, values in ratios.items():
        assert np.abs(np.array(values) - centre[k]).max() < 0.03
    alike = {(RED_POSTER, BLUE_POSTER), (RED_POSTER + 1, BLUE_POSTER + 1)}
    for one, other in itertools.combinations(sorted(centre), 2):
        assert (np.abs(centre[one] - centre[other]).max() < 0.015) == ((one, other) in alike), (one, other)


def test_other_paints_are_refused() -> None:
    with pytest.raises(ValueError, match=r"paints is .*; expected one of random"):
        render(0, 0, SMALL, "oil")
