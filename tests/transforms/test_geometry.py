"""Geometry: alignment of all modalities, values that may appear, padding, crop before resize."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from rgbx.datasets import MapSpec
from rgbx.transforms import CenterCrop, HorizontalFlip, OtherCamera, PadTo, RandomScaleCrop, Resize

SIZE = (48, 64)
RNG = np.random.default_rng(0)
ROWS, COLUMNS = np.mgrid[: SIZE[0], : SIZE[1]]


def coordinates(**more):
    """A sample whose maps all hold where each pixel came from: 1 + row, 1 + column."""
    rgb = np.stack([ROWS * 4, COLUMNS * 3, np.full(SIZE, 200)], -1).astype(np.uint8)
    depth = (1 + ROWS + COLUMNS / 100).astype(np.float32)
    label = (ROWS // 8 * 8 + COLUMNS // 8).astype(np.uint8)
    return {"rgb": rgb, "depth": depth, "label": label, "sample_id": "a", "paths": {}} | more


def rows_and_columns(depth):
    """Source pixel of each output pixel, from nearest-sampled depth."""
    return np.floor(depth) - 1, np.rint((depth - np.floor(depth)) * 100)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("options", [{}, {"scales": (0.5, 0.75, 1.25)}, {"scale": (2, 3)}])
def test_one_draw_for_all_modalities(seed, options):
    rng = np.random.default_rng(seed)
    sample = coordinates()
    for transform in (RandomScaleCrop((40, 44), **options), HorizontalFlip(), PadTo((50, 44)), CenterCrop((44, 40))):
        sample = transform(sample, rng)
    depth, label, rgb = sample["depth"], sample["label"], sample["rgb"].astype(float)
    assert depth.shape == label.shape == rgb.shape[:2] == (44, 40)
    inside = depth > 0
    assert inside.any()
    rows, columns = rows_and_columns(depth)
    np.testing.assert_array_equal(label == 255, ~inside)
    expected = rows // 8 * 8 + columns // 8
    np.testing.assert_array_equal(label[inside], expected[inside])
    # linear rgb and nearest depth may differ by half a source pixel, plus rounding of both
    assert np.abs(rgb[..., 0] / 4 - rows)[inside].max() <= 0.76
    assert np.abs(rgb[..., 1] / 3 - columns)[inside].max() <= 0.85
    assert abs((rgb[..., 0] / 4 - rows)[inside].mean()) < 0.51
    assert (rgb[~inside] == 0).all()


def test_flip_and_scales_really_happen():
    crops = [RandomScaleCrop(32)(coordinates(), np.random.default_rng(k)) for k in range(200)]
    spans = [np.ptp(rows_and_columns(c["depth"][c["depth"] > 0])[0]) + 1 for c in crops]
    factors = 32 / np.array(spans)
    assert min(spans) <= 17 and max(spans) >= 47  # factor 2, and 0.5 pads
    assert 1.1 < np.mean(np.minimum(factors, 2)) < 1.45
    flipped = [HorizontalFlip()(coordinates(), np.random.default_rng(k))["depth"][0, 0] != 1 for k in range(200)]
    assert 70 < sum(flipped) < 130


@pytest.mark.parametrize("seed", range(10))
def test_depth_values_are_a_subset(seed):
    rng = np.random.default_rng(seed)
    depth = rng.choice(np.array([0, 0.7, 3.25, 9.5], np.float32), SIZE)
    for transform in (RandomScaleCrop((60, 70), interpolation="cubic"), Resize((31, 77))):
        found = transform(coordinates(depth=depth), rng)["depth"]
        assert found.dtype == np.float32
        assert set(np.unique(found)) <= {0.0, *np.unique(depth)}


@pytest.mark.parametrize("factor", [1, 2, 4])
def test_crop_before_resize_equals_resize_then_crop(factor):
    """At whole factors the windows coincide: nearest maps are equal, rgb but for the window's rim."""
    rng = np.random.default_rng(factor)
    source = coordinates(rgb=rng.integers(0, 256, (*SIZE, 3), dtype=np.uint8))
    found = RandomScaleCrop((32, 40), scales=(factor,))(source, np.random.default_rng(5))
    size = (SIZE[1] * factor, SIZE[0] * factor)
    corner_row, corner_column = (int(v[0, 0]) * factor for v in rows_and_columns(found["depth"]))
    window = np.s_[corner_row : corner_row + 32, corner_column : corner_column + 40]
    for name in ("depth", "label"):
        whole = np.repeat(np.repeat(source[name], factor, 0), factor, 1)
        np.testing.assert_array_equal(found[name], whole[window])
    whole = cv2.resize(source["rgb"], size, interpolation=cv2.INTER_LINEAR)[window].astype(int)
    rim = factor
    inner = np.s_[rim:-rim, rim:-rim]
    assert np.abs(found["rgb"].astype(int)[inner] - whole[inner]).max() <= 1


