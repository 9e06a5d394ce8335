"""Maps written and read back: to the bit, decoded by another library, and refused where the file cannot hold them."""

from __future__ import annotations

import json
from dataclasses import fields

import cv2
import numpy as np
import pytest
from dataset_frames import decoded, save
from made_tiff import tiff
from PIL import Image

from rgbx.datasets import Taskonomy
from rgbx.datasets.families.mfnet import ThermalInAlpha
from rgbx.datasets.families.sunrgbd import SunDepth
from rgbx.datasets.families.taskonomy import LOG_DEPTH
from rgbx.maps import RELATIVE_DEPTH, STANDARD_MAPS, Encoding, MapSpec, read_image

SIZE = (256, 256)
DEPTH, THERMAL, EDGE = (STANDARD_MAPS[name] for name in ("depth", "thermal", "edge"))
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
    values = Encoding(STANDARD_MAPS[name], **options).read(tmp_path / "theirs.png")
    assert values.dtype == np.float32
    Encoding(STANDARD_MAPS[name], **options).write(tmp_path / "ours.png", values)
    stored = decoded(tmp_path / "ours.png")
    assert stored.dtype == np.uint16
    np.testing.assert_array_equal(stored, EVERY_16_BIT_VALUE)


def test_colours_return(tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    Encoding(STANDARD_MAPS["rgb"]).write(tmp_path / "a.png", image)
    np.testing.assert_array_equal(decoded(tmp_path / "a.png"), image)
    np.testing.assert_array_equal(Encoding(STANDARD_MAPS["rgb"]).read(tmp_path / "a.png"), image)
    Encoding(STANDARD_MAPS["rgb"]).write(
        tmp_path / "b.png", image.astype(np.float32) + np.float32(0.4) - 0.4 * (image == 255)
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
        Encoding(STANDARD_MAPS["normal"]).write(tmp_path / "theirs.png", stored / 32767.5 - 1)
    np.testing.assert_array_equal(read_image(tmp_path / "theirs.png"), stored)
    vectors = Encoding(STANDARD_MAPS["normal"]).read(tmp_path / "theirs.png")
    assert (vectors[0, 0] == 0).all() and vectors.min() == -1 and vectors.max() == 1
    Encoding(STANDARD_MAPS["normal"], bits=bits).write(tmp_path / "ours.png", vectors)
    np.testing.assert_array_equal(read_image(tmp_path / "ours.png"), stored)


def test_logarithmic_files_return(tmp_path):
    """Every value but 0 (which reads as 0, no measurement) by Taskonomy's formula; 65535 = no measurement."""
    stored = np.maximum(EVERY_16_BIT_VALUE, 1)
    save(tmp_path / "theirs.png", stored)
    spec = MapSpec("depth", 1, "float32", "relative", "nearest")
    values = Encoding(spec, log=11.1).read(tmp_path / "theirs.png")
    expected = np.where(stored == 65535, 0, np.log(1 + stored.astype(np.float64)) / 11.1)
    np.testing.assert_allclose(values, expected, rtol=1e-6)
    Encoding(spec, log=11.1).write(tmp_path / "ours.png", values)
    np.testing.assert_array_equal(decoded(tmp_path / "ours.png"), stored)
    with Image.open(tmp_path / "ours.png") as image:
        assert image.text == {"Description": "depth: relative = log(1 + value) / 11.1; 65535 = no measurement"}
    with pytest.raises(ValueError, match=r"hold 0 to 0\.99913"):
        Encoding(spec, log=11.1).write(tmp_path / "a.png", np.full((2, 2), 0.9995))
    with pytest.raises(ValueError, match=r"log=11\.1 is for relative maps"):
        Encoding(STANDARD_MAPS["depth"], log=11.1).write(tmp_path / "a.png", np.ones((2, 2)))


def test_stated_bits_are_checked(tmp_path):
    save(tmp_path / "a.png", EVERY_16_BIT_VALUE)
    with pytest.raises(ValueError, match=r"edge .*a\.png: expected one channel of 8 bits, found 1 channel of 16 bits"):
        Encoding(STANDARD_MAPS["edge"], bits=8).read(tmp_path / "a.png")
    assert Encoding(STANDARD_MAPS["edge"], bits=16).read(tmp_path / "a.png").max() == 1


def test_rounding_is_to_the_nearest_step(tmp_path):
    depth = np.array([[0, 1.2344, 1.2346, 0.0002, 65.535]], np.float32)
    Encoding(STANDARD_MAPS["depth"]).write(tmp_path / "a.png", depth)
    assert decoded(tmp_path / "a.png").tolist() == [[0, 1234, 1235, 1, 65535]]


def test_the_file_says_what_it_holds(tmp_path):
    Encoding(STANDARD_MAPS["depth"]).write(tmp_path / "depth.png", np.ones((2, 3), np.float32))
    with Image.open(tmp_path / "depth.png") as image:
        assert image.text == {"Description": "depth: metre = value / 1000; 0 = no measurement"}
    Encoding(STANDARD_MAPS["thermal"], scale=100, add=-273.15).write(tmp_path / "thermal.png", np.ones((2, 3)))
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
        (
            [[1.0]],
            "depth",
            {"add": 1},
            r"has no add: half_step is .* 0\.5 for metre = \(value \+ 0\.5\) / scale; .* in Python",
        ),
        ([[1.0]], "edge", {"add": 1}, "has no add$"),
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
        Encoding(STANDARD_MAPS[name], **options).write(tmp_path / "a.png", np.array(values))
    assert not list(tmp_path.iterdir())


def test_other_mistakes(tmp_path):
    with pytest.raises(ValueError, match=r"a\.jpg: maps are written as PNG"):
        Encoding(STANDARD_MAPS["depth"]).write(tmp_path / "a.jpg", np.zeros((2, 2)))
    with pytest.raises(ValueError, match="'volt' has no file format"):
        Encoding(MapSpec("x", 1, "float32", "volt", "linear")).write(tmp_path / "a.png", np.zeros((2, 2)))
    save(tmp_path / "eight.png", np.zeros((2, 2), np.uint8))
    with pytest.raises(ValueError, match="expected one channel of 16 bits"):
        Encoding(STANDARD_MAPS["depth"]).read(tmp_path / "eight.png")
    assert Encoding(STANDARD_MAPS["edge"]).read(tmp_path / "eight.png").max() == 0


@pytest.mark.parametrize(
    ("encoding", "stored", "expected"),
    [
        (Encoding(DEPTH, scale=5000), [0, 1, 65535], [0, 1 / 5000, 65535 / 5000]),
        (
            Encoding(DEPTH, 25.5, bits=8, half_step=0.5, holes=False),
            [0, 1, 255],
            [0.5 / 25.5, 1.5 / 25.5, 255.5 / 25.5],
        ),
        (Encoding(DEPTH, 10, bits=8, half_step=0.5), [0, 1, 255], [0, 0.15, 25.55]),
        (Encoding(DEPTH, 10, bits=8), [0, 1, 255], [0, 0.1, 25.5]),
        (SunDepth(DEPTH), [0, 8, 65535], [0, 0.001, 65.535]),
        (Encoding(THERMAL, scale=100, add=-273.15), [0, 27315, 65535], [-273.15, 0, 382.2]),
        (Encoding(THERMAL), [0, 27315, 65535], [0, 27315, 65535]),
        (Encoding(EDGE), [0, 1, 65535], [0, 1 / 65535, 1]),
        (Encoding(EDGE, bits=8), [0, 1, 255], [0, 1 / 255, 1]),
        (Encoding(EDGE, scale=4, clips=True), [0, 2, 5], [0, 0.5, 1]),
    ],
)
def test_values_by_hand(tmp_path, encoding, stored, expected):
    save(tmp_path / "a.png", np.array([stored], np.uint8 if encoding.bits == 8 else np.uint16))
    values = encoding.read(tmp_path / "a.png")
    assert values.dtype == np.float32
    np.testing.assert_allclose(values, [expected], rtol=1e-6, atol=1e-4 if encoding.add else 0)


def test_float_files(tmp_path):
    save(tmp_path / "float.tiff", np.array([[0, 2, 5]], np.float32))
    np.testing.assert_allclose(Encoding(EDGE, scale=5).read(tmp_path / "float.tiff"), [[0, 0.4, 1]], rtol=1e-6)
    clipped = Encoding(EDGE, scale=4, clips=True).read(tmp_path / "float.tiff")
    np.testing.assert_allclose(clipped, [[0, 0.5, 1]], rtol=1e-6)
    with pytest.raises(ValueError, match=r"float\.tiff: edge \(relative\) holds float32, .* no largest value.* scale"):
        Encoding(EDGE).read(tmp_path / "float.tiff")


@pytest.mark.parametrize(
    "encoding",
    [
        Encoding(DEPTH, scale=5000.0),
        Encoding(DEPTH, scale=20.0, bits=8),
        Encoding(THERMAL, scale=100, add=-273.15),
        Encoding(EDGE, scale=11355.0),
        Encoding(EDGE),
        Encoding(RELATIVE_DEPTH, log=11.1),
        Encoding(DEPTH, 25.5, bits=8, half_step=0.5, holes=False),
        Encoding(THERMAL, missing=(65535, -1.5), key="t"),
        Encoding(EDGE, 11355.0, clips=True),
    ],
)
def test_its_words_make_an_equal_encoding(encoding):
    words = json.loads(json.dumps(encoding.as_dict()))
    assert Encoding.of_dict(encoding.spec, words) == encoding
    assert set(words) == {f.name for f in fields(encoding)[1:] if getattr(encoding, f.name) != f.default}


@pytest.mark.parametrize("words", [{"scale": "1"}, {"half": 1}, {"missing": 3}, {"bits": True}, {"scale": -1.0}])
def test_words_of_nobody_are_refused(words):
    with pytest.raises(ValueError, match="depth"):
        Encoding.of_dict(DEPTH, words)


def test_what_only_reading_has_is_not_written():
    assert Encoding(THERMAL, 100, add=-273.15, missing=(0,)).to_write() == Encoding(THERMAL, 100, add=-273.15)
    assert Encoding(DEPTH, 25.5, bits=8, half_step=0.5).to_write() == SunDepth(DEPTH).to_write() == Encoding(DEPTH)


@pytest.mark.parametrize("encoding", [SunDepth(DEPTH), ThermalInAlpha(THERMAL)])
def test_other_encodings_cannot_be_told_in_these_words(encoding):
    assert encoding.as_dict() is None


READS_UINT32 = pytest.mark.skipif(
    cv2.__version__ < "5", reason="OpenCV 4 reads no TIFF of uint32: tests/maps/test_files.py"
)
STORED = {
    "u2.png": lambda file, values: save(file, values.astype(np.uint16)),
    "i2.tiff": lambda file, values: file.write_bytes(tiff(values.astype(np.int16))),
    "u4.tiff": lambda file, values: file.write_bytes(tiff(values.astype(np.uint32), order=">")),
    "i4.tiff": lambda file, values: file.write_bytes(tiff(values.astype(np.int32))),
    "f4.tiff": lambda file, values: file.write_bytes(tiff(values.astype(np.float32))),
    "f8.tiff": lambda file, values: file.write_bytes(tiff(values.astype(np.float64))),
    "i8.npy": lambda file, values: np.save(file, values),
    "f2.npy": lambda file, values: np.save(file, values.astype(">f2")),
    "f4.npy": lambda file, values: np.save(file, values.astype(np.float32)[..., None]),
    "f8.npz": lambda file, values: np.savez(file, values.astype(np.float64)),
}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=READS_UINT32) if name == "u4.tiff" else name for name in STORED]
)
@pytest.mark.parametrize("scale", [1, 1000, 5000])
def test_depth_of_any_number_is_stored_over_scale(tmp_path, name, scale):
    values = np.array([[0, 1, 1500], [2047, 500, 3]])
    STORED[name](tmp_path / name, values)
    depth = Encoding(DEPTH, scale=scale).read(tmp_path / name)
    assert depth.dtype == np.float32
    np.testing.assert_array_equal(depth, (values / scale).astype(np.float32))


