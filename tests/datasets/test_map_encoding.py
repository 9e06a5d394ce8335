"""Maps written and read back: to the bit, decoded by another library, and refused where the file cannot hold them."""

from __future__ import annotations

import numpy as np
import pytest
from dataset_frames import decoded, save
from PIL import Image

from rgbx.datasets import STANDARD_MAPS, MapSpec, Taskonomy
from rgbx.datasets.map_encoding import read_map, write_map
from rgbx.datasets.reading import read_image
from rgbx.datasets.taskonomy import write_log_depth

SIZE = (256, 256)
EVERY_16_BIT_VALUE = np.arange(2**16, dtype=np.uint16).reshape(SIZE)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("depth", {}),
        ("depth", {"scale": 5000}),
        ("depth", {"scale": 256.0}),
        ("thermal", {}),
        ("thermal", {"scale": 100, "add": -273.15}),
        ("edge", {}),
        ("edge", {"scale": 65535}),
    ],
)
def test_every_16_bit_value_returns(tmp_path, name, options):
    """What others wrote, read and written again, is the same file, value for value."""
    save(tmp_path / "theirs.png", EVERY_16_BIT_VALUE)
    values = read_map(tmp_path / "theirs.png", STANDARD_MAPS[name], **options)
    assert values.dtype == np.float32
    write_map(tmp_path / "ours.png", values, STANDARD_MAPS[name], **options)
    stored = decoded(tmp_path / "ours.png")
    assert stored.dtype == np.uint16
    np.testing.assert_array_equal(stored, EVERY_16_BIT_VALUE)


