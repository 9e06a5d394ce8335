"""ComputeNormals: planes by hand, the true normals of rendered rooms and of Taskonomy, and mirrors."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from rgbx.datasets import SyntheticRooms, Taskonomy
from rgbx.datasets.rooms import make_scene, render
from rgbx.transforms import ComputeNormals, HorizontalFlip, PackSample

RNG = np.random.default_rng(0)
CAMERA = {"fx": 60.0, "fy": 55.0, "cx": 31.5, "cy": 23.5}
SIZE = (48, 64)


def plane_depth(normal, distance, camera=CAMERA, size=SIZE):
    """z of the points X = z (x, y, 1) with normal · X = -distance."""
    rows, columns = np.mgrid[: size[0], : size[1]]
    rays = np.stack([(columns - camera["cx"]) / camera["fx"], (rows - camera["cy"]) / camera["fy"], np.ones(size)], -1)
    return (-distance / (rays @ np.asarray(normal))).astype(np.float32)


def computed(depth, camera=CAMERA, **options):
    return ComputeNormals(**camera, **options)({"depth": depth, "sample_id": "a", "paths": {}}, RNG)["normal"]


def degrees(a, b):
    return np.degrees(np.arccos(np.clip((a * b).sum(-1), -1, 1)))


@pytest.mark.parametrize(
    "normal",
    [(0, 0, -1), (0, -0.8, -0.6), (0.6, 0, -0.8), (-0.6, 0, -0.8), (0.36, 0.48, -0.8)],
    ids=["wall ahead", "floor", "wall at the left", "wall at the right", "tilted"],
)
def test_planes(normal):
    """A floor's normal points up (y < 0), that of the wall at the left to the right (x > 0), all to the camera."""
    depth = plane_depth(normal, 2.0)
    seen = depth > 0
    found = computed(np.where(seen, depth, 0))
    assert found.dtype == np.float32 and found.shape == (*SIZE, 3)
    assert (found[~seen] == 0).all()
    assert degrees(found[seen], np.array(normal)).max() < 0.1


def test_holes():
    depth = plane_depth((0, 0, -1), 2.0)
    depth[10:14, 20:30] = 0
    depth[:, 50:] = 0
    depth[20, 60] = 3  # alone: no plane
    found = computed(depth)
    assert (found[depth == 0] == 0).all() and (found[20, 60] == 0).all()
    np.testing.assert_allclose(found[9, 25], (0, 0, -1), atol=1e-5)


@pytest.mark.parametrize("index", [0, 3, 8])
def test_true_normals_of_rooms(index):
    size = (120, 160)
    frame, scene = render(0, index, size), make_scene(0, index, size)
    focal = scene.camera.focal * size[1]
    camera = {"fx": focal, "fy": focal, "cx": (size[1] - 1) / 2, "cy": (size[0] - 1) / 2}
    clean = degrees(computed(frame["depth_clean"], camera, radius=1), frame["normal"])
    assert np.median(clean) < 0.2 and np.mean(clean < 5) > 0.85
    found = computed(frame["depth"], camera)
    measured = found.any(-1)
    noisy = degrees(found, frame["normal"])[measured]
    assert np.median(noisy) < 8 and np.mean(noisy < 30) > 0.8
    assert measured.mean() > 0.8


def test_real_normals_have_the_same_signs(layouts):
    """Published normals agree with those from the view's depth, and not with any axis turned."""
    view = "point_202_view_5"
    raw = np.asarray(Image.open(layouts / "taskonomy/depth_zbuffer" / f"{view}_domain_depth_zbuffer.png"))
    depth = np.where(raw == 65535, 0, raw / 512).astype(np.float32)
    found = computed(depth, {"fx": 400.0, "fy": 400.0, "cx": 255.5, "cy": 255.5})  # its field of view is not published
    dataset = Taskonomy(layouts / "taskonomy", "val", sources=("normal",))
    published = dataset[0]["normal"]
    both = found.any(-1) & published.any(-1)
    assert both.mean() > 0.9
    medians = {
        signs: np.median(degrees(found[both] * signs, published[both]))
        for signs in ((1, 1, 1), (-1, 1, 1), (1, -1, 1), (1, 1, -1))
    }
    assert medians[(1, 1, 1)] < 2
    assert min(value for signs, value in medians.items() if signs != (1, 1, 1)) > 5