@READS_UINT32
def test_wide_numbers_are_divided_before_they_are_rounded(tmp_path):
    """2^24 + 1 is the first whole number that float32 does not have."""
    values = np.array([[2**24 + 1, 2**31 + 3, 4_000_000_001]], np.uint32)
    (tmp_path / "a.tiff").write_bytes(tiff(values))
    expected = [np.float32(int(value) / 1_000_003) for value in values[0]]
    assert Encoding(DEPTH, scale=1_000_003).read(tmp_path / "a.tiff").tolist() == [expected]
    thermal = Encoding(THERMAL, scale=1e6, add=-273.15).read(tmp_path / "a.tiff")
    assert thermal.tolist() == [[np.float32(int(value) / 1e6 - 273.15) for value in values[0]]]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_what_was_not_measured(tmp_path, dtype):
    """0 in metres; elsewhere the fill, and a mask that says so."""
    np.save(tmp_path / "a.npy", np.array([[1.5, np.nan, np.inf], [-np.inf, 0, 3]], dtype))
    depth, mask = Encoding(DEPTH, scale=1).read_masked(tmp_path / "a.npy")
    assert depth.tolist() == [[1.5, 0, 0], [0, 0, 3]] and mask is None
    spec = MapSpec("thermal", 1, "float32", "sensor", "linear", fill=-7)
    thermal, mask = Encoding(spec, scale=2, add=20).read_masked(tmp_path / "a.npy")
    assert thermal.tolist() == [[20.75, -7, -7], [-7, 20, 21.5]]
    assert mask.dtype == np.uint8 and mask.tolist() == [[1, 0, 0], [0, 1, 1]]
    relative, mask = Encoding(EDGE, scale=3).read_masked(tmp_path / "a.npy")
    assert relative.tolist() == [[0.5, 0, 0], [0, 0, 1]] and mask.tolist() == [[1, 0, 0], [0, 1, 1]]
    far, mask = Encoding(RELATIVE_DEPTH, scale=3).read_masked(tmp_path / "a.npy")
    assert far.tolist() == [[0.5, 0, 0], [0, 0, 1]] and mask is None  # where 0 says it, as in metres