def test_padding_lies_around_the_middle():
    found = RandomScaleCrop((40, 44), scales=(0.5,))(coordinates(), np.random.default_rng(0))
    assert (found["label"] != 255).sum() == 24 * 32
    assert (found["label"][8:32, 6:38] != 255).all()
    assert (found["depth"] > 0).sum() == 24 * 32
    assert (found["rgb"][:8] == 0).all()


def test_fill_is_used():
    transform = RandomScaleCrop((40, 44), scales=(0.5,), fill={"rgb": (9, 8, 7), "depth": 0})
    found = transform(coordinates(), np.random.default_rng(0))
    assert (found["rgb"][0, 0] == (9, 8, 7)).all() and found["label"][0, 0] == 255


def test_min_short_side_raises_the_factor():
    """The recipe: the scaled shorter side has at least so many pixels."""
    transform = RandomScaleCrop((60, 80), scales=(0.25,), min_short_side=36)
    found = transform(coordinates(), np.random.default_rng(0))
    assert (found["label"] != 255).sum() == 36 * 48


def test_scale_depth_is_optional():
    rng = [np.random.default_rng(3) for _ in range(2)]
    kept = RandomScaleCrop((32, 40), scales=(2,))(coordinates(), rng[0])
    scaled = RandomScaleCrop((32, 40), scales=(2,), scale_depth=True)(coordinates(), rng[1])
    np.testing.assert_allclose(scaled["depth"], kept["depth"] / 2)
    assert scaled["depth"].dtype == np.float32


def test_flip_negates_the_normals_x():
    rng = np.random.default_rng(0)
    normal = rng.normal(size=(*SIZE, 3)).astype(np.float32)
    found = HorizontalFlip(1.0)(coordinates(normal=normal), rng)
    np.testing.assert_array_equal(found["normal"], normal[:, ::-1] * [-1, 1, 1])
    np.testing.assert_array_equal(found["rgb"], coordinates()["rgb"][:, ::-1])
    np.testing.assert_array_equal(found["label"], coordinates()["label"][:, ::-1])


def test_normals_keep_unit_length():
    rng = np.random.default_rng(0)
    normal = rng.normal(size=(*SIZE, 3)).astype(np.float32)
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
    found = RandomScaleCrop((32, 32), scale=(1.3, 1.7))(coordinates(normal=normal), rng)["normal"]
    np.testing.assert_allclose(np.linalg.norm(found, axis=-1), 1, rtol=1e-5)


def test_interpolated_normals_are_unit_vectors_beside_holes_too():
    """As Taskonomy's normals are declared: directions are mixed, lengths are not, and holes do not grow or shrink."""
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(9, 12, 3)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=2, keepdims=True)
    vectors[2:5, 3:7] = 0
    spec = MapSpec("normal", 3, "float32", "unit_vector", "linear")
    result = Resize((20, 27), maps={"normal": spec})({"normal": vectors, "sample_id": "a"}, rng)["normal"]
    rows, columns = ((np.arange(n) + 0.5) * m / n for n, m in ((20, 9), (27, 12)))
    holes = ~vectors.any(2)[rows.astype(int)][:, columns.astype(int)]
    np.testing.assert_array_equal(~result.any(2), holes)
    np.testing.assert_allclose(np.linalg.norm(result[~holes], axis=1), 1, atol=1e-5)
    plain = cv2.resize(vectors, (27, 20), interpolation=cv2.INTER_LINEAR)[~holes]
    np.testing.assert_allclose(np.cross(plain, result[~holes]), 0, atol=1e-5)
    assert ((plain * result[~holes]).sum(1) > 0).all()


def test_resize_can_leave_the_label():
    found = Resize((24, 32), resize_label=False)(coordinates(), np.random.default_rng(0))
    assert found["rgb"].shape == (24, 32, 3) and found["depth"].shape == (24, 32)
    np.testing.assert_array_equal(found["label"], coordinates()["label"])