def test_a_mirrored_view_has_its_normals_turned(layouts):
    """Normals of the mirrored depth are the mirrored normals, x negated; without the sign they are not."""
    sources = ("normal",)
    plain = Taskonomy(layouts / "taskonomy", "val", sources=sources)[0]["normal"]
    flips = [dict(type=HorizontalFlip, probability=1.0)]
    flipped = Taskonomy(layouts / "taskonomy", "val", sources=sources, transforms=flips)[0]["normal"]
    np.testing.assert_array_equal(flipped, plain[:, ::-1] * np.array([-1, 1, 1], np.float32))
    view = "point_202_view_5"
    raw = np.asarray(Image.open(layouts / "taskonomy/depth_zbuffer" / f"{view}_domain_depth_zbuffer.png"))[:, ::-1]
    depth = np.where(raw == 65535, 0, raw / 512).astype(np.float32)
    found = computed(depth, {"fx": 400.0, "fy": 400.0, "cx": 255.5, "cy": 255.5})
    both = found.any(-1) & flipped.any(-1)
    right = degrees(found[both], flipped[both])
    wrong = degrees(found[both], plain[:, ::-1][both])
    assert np.median(right) < 2 < 5 < np.median(wrong)


def test_a_flip_afterwards_equals_a_flip_before():
    depth = plane_depth((0.36, 0.48, -0.8), 2.0)
    depth[5:9, 7:20] += 0.5
    flip = HorizontalFlip(1.0)
    sample = {"depth": depth, "sample_id": "a", "paths": {}}
    one = flip(ComputeNormals(**CAMERA)(sample, RNG), RNG)["normal"]
    other = ComputeNormals(**CAMERA)(flip(sample, RNG), RNG)["normal"]
    np.testing.assert_allclose(one, other, atol=1e-4)


def test_in_a_dataset():
    """Normals as the target of rooms that are read without theirs."""
    camera = {"fx": 30.0, "fy": 30.0, "cx": 19.5, "cy": 11.5}
    transforms = [dict(type=ComputeNormals, **camera), dict(type=PackSample)]
    dataset = SyntheticRooms(size=(24, 40), transforms=transforms, targets=("normal",))
    assert (dataset.sources, dataset.targets, dataset.added) == (("rgb", "depth"), ("normal",), ("normal",))
    assert dataset.metainfo["maps"]["normal"].unit == "unit_vector"
    sample = dataset[0]
    assert sample["normal"].shape == (3, 24, 40)
    assert (sample["normal_valid"] <= sample["depth_valid"]).all() and sample["normal_valid"].any()


def test_exceptions():
    with pytest.raises(ValueError, match="ComputeNormals needs focal lengths > 0"):
        ComputeNormals(**{**CAMERA, "fx": 0})
    with pytest.raises(ValueError, match="radius must be >= 1, found 0"):
        ComputeNormals(**CAMERA, radius=0)
    with pytest.raises(ValueError, match="ComputeNormals needs the array 'depth'"):
        ComputeNormals(**CAMERA)({"sample_id": "a"}, RNG)
    sample = {"depth": np.ones(SIZE, np.float32), "sample_id": "a"}
    with pytest.raises(ValueError, match="would replace the stored 'normal'"):
        ComputeNormals(**CAMERA)({**sample, "normal": 1}, RNG)
    with pytest.raises(ValueError, match=r"principal point \(320, 23.5\) lies outside"):
        ComputeNormals(**{**CAMERA, "cx": 320})(sample, RNG)
    without = ComputeNormals(**CAMERA, keep_depth=False)(sample, RNG)
    assert set(without) == {"normal", "sample_id"}