def test_numbers_that_mean_missing(tmp_path):
    (tmp_path / "a.tiff").write_bytes(tiff(np.array([[-1, 0, 1000, -32768]], np.int16)))
    depth = Encoding(DEPTH, missing=(-1, -32768)).read(tmp_path / "a.tiff")
    assert depth.tolist() == [[0, 0, 1, 0]]
    save(tmp_path / "b.png", np.array([[0, 1000, 65535]], np.uint16))
    thermal, mask = Encoding(THERMAL, scale=100, missing=(65535,)).read_masked(tmp_path / "b.png")
    assert thermal.tolist() == [[0, 10, 0]] and mask.tolist() == [[1, 1, 0]]
    assert Encoding(THERMAL).read_masked(tmp_path / "b.png")[1] is None
    for name, missing in (("rgb", (3,)), ("depth", (np.nan,))):
        with pytest.raises(ValueError, match=rf"{name}: missing is"):
            Encoding(STANDARD_MAPS[name], missing=missing)


@pytest.mark.parametrize(
    ("encoding", "values", "message"),
    [
        (Encoding(DEPTH), np.array([[-3, 5, -3]], np.int16), r"depth \(metre\) holds -3 on 2 pixels.*missing = VALUE"),
        (Encoding(DEPTH, scale=1, missing=(-1,)), np.array([[-1.0, -2.5]]), r"holds -2\.5 on 1 pixels"),
        (Encoding(EDGE, scale=1), np.array([[-0.5, 1]]), r"edge \(relative\) holds -0\.5 on 1 pixels"),
        (Encoding(EDGE, scale=4), np.array([[0, 4, 5, 9]], np.uint8), r"\(relative\) holds 5, 9 on 2 .* scale, 4,"),
        (Encoding(EDGE, scale=1), np.array([[0.5, 1.25]]), r"holds 1\.25 on 1 pixels; expected at most the scale, 1,"),
        (
            Encoding(STANDARD_MAPS["hha"]),
            np.array([[[1, 2, 3]]], np.uint16),
            r"expected colours of 8 bits .*, found uint16",
        ),
        (Encoding(DEPTH), np.array([[1, 2]], np.int8), r"expected one channel of 16 bits, found 1 channel of 8 bits"),
        (Encoding(DEPTH, bits=16), np.array([[1, 2]], np.int16), r"16 bits \(int16\)"),
        (Encoding(DEPTH, bits=8), np.array([[1, 2]], np.float32), r"32 bits \(float32\); .*metres, state scale = 1"),
        (Encoding(DEPTH, bits=8), np.array([[1, 2]], np.uint16), r"16 bits; .*, state scale = 1000 and bits = 16"),
        (
            Encoding(DEPTH),
            np.array([[1.5, 2]]),
            r"found 1 channel of 64 bits \(float64\); floats need a scale: .*, state scale = 1",
        ),
        (SunDepth(DEPTH), np.array([[8, 16]], np.int16), r"16 bits \(int16\)"),
        (Encoding(DEPTH, scale=1), np.array([[1e300, 2]]), r"holds 1e\+300 on 1 pixels, beyond 32-bit floats"),
        (Encoding(THERMAL), np.array([[1e39, 2]]), r"holds 1e\+39 on 1 pixels, beyond 32-bit floats"),
        (Encoding(STANDARD_MAPS["normal"]), np.array([[[0, 0, 1], [0, 2.5, 0]]]), r"holds 2\.5 on 1 pixels.*-1\.\.1"),
        (
            Encoding(STANDARD_MAPS["rgb"]),
            np.array([[[0.5, 0.2, 1]]]),
            r"expected colours of 8 bits per channel, found float64",
        ),
    ],
)
def test_numbers_that_a_map_cannot_have(tmp_path, encoding, values, message):
    np.save(tmp_path / "a.npy", values)
    with pytest.raises(ValueError, match=rf"a\.npy: .*{message}"):
        encoding.read(tmp_path / "a.npy")