def test_pad_to_multiple_and_centre():
    found = PadTo(multiple=32)(coordinates(), np.random.default_rng(0))
    assert found["label"].shape == (64, 64)
    np.testing.assert_array_equal(found["label"][:48], coordinates()["label"])
    assert (found["label"][48:] == 255).all() and (found["depth"][48:] == 0).all()
    found = PadTo((52, 60), centre=True)(coordinates(), np.random.default_rng(0))
    assert found["label"].shape == (52, 64) and (found["label"][2:50] != 255).all()


def test_inputs_are_not_written_to():
    original, rng = coordinates(normal=np.ones((*SIZE, 3), np.float32)), np.random.default_rng(0)
    copies = {k: v.copy() for k, v in original.items() if isinstance(v, np.ndarray)}
    for transform in (
        RandomScaleCrop((60, 70), scale_depth=True),
        HorizontalFlip(1.0),
        Resize((20, 20)),
        PadTo((99, 99)),
        CenterCrop((10, 10)),
    ):
        transform(original, rng)
    for name, array in copies.items():
        np.testing.assert_array_equal(original[name], array)


@pytest.mark.parametrize("channels", [2, 4, 5, 12])
@pytest.mark.parametrize("interpolation", ["linear", "nearest"])
def test_maps_of_any_number_of_channels(channels, interpolation):
    """Each channel is treated as if it were alone."""
    maps = {
        "many": MapSpec("many", channels, "float32", "sensor", interpolation, -1),
        "one": MapSpec("one", 1, "float32", "sensor", interpolation, -1),
    }
    many = np.random.default_rng(0).random((*SIZE, channels), np.float32)
    for scale in (0.6, 1.7):
        for k in range(channels):
            rng, found = np.random.default_rng(2), coordinates(many=many, one=np.ascontiguousarray(many[..., k]))
            for transform in (RandomScaleCrop((40, 44), scales=(scale,), maps=maps), HorizontalFlip(1.0, maps=maps)):
                found = transform(found, rng)
            np.testing.assert_allclose(found["many"][..., k], found["one"], atol=1e-5)


def test_declared_maps_travel_too():
    spec = MapSpec("lidar", 1, "float32", "metre", "nearest")
    transform = RandomScaleCrop((40, 44), maps={"lidar": spec})
    found = transform(coordinates(lidar=coordinates()["depth"]), np.random.default_rng(1))
    np.testing.assert_array_equal(found["lidar"], found["depth"])


def test_exception():
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match=r"no MapSpec for \['lidar'\]"):
        HorizontalFlip()(coordinates(lidar=np.ones(SIZE)), rng)
    with pytest.raises(ValueError, match=r"share one size.*'label'"):
        RandomScaleCrop(8)(coordinates(label=np.ones((3, 3), np.uint8)), rng)
    with pytest.raises(ValueError, match="before PackSample"):
        Resize(8)({"sample_id": "a"}, rng)
    with pytest.raises(ValueError, match=r"\(100, 10\) from sample 'a' of \(48, 64\).*PadTo"):
        CenterCrop((100, 10))(coordinates(), rng)
    for wrong in (
        {"scale": (2, 1)},
        {"scale": (0, 1)},
        {"scales": ()},
        {"scale": (1, 2, 3)},
        {"interpolation": "nearest"},
    ):
        with pytest.raises(ValueError, match="found"):
            RandomScaleCrop(8, **wrong)
    for wrong, message in (
        ({"rbg": 0}, "names the map 'rbg'"),
        ({"rgb": (1, 2)}, "one number or 3"),
        ({"rgb": 0.5}, r"whole numbers 0\.\.255"),
        ({"label": 300}, r"0\.\.255"),
    ):
        for make in (RandomScaleCrop, PadTo):
            with pytest.raises(ValueError, match=message):
                make(8, fill=wrong)
    for size in ((1, 2, 3), 0, (1.5, 2)):
        with pytest.raises(ValueError, match="height, width"):
            Resize(size)
    with pytest.raises(ValueError, match=r"0\.\.1"):
        HorizontalFlip(2)


def holed():
    """A sensor's map with a slope and holes, of values that no mean of others gives."""
    values = (100 + np.add.outer(np.arange(20), np.arange(30))).astype(np.float32)
    valid = RNG.random((20, 30)) > 0.3
    return np.where(valid, values, np.float32(-9999)), valid.astype(np.uint8)


