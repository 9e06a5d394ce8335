"""HHA on rooms whose planes are known, against least squares in a loop, and against published files."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from PIL import Image

from rgbx.maps.hha import NYUDV2_HHA_FILES_CAMERA, estimate_gravity, hha, surface_normals

CAMERA = {"fx": 130.0, "fy": 128.0, "cx": 81.5, "cy": 58.25}
SIZE = (120, 160)
PUBLISHED = (0, 2, 5, 8, 9, 11, 14, 16)  # the first frames of both layouts: {n}.jpg is {n + 1:06d}.png


def rays():
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]].astype(float)
    return np.stack(
        [(columns - CAMERA["cx"]) / CAMERA["fx"], (rows - CAMERA["cy"]) / CAMERA["fy"], np.ones(SIZE)], axis=-1
    )


def room(pitch: float, roll: float):
    """Depth, surface id (0 floor, 1 wall, 2 ceiling) and gravity of a camera 1.6 m above the floor."""
    a, b = np.radians([pitch, roll])
    tilt = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    turn = np.array([[np.cos(b), -np.sin(b), 0], [np.sin(b), np.cos(b), 0], [0, 0, 1]])
    rotation = turn @ tilt  # room axes to camera axes
    planes = [((0, 1, 0), 1.6), ((0, 0, 1), 4.0), ((0, -1, 0), 0.9)]
    with np.errstate(divide="ignore"):
        depths = np.stack([offset / (rays() @ (rotation @ np.array(normal, float))) for normal, offset in planes])
    depths[depths <= 0] = np.inf
    return depths.min(0).astype(np.float32), depths.argmin(0), rotation @ np.array([0, 1, 0])


def eroded(mask, by: int = 5):
    return cv2.erode(mask.astype(np.uint8), np.ones((2 * by + 1,) * 2), borderValue=1).astype(bool)


@pytest.mark.parametrize(("pitch", "roll"), [(0, 0), (12, 0), (-9, 6), (15, -8)])
def test_room_of_known_planes(pitch, roll):
    depth, surface, gravity = room(pitch, roll)
    found_gravity = estimate_gravity(surface_normals(depth, tuple(CAMERA.values()), radius=6))
    assert np.degrees(np.arccos(min(float(found_gravity @ gravity), 1))) < 1
    found = hha(depth, **CAMERA).astype(float)
    np.testing.assert_allclose(found[..., 0], np.minimum(310 / np.maximum(depth, 1), 255), atol=0.51)
    seen = 0
    for kind, angle in enumerate((38, 128, 218)):
        inner = eroded(surface == kind)
        seen += inner.any()
        assert (np.abs(found[..., 2][inner] - angle) <= 2).all()
    assert seen >= 2
    height = -100 * depth * (rays() @ gravity)
    height += 130 if height.min() > -90 else -height.min()
    assert np.abs(found[..., 1] - np.clip(height, 0, 255)).max() <= 8


def test_no_floor_in_sight_counts_as_130_cm():
    """Only a wall whose lowest point is less than 90 cm below the camera."""
    depth = np.full(SIZE, 1.2, np.float32)
    found = hha(depth, **CAMERA, gravity=(0, 1, 0))[..., 1].astype(float)
    below = 120 * (np.arange(SIZE[0]) - CAMERA["cy"]) / CAMERA["fy"]
    np.testing.assert_allclose(found, np.broadcast_to((130 - below)[:, None], SIZE), atol=0.51)


def test_normals_against_least_squares_in_a_loop():
    rng = np.random.default_rng(0)
    depth = (2 + rng.random((20, 24)) * 0.2 + np.arange(24) / 30).astype(np.float32)
    depth[rng.random(depth.shape) < 0.3] = 0
    camera = (30.0, 28.0, 11.0, 9.5)
    found = surface_normals(depth, camera, radius=2)
    for row in range(20):
        for column in range(24):
            window = [
                (r, c)
                for r in range(max(row - 2, 0), min(row + 3, 20))
                for c in range(max(column - 2, 0), min(column + 3, 24))
                if depth[r, c] > 0
            ]
            system = np.array([[(c - 11.0) / 30, (r - 9.5) / 28, 1] for r, c in window])
            normal = np.linalg.lstsq(system, np.array([1 / depth[r, c] for r, c in window]), rcond=None)[0]
            np.testing.assert_allclose(found[row, column], normal / np.linalg.norm(normal), atol=1e-4)


def test_stride_takes_every_nth_normal():
    depth, *_ = room(5, 2)
    for holes in (False, True):
        depth[30:40, 20:50] *= not holes
        every = surface_normals(depth, tuple(CAMERA.values()), radius=4)
        np.testing.assert_array_equal(
            surface_normals(depth, tuple(CAMERA.values()), radius=4, stride=3), every[::3, ::3]
        )


def test_holes_are_zero_and_change_little_around():
    depth, *_ = room(10, 3)
    whole = hha(depth, **CAMERA).astype(int)
    holes = np.random.default_rng(0).random(SIZE) < 0.2
    depth[holes] = 0
    found = hha(depth, **CAMERA)
    assert (found[holes] == 0).all() and (found[~holes, 2] > 0).all()
    assert np.median(np.abs(found[~holes] - whole[~holes])) <= 1
    assert (hha(np.zeros(SIZE, np.float32), **CAMERA) == 0).all()


def test_a_mirrored_image_has_mirrored_hha():
    depth, *_ = room(8, 5)
    mirrored = {**CAMERA, "cx": SIZE[1] - 1 - CAMERA["cx"]}
    found = hha(np.ascontiguousarray(depth[:, ::-1]), **mirrored).astype(int)
    assert np.abs(found[:, ::-1] - hha(depth, **CAMERA)).max() <= 1


def test_agrees_with_published_files(layouts):
    """Correlation with the JPEG files over eight frames, measured 0.997, 0.989 and 0.987 at the least."""
    for n in PUBLISHED:
        depth = np.asarray(Image.open(layouts / "nyudv2/depth" / f"{n + 1:06d}.png")).astype(np.float32) / 5000
        published = np.asarray(Image.open(layouts / "NYUDepthv2/HHA" / f"{n}.jpg")).astype(float)
        found = hha(depth, **NYUDV2_HHA_FILES_CAMERA).astype(float)
        for channel, (least, most) in enumerate(((0.995, 1.5), (0.98, 16), (0.98, 5))):
            one, other = found[..., channel], published[..., channel]
            assert np.corrcoef(one.ravel(), other.ravel())[0, 1] > least, (n, channel)
            assert np.abs(one - other).mean() < most, (n, channel)


def test_exception():
    depth = np.ones(SIZE, np.float32)
    with pytest.raises(ValueError, match=r"float32 \[H, W\] in metres, found uint16"):
        hha(depth.astype(np.uint16), **CAMERA)
    with pytest.raises(ValueError, match="fx 0"):
        hha(depth, **{**CAMERA, "fx": 0})
    with pytest.raises(ValueError, match="gravity"):
        hha(depth, **CAMERA, gravity=(0, 0, 0))