def test_normals_of_floats(tmp_path):
    vectors = np.array([[[0, 0, -1], [0.6, 0, 0.8], [np.nan, 0, 1]]], np.float32)
    np.save(tmp_path / "a.npy", vectors)
    found = Encoding(STANDARD_MAPS["normal"]).read(tmp_path / "a.npy")
    np.testing.assert_array_equal(found, np.where(np.isnan(vectors).any(-1, keepdims=True), 0, vectors))


def test_the_array_of_an_archive(tmp_path):
    np.savez(tmp_path / "a.npz", depth=np.full((2, 3), 1500, np.uint16), other=np.zeros((2, 3)))
    assert Encoding(DEPTH, key="depth").read(tmp_path / "a.npz").tolist() == [[1.5] * 3] * 2


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
            Encoding(dataset.maps[name], **options).write(tmp_path / f"{name}.png", dataset[0][name])
            np.testing.assert_array_equal(decoded(tmp_path / f"{name}.png"), expected)

    def test_depth(self, layouts, tmp_path, view):
        dataset = Taskonomy(layouts / "taskonomy", list_file=self.list_of(tmp_path, view), sources=("depth",))
        _, expected = self.stored(layouts, "depth_zbuffer", view)
        LOG_DEPTH.write(tmp_path / "depth.png", dataset[0]["depth"])
        stored = decoded(tmp_path / "depth.png")
        assert stored.dtype == np.uint16 and (stored == 65535).any() == (expected == 65535).any()
        np.testing.assert_array_equal(stored, expected)

    def test_grey(self, layouts, tmp_path, view):
        """Texture that reaches beyond its divisor is cut there, as published; as a sensor's map it is not."""
        sources = ("texture", "shade")
        dataset = Taskonomy(layouts / "taskonomy", list_file=self.list_of(tmp_path, view), sources=sources)
        path, texture = self.stored(layouts, "edge_texture", view)
        Encoding(dataset.maps["texture"], scale=11355).write(tmp_path / "texture.png", dataset[0]["texture"])
        np.testing.assert_array_equal(decoded(tmp_path / "texture.png"), np.minimum(texture, 11355))
        sensor = STANDARD_MAPS["thermal"]
        Encoding(sensor).write(tmp_path / "raw.png", Encoding(sensor).read(path))
        np.testing.assert_array_equal(decoded(tmp_path / "raw.png"), texture)
        Encoding(dataset.maps["shade"], bits=8).write(tmp_path / "shade.png", dataset[0]["shade"])
        _, shade = self.stored(layouts, "reshading", view)
        assert (shade == shade[..., :1]).all()
        np.testing.assert_array_equal(decoded(tmp_path / "shade.png"), shade[..., 0])

    def list_of(self, tmp_path, view):
        (tmp_path / "one.txt").write_text(f"{{domain}}/{view}_domain_{{domain}}.png\n")
        return tmp_path / "one.txt"