def naive_resize(values, valid, size):
    """Bilinear with aligned centres; each of the four pixels counts if it was measured."""
    found = np.zeros(size, np.float64)
    for row, column in np.ndindex(size):
        y = (row + 0.5) * values.shape[0] / size[0] - 0.5
        x = (column + 0.5) * values.shape[1] / size[1] - 0.5
        total = weight = 0.0
        for j in (int(np.floor(y)), int(np.floor(y)) + 1):
            for i in (int(np.floor(x)), int(np.floor(x)) + 1):
                share = (1 - abs(y - j)) * (1 - abs(x - i))
                j_, i_ = min(max(j, 0), values.shape[0] - 1), min(max(i, 0), values.shape[1] - 1)
                total += share * values[j_, i_] * valid[j_, i_]
                weight += share * valid[j_, i_]
        found[row, column] = total / weight if weight > 0 else np.nan
    return found


@pytest.mark.parametrize("size", [(20, 30), (40, 60), (33, 47), (13, 22)])
def test_no_value_of_a_hole_reaches_another_pixel(size):
    thermal, valid = holed()
    given = {"thermal": thermal, "thermal_valid": valid, "sample_id": "a", "paths": {}}
    found = Resize(size)(given, RNG)
    measured = found["thermal_valid"] > 0
    assert 0.5 < measured.mean() < 0.9
    expected = naive_resize(thermal, valid, size)
    np.testing.assert_allclose(found["thermal"][measured], expected[measured], rtol=1e-4)
    if size != (20, 30):
        assert (found["thermal"][~measured] == 0).all()


@pytest.mark.parametrize("interpolation", ["linear", "cubic", "area"])
@pytest.mark.parametrize("unit", ["metre", "relative"])
def test_depth_that_is_resized_linearly_mixes_with_no_hole(interpolation, unit):
    spec = MapSpec("depth", 1, "float32", unit, "linear")
    depth = np.where(RNG.random((40, 60)) > 0.3, np.float32(5), np.float32(0))
    transforms = (
        Resize((25, 31), interpolation=interpolation, maps={"depth": spec}),
        RandomScaleCrop((30, 30), scale=(0.7, 1.4), interpolation=interpolation, maps={"depth": spec}),
    )
    for transform in transforms:
        found = transform({"depth": depth, "sample_id": "a", "paths": {}}, np.random.default_rng(1))["depth"]
        assert set(np.unique(found.round(3))) == {0, 5}


def test_a_crop_takes_the_mask_of_its_own_window():
    thermal, valid = holed()
    given = {"thermal": thermal, "thermal_valid": valid, "sample_id": "a", "paths": {}}
    for seed in range(5):
        found = RandomScaleCrop((16, 16), scale=(0.6, 1.9))(given, np.random.default_rng(seed))
        measured = found["thermal_valid"] > 0
        assert found["thermal"][measured].min() >= 100 and (found["thermal"][~measured] == 0).all()


@pytest.mark.parametrize("seed", range(6))
def test_another_camera_sees_its_maps_zoomed_and_shifted(seed):
    sample = coordinates(depth_valid=np.ones(SIZE, np.uint8))
    found = OtherCamera(("depth",), zoom=0.3, shift=0.2)(sample, np.random.default_rng(seed))
    assert all(found[key] is sample[key] for key in ("rgb", "label"))
    inside = found["depth"] > 0
    np.testing.assert_array_equal(found["depth_valid"] > 0, inside)
    assert inside.mean() > 0.4
    rng = np.random.default_rng(seed)
    factor = rng.uniform(1, 1.3)
    for axis, (side, source) in enumerate(zip(SIZE, rows_and_columns(found["depth"]), strict=True)):
        middle = side / 2 + rng.uniform(-0.2, 0.2) * side
        place = np.indices(SIZE)[axis]
        expected = middle + (place + 0.5 - side / 2) / factor - 0.5
        assert np.abs(source - expected)[inside].max() <= 1.5
    assert (OtherCamera(("depth",), zoom=0, shift=0)(sample, rng)["depth"] == sample["depth"]).all()


def test_another_camera_names_what_it_lacks():
    with pytest.raises(ValueError, match=r"has no 'thermal'; it has \['rgb', 'depth', 'label'\]"):
        OtherCamera(("thermal",))(coordinates(), RNG)
    for options in (dict(keys="depth"), dict(keys=("depth",), zoom=-1), dict(keys=("depth",), shift=0.6)):
        with pytest.raises(ValueError, match="OtherCamera needs"):
            OtherCamera(**options)