def test_colours_return(tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    write_map(tmp_path / "a.png", image, STANDARD_MAPS["rgb"])
    np.testing.assert_array_equal(decoded(tmp_path / "a.png"), image)
    np.testing.assert_array_equal(read_map(tmp_path / "a.png", STANDARD_MAPS["rgb"]), image)
    write_map(
        tmp_path / "b.png", image.astype(np.float32) + np.float32(0.4) - 0.4 * (image == 255), STANDARD_MAPS["rgb"]
    )
    np.testing.assert_array_equal(decoded(tmp_path / "b.png"), image)


@pytest.mark.parametrize("bits", [8, 16])
def test_normals_return(tmp_path, bits):
    """Every level of each channel, and no normal as the grey in the middle."""
    kind = np.uint8 if bits == 8 else np.uint16
    levels = EVERY_16_BIT_VALUE if bits == 16 else (EVERY_16_BIT_VALUE % 256)
    stored = np.stack([levels, levels[::-1], levels.T], -1).astype(kind)
    stored[0, 0] = 2 ** (bits - 1)
    if bits == 8:
        save(tmp_path / "theirs.png", stored)
    else:
        write_map(tmp_path / "theirs.png", stored / 32767.5 - 1, STANDARD_MAPS["normal"])
    np.testing.assert_array_equal(read_image(tmp_path / "theirs.png"), stored)
    vectors = read_map(tmp_path / "theirs.png", STANDARD_MAPS["normal"])
    assert (vectors[0, 0] == 0).all() and vectors.min() == -1 and vectors.max() == 1
    write_map(tmp_path / "ours.png", vectors, STANDARD_MAPS["normal"], bits=bits)
    np.testing.assert_array_equal(read_image(tmp_path / "ours.png"), stored)


def test_logarithmic_files_return(tmp_path):
    """Every value but 0 (which reads as 0, no measurement) by Taskonomy's formula; 65535 = no measurement."""
    stored = np.maximum(EVERY_16_BIT_VALUE, 1)
    save(tmp_path / "theirs.png", stored)
    spec = MapSpec("depth", 1, "float32", "relative", "nearest")
    values = read_map(tmp_path / "theirs.png", spec, log=11.1)
    expected = np.where(stored == 65535, 0, np.log(1 + stored.astype(np.float64)) / 11.1)
    np.testing.assert_allclose(values, expected, rtol=1e-6)
    write_map(tmp_path / "ours.png", values, spec, log=11.1)
    np.testing.assert_array_equal(decoded(tmp_path / "ours.png"), stored)
    with Image.open(tmp_path / "ours.png") as image:
        assert image.text == {"Description": "depth: relative = log(1 + value) / 11.1; 65535 = no measurement"}
    with pytest.raises(ValueError, match=r"hold 0 to 0\.99913"):
        write_map(tmp_path / "a.png", np.full((2, 2), 0.9995), spec, log=11.1)
    with pytest.raises(ValueError, match=r"log=11\.1 is for relative maps"):
        write_map(tmp_path / "a.png", np.ones((2, 2)), STANDARD_MAPS["depth"], log=11.1)


def test_stated_bits_are_checked(tmp_path):
    save(tmp_path / "a.png", EVERY_16_BIT_VALUE)
    with pytest.raises(ValueError, match=r"a\.png: edge is to have 8 bits, found 1 channel of 16 bits"):
        read_map(tmp_path / "a.png", STANDARD_MAPS["edge"], bits=8)
    assert read_map(tmp_path / "a.png", STANDARD_MAPS["edge"], bits=16).max() == 1


def test_rounding_is_to_the_nearest_step(tmp_path):
    depth = np.array([[0, 1.2344, 1.2346, 0.0002, 65.535]], np.float32)
    write_map(tmp_path / "a.png", depth, STANDARD_MAPS["depth"])
    assert decoded(tmp_path / "a.png").tolist() == [[0, 1234, 1235, 1, 65535]]


def test_the_file_says_what_it_holds(tmp_path):
    write_map(tmp_path / "depth.png", np.ones((2, 3), np.float32), STANDARD_MAPS["depth"])
    with Image.open(tmp_path / "depth.png") as image:
        assert image.text == {"Description": "depth: metre = value / 1000; 0 = no measurement"}
    write_map(tmp_path / "thermal.png", np.ones((2, 3)), STANDARD_MAPS["thermal"], scale=100, add=-273.15)
    with Image.open(tmp_path / "thermal.png") as image:
        assert image.text == {"Description": "thermal: sensor = value / 100 - 273.15"}


@pytest.mark.parametrize(
    ("values", "name", "options", "message"),
    [
        ([[70.0]], "depth", {}, r"a\.png: depth holds 70 to 70, but 16 bits with scale 1000 hold 0 to 65\.535"),
        ([[-0.1]], "depth", {}, r"holds -0\.1"),
        ([[1.1]], "edge", {}, r"hold 0 to 1"),
        ([[np.nan]], "depth", {}, "NaN"),
        ([1.0], "depth", {}, r"must be \[H, W\], found \(1,\)"),
        ([[1.0]], "normal", {}, r"must be \[H, W, 3\]"),
        ([[1.0]], "depth", {"scale": 0}, "takes a number > 0"),
        ([[1.0]], "depth", {"add": 1}, "has no add"),
        ([[1.0]], "depth", {"scale": np.inf}, "takes a number > 0"),
        ([[1.0]], "thermal", {"add": np.nan}, "takes a finite number"),
        ([[1.0]], "depth", {"bits": 12}, "expected 8 or 16"),
        ([[[1.0] * 3]], "rgb", {"bits": 16}, "expected 8"),
        ([[[1.0] * 3]], "normal", {"scale": 2}, "takes none"),
        ([[300.0]], "thermal", {"bits": 8}, "hold 0 to 255"),
    ],
)
def test_what_a_file_cannot_hold_is_refused(tmp_path, values, name, options, message):
    with pytest.raises(ValueError, match=message):
        write_map(tmp_path / "a.png", np.array(values), STANDARD_MAPS[name], **options)
    assert not list(tmp_path.iterdir())


def test_other_mistakes(tmp_path):
    with pytest.raises(ValueError, match=r"a\.jpg: maps are written as PNG"):
        write_map(tmp_path / "a.jpg", np.zeros((2, 2)), STANDARD_MAPS["depth"])
    with pytest.raises(ValueError, match="'volt' has no file format"):
        write_map(tmp_path / "a.png", np.zeros((2, 2)), MapSpec("x", 1, "float32", "volt", "linear"))
    save(tmp_path / "eight.png", np.zeros((2, 2), np.uint8))
    with pytest.raises(ValueError, match="expected one channel of 16 bits"):
        read_map(tmp_path / "eight.png", STANDARD_MAPS["depth"])
    assert read_map(tmp_path / "eight.png", STANDARD_MAPS["edge"]).max() == 0


@pytest.mark.parametrize("view", ["point_0_view_3", "point_47_view_25", "point_202_view_5"])
class TestRealViews:
    """Each domain of Taskonomy is read as its dataset reads it and written again, equal in every bit."""

    def stored(self, layouts, domain, view):
        path = layouts / "taskonomy" / domain / f"{view}_domain_{domain}.png"
        return path, decoded(path)

    def test_colours_and_normals(self, layouts, tmp_path, view):
        dataset = Taskonomy(layouts / "taskonomy", list_file=self.list_of(tmp_path, view), sources=("normal",))
        for name in ("rgb", "normal"):
            _, expected = self.stored(layouts, name, view)
            options = {"bits": 8} if name == "normal" else {}
            write_map(tmp_path / f"{name}.png", dataset[0][name], dataset.maps[name], **options)
            np.testing.assert_array_equal(decoded(tmp_path / f"{name}.png"), expected)

    def test_depth(self, layouts, tmp_path, view):
        dataset = Taskonomy(layouts / "taskonomy", list_file=self.list_of(tmp_path, view), sources=("depth",))
        _, expected = self.stored(layouts, "depth_zbuffer", view)
        write_log_depth(tmp_path / "depth.png", dataset[0]["depth"])
        stored = decoded(tmp_path / "depth.png")
        assert stored.dtype == np.uint16 and (stored == 65535).any() == (expected == 65535).any()
        np.testing.assert_array_equal(stored, expected)

    def test_grey(self, layouts, tmp_path, view):
        """Texture that reaches beyond its divisor is cut there, as published; as a sensor's map it is not."""
        sources = ("texture", "shade")
        dataset = Taskonomy(layouts / "taskonomy", list_file=self.list_of(tmp_path, view), sources=sources)
        path, texture = self.stored(layouts, "edge_texture", view)
        write_map(tmp_path / "texture.png", dataset[0]["texture"], dataset.maps["texture"], scale=11355)
        np.testing.assert_array_equal(decoded(tmp_path / "texture.png"), np.minimum(texture, 11355))
        sensor = STANDARD_MAPS["thermal"]
        write_map(tmp_path / "raw.png", read_map(path, sensor), sensor)
        np.testing.assert_array_equal(decoded(tmp_path / "raw.png"), texture)
        write_map(tmp_path / "shade.png", dataset[0]["shade"], dataset.maps["shade"], bits=8)
        _, shade = self.stored(layouts, "reshading", view)
        assert (shade == shade[..., :1]).all()
        np.testing.assert_array_equal(decoded(tmp_path / "shade.png"), shade[..., 0])

    def list_of(self, tmp_path, view):
        (tmp_path / "one.txt").write_text(f"{{domain}}/{view}_domain_{{domain}}.png\n")
        return tmp_path / "one.txt"
