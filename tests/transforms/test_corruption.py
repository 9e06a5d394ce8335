"""Corruptions: stronger is farther from the clean map, nothing else changes, and draws repeat."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from rgbx.datasets import MapSpec
from rgbx.transforms import CORRUPTIONS, Corrupt, PackSample

SIZE = (240, 320)
MODALITY = {name: found.modality or "depth" for name, found in CORRUPTIONS.items()}
MAPS = {"event": MapSpec.of_unit("event", "encoded"), "lidar": MapSpec("lidar", 1, "float32", "metre", "nearest")}
SPARSE = [name for name, found in CORRUPTIONS.items() if found.modality in MAPS]
UNEVEN = ("fog", "frost", "elastic", "pixelate")  # whose published constants are of another kind from severity 3 on


def sample():
    rng = np.random.default_rng(0)
    smooth = cv2.resize(rng.random((6, 8), np.float32), SIZE[::-1], interpolation=cv2.INTER_CUBIC)
    fine = cv2.resize(rng.random((80, 107, 3), np.float32), SIZE[::-1], interpolation=cv2.INTER_LINEAR)
    depth = 1.5 + 3 * smooth
    depth[20:30, 40:60] = 0
    events = rng.random(SIZE) < 0.2
    return {
        "event": events[..., None] * rng.choice(np.array([[255, 0, 0], [0, 0, 255]], np.uint8), SIZE),
        "lidar": np.where(rng.random(SIZE) < 0.1, 5 + 10 * smooth, 0).astype(np.float32),
        "rgb": (np.clip(smooth[..., None] * 0.7 + fine * 0.3, 0, 1) * 200).astype(np.uint8),
        "depth": depth.astype(np.float32),
        "thermal": (290 + 12 * smooth + 2 * fine[..., 0]).astype(np.float32),
        "label": rng.integers(0, 5, SIZE, dtype=np.uint8),
        "sample_id": "a",
        "paths": {},
    }


def corrupted(name, severity, seed=1, key=None):
    key = key or MODALITY[name]
    return Corrupt(name, severity, key=key, maps=MAPS)(sample(), np.random.default_rng(seed))[key]


def distance(name, severity, seed):
    clean = sample()[MODALITY[name]].astype(float)
    return np.abs(corrupted(name, severity, seed) - clean).mean()


@pytest.mark.parametrize(
    ("name", "seed"), [(name, k) for name, x in CORRUPTIONS.items() for k in range(3 if x.suite == "rgbx" else 1)]
)
def test_distance_grows_with_severity(name, seed):
    distances = [distance(name, severity, seed) for severity in range(6)]
    assert distances[0] == 0 < distances[1]
    steps = np.diff(distances[1:])
    assert (steps == 0).all() if name == "missing" else name in UNEVEN or (steps > 0).all(), distances


@pytest.mark.parametrize("name", CORRUPTIONS)
@pytest.mark.parametrize("severity", range(6))
def test_nothing_else_changes(name, severity):
    key, source = MODALITY[name], sample()
    found = Corrupt(name, severity, key=key, maps=MAPS)(source, np.random.default_rng(3))
    assert found.keys() == source.keys()
    for other, value in sample().items():
        if isinstance(value, np.ndarray):
            np.testing.assert_array_equal(source[other], value)  # inputs are not written to
            assert found[other].dtype == value.dtype and found[other].shape == value.shape
            if other != key:
                assert found[other] is source[other]
    assert np.isfinite(found[key]).all()
    if key == "depth":
        assert found[key].min() >= 0 and (name == "shift" or (found[key][20:30, 40:60] == 0).all())
        if name not in ("depth_holes", "missing", "shift"):
            np.testing.assert_array_equal(found[key] > 0, source[key] > 0)
    packed = PackSample(maps=MAPS)(found, np.random.default_rng(0))
    assert torch.equal(packed["depth_valid"], packed["depth"] > 0)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_the_generator_decides_alone(name):
    np.testing.assert_array_equal(corrupted(name, 3, seed=5), corrupted(name, 3, seed=5))
    if "noise" in name or name in ("depth_holes", "shift"):
        assert (corrupted(name, 3, seed=5) != corrupted(name, 3, seed=6)).any()


def test_strengths_mean_what_they_say():
    clean = sample()
    valid = clean["depth"] > 0
    assert (corrupted("depth_holes", 4) == 0).mean() == pytest.approx(0.4, abs=0.03)
    noise = (corrupted("depth_noise", 3) - clean["depth"])[valid] / clean["depth"][valid] ** 2
    assert noise.std() == pytest.approx(0.006, rel=0.05) and abs(noise.mean()) < 0.0005
    levels = corrupted("depth_steps", 3)[valid] / 0.2
    np.testing.assert_allclose(levels, np.rint(levels), atol=1e-4)
    assert np.abs(corrupted("depth_steps", 3) - clean["depth"]).max() <= 0.1001
    noise = corrupted("rgb_noise", 1).astype(float) - clean["rgb"]
    assert noise[(clean["rgb"] > 60) & (clean["rgb"] < 190)].std() == pytest.approx(0.04 * 255, rel=0.05)
    thermal = corrupted("thermal_contrast", 2)
    assert thermal.std() == pytest.approx(clean["thermal"].std() / 2, rel=0.01)
    assert thermal.mean() == pytest.approx(clean["thermal"].mean(), rel=1e-4)
    np.testing.assert_allclose(corrupted("rgb_fog", 3), clean["rgb"] / 2 + 102, atol=0.51)
    assert (corrupted("missing", 1) == 0).all() and (corrupted("missing", 2, key="rgb") == 0).all()


@pytest.mark.parametrize("seed", range(8))
def test_shift_moves_by_its_length(seed):
    """32 pixels of 480 rows are 16 of these 240."""
    rows, columns = np.mgrid[1 : SIZE[0] + 1, 1 : SIZE[1] + 1].astype(np.float32)
    source = {**sample(), "depth": rows + columns / 1000}
    moved = Corrupt("shift", 5, key="depth")(source, np.random.default_rng(seed))["depth"]
    inside = moved > 0
    down = rows - np.floor(moved)
    right = columns - np.rint((moved - np.floor(moved)) * 1000)
    offsets = np.unique(np.stack([down[inside], right[inside]]), axis=1)
    assert offsets.shape == (2, 1)
    assert np.hypot(*offsets[:, 0]) == pytest.approx(16, abs=0.8)
    assert (~inside).sum() == inside.size - (SIZE[0] - abs(offsets[0, 0])) * (SIZE[1] - abs(offsets[1, 0]))


@pytest.mark.parametrize("name", SPARSE)
@pytest.mark.parametrize("severity", [1, 3, 5])
def test_events_and_points_are_lost_moved_or_too_many(name, severity):
    """Values are those of the map; how many there are, and where, follows from the strength."""
    key, strength = MODALITY[name], CORRUPTIONS[name].strengths[severity - 1]
    before, after = (x.reshape(*SIZE, -1) for x in (sample()[key], corrupted(name, severity)))
    there, left = before.any(-1), after.any(-1)
    known = {tuple(value) for value in before[there].tolist()}
    assert {tuple(value) for value in after[left].tolist()} <= known
    if name.endswith(("loss", "beams")):
        assert not left[~there].any() and np.array_equal(after[left], before[left])
        assert left.sum() / there.sum() == pytest.approx(1 - strength, abs=0.03)
    elif name == "event_noise":
        assert np.array_equal(after[there], before[there])
        assert left[~there].mean() == pytest.approx(strength, abs=0.01)
    elif name == "event_low_resolution":
        assert len(np.unique(after, axis=0)) <= SIZE[0] / strength + 1
        assert left.mean() == pytest.approx(there.mean(), abs=0.02)
    else:
        assert 0.9 * there.sum() < left.sum() <= there.sum()  # some fall on one another
        assert (left & there).sum() < 0.75 * there.sum()


def test_a_lost_event_is_measured_and_a_lost_point_is_not():
    """Where a mask tells what was measured; what it leaves out stays so."""
    maps = {
        "event": MapSpec("event", 2, "float32", "sensor", "linear"),
        "lidar": MapSpec("lidar", 1, "float32", "sensor", "nearest"),
    }
    rng = np.random.default_rng(4)
    valid = (rng.random(SIZE) > 0.1).astype(np.uint8)
    events = np.where(rng.random((*SIZE, 1)) < 0.5, rng.normal(size=(*SIZE, 2)), 0).astype(np.float32)
    given = {"event": events, "event_valid": valid, "lidar": events[..., 0], "lidar_valid": valid, "sample_id": "a"}
    for name, lossy in (("event_loss", False), ("event_noise", False), ("lidar_loss", True), ("lidar_beams", True)):
        key = MODALITY[name]
        found = Corrupt(name, 3, key=key, maps=maps)(given, np.random.default_rng(0))
        before, after, left = (x.reshape(*SIZE, -1).any(-1) for x in (given[key], found[key], found[f"{key}_valid"]))
        assert not left[valid == 0].any() and not after[valid == 0].any()
        assert (left[valid > 0].mean() < 0.8) if lossy else np.array_equal(left, valid > 0), name
        assert (after < before).any() if name != "event_noise" else (after > before)[valid > 0].any()


def test_beams_are_bands_of_rows():
    lost = sample()["lidar"].any(1) & ~corrupted("lidar_beams", 3).any(1)
    edges = np.flatnonzero(np.diff(lost.astype(int)))
    bands = {round((row + 1) * 64 / SIZE[0], 6) for row in edges}
    assert lost.mean() == pytest.approx(0.5, abs=0.02) and len(edges) > 10
    assert all(abs(band - round(band)) < 0.5 for band in bands)


def test_points_move_by_their_deviation():
    one = np.zeros(SIZE, np.float32)
    one[120, 160] = 7
    corrupt, moves = Corrupt("lidar_jitter", 4, key="lidar", maps=MAPS), []
    for seed in range(60):
        found = corrupt({**sample(), "lidar": one}, np.random.default_rng(seed))["lidar"]
        ((row,), (column,)) = np.nonzero(found)
        assert found[row, column] == 7
        moves += [row - 120, column - 160]
    assert np.std(moves) == pytest.approx(4, rel=0.2)  # 8 pixels of 480 rows are 4 of these 240


def test_published_constants_mean_what_they_say():
    """Of colours in the middle, so that nothing is cut at 0 or 255."""
    flat = np.full((*SIZE, 3), 128, np.uint8)

    def of(name, severity, source=flat):
        found = Corrupt(name, severity)({**sample(), "rgb": source}, np.random.default_rng(0))["rgb"]
        return found.astype(float)

    assert of("gaussian_noise", 1).std() == pytest.approx(0.08 * 255, rel=0.02)
    shot = of("shot_noise", 1)
    assert shot.mean() == pytest.approx(128, rel=0.01)
    assert shot.std() == pytest.approx(255 * np.sqrt(128 / 255 / 60), rel=0.03)
    iso = np.hypot(255 * np.sqrt(128 / 255 / 25), 0.7 * 0.08 * 255)
    assert of("iso_noise", 1).std() == pytest.approx(iso, rel=0.03)
    struck = of("impulse_noise", 5)
    assert [(struck == value).mean() for value in (0, 255)] == pytest.approx([0.135, 0.135], abs=0.005)
    source = sample()["rgb"]
    assert len(np.unique(of("colour_quant", 5, source))) <= 2 and len(np.unique(of("colour_quant", 3, source))) <= 8
    halved = of("contrast", 3, source)
    np.testing.assert_allclose(halved.std((0, 1)), 0.2 * source.std((0, 1)), rtol=0.02)
    np.testing.assert_allclose(halved.mean((0, 1)), source.mean((0, 1)), atol=0.6)
    np.testing.assert_allclose(of("brightness", 1, source).max(-1), np.minimum(source.max(-1) + 25.5, 255), atol=1)
    for name in ("defocus_blur", "glass_blur", "motion_blur", "zoom_blur", "pixelate", "jpeg", "elastic"):
        np.testing.assert_allclose(of(name, 3), 128, atol=2)  # they have nothing to smear
    step = np.repeat(np.uint8([0, 255]), SIZE[1] // 2)[None, :, None].repeat(SIZE[0], 0).repeat(3, 2)
    edge = of("defocus_blur", 1, step)[120, :, 0]
    assert edge[160 - 5] < 1 and 1 < edge[160 - 2] < 127 and edge[160 + 5] > 254  # a disc of 3 pixels


def test_fill_of_a_declared_map():
    spec = MapSpec("lidar", 1, "float32", "sensor", "nearest", fill=-1.0)
    source = {**sample(), "lidar": np.ones(SIZE, np.float32)}
    found = Corrupt("missing", 1, key="lidar", maps={"lidar": spec})(source, np.random.default_rng(0))
    assert (found["lidar"] == -1).all()


def test_exception():
    with pytest.raises(ValueError, match=r"'rgb_snow' is not known; expected one of brightness"):
        Corrupt("rgb_snow", 1)
    for severity in (-1, 6, 1.5, True):
        with pytest.raises(ValueError, match=r"must be 0 \(none\) to 5"):
            Corrupt("rgb_noise", severity)
    with pytest.raises(ValueError, match="say which with key="):
        Corrupt("shift", 1)
    with pytest.raises(ValueError, match="no MapSpec for 'lidar'"):
        Corrupt("missing", 1, key="lidar")
    with pytest.raises(ValueError, match=r"'thermal_blur' needs the array 'thermal', but sample 'b' has"):
        Corrupt("thermal_blur", 1)({"sample_id": "b"}, np.random.default_rng(0))


@pytest.mark.parametrize("key", ["thermal", "depth"])
@pytest.mark.parametrize("name", [name for name, found in CORRUPTIONS.items() if found.modality not in ("rgb", *MAPS)])
@pytest.mark.parametrize("severity", [1, 5])
def test_what_was_not_measured_changes_nothing_and_stays(name, key, severity):
    """The same result whatever stands in the holes, which a mask names."""
    hole = np.zeros(SIZE, bool)
    hole[60:100, 50:90] = True
    given = {**sample(), f"{key}_valid": (~hole).astype(np.uint8)}
    found = [
        Corrupt(name, severity, key=key)(
            {**given, key: np.where(hole, np.float32(value), given[key])}, np.random.default_rng(2)
        )
        for value in (0, 7, np.nan)
    ]
    for other in found:
        np.testing.assert_array_equal(other[key], found[0][key])
        np.testing.assert_array_equal(other[f"{key}_valid"], found[0][f"{key}_valid"])
        assert np.isfinite(other[key]).all()
    left = found[0][f"{key}_valid"] > 0
    if name == "missing":
        assert not left.any()
    elif name == "shift":
        assert left.mean() < (~hole).mean() - 0.001  # what came in at the border was not measured either
    else:
        assert not left[hole].any() and (name == "depth_holes" or left[~hole].mean() > 0.99)
    assert (found[0][key][~left] == 0).all()
    if name in ("thermal_blur", "thermal_contrast", "thermal_noise") and key == "thermal":
        assert found[0][key][left].min() > 250


def test_a_blur_of_a_constant_with_holes_is_that_constant():
    constant = np.full(SIZE, 290, np.float32)
    valid = (np.random.default_rng(0).random(SIZE) > 0.4).astype(np.uint8)
    given = {**sample(), "thermal": np.where(valid > 0, constant, np.float32(0)), "thermal_valid": valid}
    found = Corrupt("thermal_blur", 3)(given, np.random.default_rng(0))
    np.testing.assert_allclose(found["thermal"][valid > 0], 290, rtol=1e-5)
    np.testing.assert_array_equal(found["thermal_valid"], valid)
