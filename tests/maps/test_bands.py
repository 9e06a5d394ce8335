"""Maps of several channels that are measurements: read from every form of file, each against bytes written here."""

from __future__ import annotations

import io
import struct
import sys
import zlib

import numpy as np
import pytest
from made_tiff import tiff

from rgbx._files import FileInMemory
from rgbx.maps import Encoding, MapSpec
from rgbx.maps.colour import HOLE, colour_input

RNG = np.random.default_rng(0)


def encoding(channels, unit="sensor", *, shown=(), **options):
    return Encoding(MapSpec.of_unit("bands", unit, channels=channels, shown=shown), **options)


def made(channels, dtype=np.float32, size=(6, 9)):
    return (RNG.random((*size, channels)) * 200).astype(dtype)


def saved(array, **named):
    file = io.BytesIO()
    np.savez(file, **named) if named else np.save(file, array)
    return FileInMemory("made.npz" if named else "made.npy", file.getvalue())


def png(array, colour_type):
    """A PNG with zlib alone, [H, W, C] of 8 or 16 bits."""
    bits = 8 * array.itemsize
    rows = b"".join(b"\0" + row.astype(row.dtype.newbyteorder(">")).tobytes() for row in array)
    head = struct.pack(">IIBBBBB", array.shape[1], array.shape[0], bits, colour_type, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    told = [struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in chunks]
    return FileInMemory("made.png", b"\x89PNG\r\n\x1a\n" + b"".join(told))


@pytest.mark.parametrize("channels", [2, 3, 5, 13, 64])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32, np.float64])
def test_arrays_whose_channels_are_last_or_first(channels, dtype):
    array = made(channels, dtype)
    expected = array.astype(np.float32)
    first = np.ascontiguousarray(array.transpose(2, 0, 1))
    for file, options in (
        (saved(array), {}),
        (saved(array), {"layout": "HWC"}),
        (saved(first), {"layout": "CHW"}),
        (saved(np.asfortranarray(first)), {"layout": "CHW"}),
        (saved(None, a=array[..., 0], b=first), {"layout": "CHW", "key": "b"}),
    ):
        found = encoding(channels, **options).read(file)
        assert found.dtype == np.float32 and found.flags.c_contiguous
        np.testing.assert_array_equal(found, expected)


def test_a_large_array_whose_channels_are_first(tmp_path):
    array = made(5, size=(80, 90))
    np.save(tmp_path / "a.npy", array.transpose(2, 0, 1))
    np.testing.assert_array_equal(encoding(5, layout="CHW").read(tmp_path / "a.npy"), array)
    with pytest.raises(
        ValueError, match=r"a\.npy: .*found \(5, 80, 90\); are its channels first\? State layout = \"CHW"
    ):
        encoding(5).read(tmp_path / "a.npy")


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        (
            (5, 8, 5),
            {},
            r"bands made\.npy: an array \(5, 8, 5\) has its 5 channels first or last; state layout = \"HWC",
        ),
        ((5, 8, 9), {}, r"expected 5 channels, found 9 in an array \(5, 8, 9\) of float32; .*layout = \"CHW\""),
        ((8, 9, 5), {"layout": "CHW"}, r"expected 5 channels, found 8 in an array \(8, 9, 5\) .*layout = \"HWC\""),
        ((8, 9, 4), {}, r"bands made\.npy: expected 5 channels, found 4 in an array \(8, 9, 4\) of float32$"),
        ((8, 9), {}, r"bands made\.npy: expected 5 channels, found 1 in an array \(8, 9\) of float32$"),
        ((1, 8, 9, 5), {}, r"made\.npy: expected an array \[H, W\] or \[H, W, C\], found \(1, 8, 9, 5\)$"),
        ((8, 9, 65), {}, r"made\.npy: expected an array \[H, W\] or \[H, W, C\], found \(8, 9, 65\)"),
    ],
)
def test_arrays_of_other_channels(shape, options, message):
    with pytest.raises(ValueError, match=message):
        encoding(5, **options).read(saved(np.zeros(shape, np.float32)))


def test_an_array_that_fits_both_ways_is_read_as_stated():
    array = made(5, size=(5, 8)).transpose(0, 1, 2)
    np.testing.assert_array_equal(encoding(5, layout="HWC").read(saved(array)), array)
    np.testing.assert_array_equal(encoding(5, layout="CHW").read(saved(array)), array.transpose(1, 2, 0))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.float32, np.float64])
@pytest.mark.parametrize("order", "<>")
def test_pages_of_a_tiff(dtype, order):
    array = made(5, dtype)
    file = FileInMemory("made.tif", tiff(*array.transpose(2, 0, 1), order=order))
    np.testing.assert_array_equal(encoding(5).read(file), array.astype(np.float32))
    with pytest.raises(ValueError, match=r"made\.tif: expected 4 channels, found a TIFF of 5 pages of 1 each"):
        encoding(4).read(file)
    turned = FileInMemory("made.tif", tiff(*array.transpose(2, 0, 1), order=order, more={274: 3}))
    np.testing.assert_array_equal(encoding(5).read(turned), array.astype(np.float32))  # as stored


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("channels", [2, 3, 4, 5, 13, 64])
def test_bands_of_a_tiff(channels, dtype):
    pytest.importorskip("tifffile")
    array = made(channels, dtype)
    chunky = FileInMemory("made.tif", tiff(array, more={262: 1}))
    found = encoding(channels).read(chunky)
    np.testing.assert_array_equal(found, array.astype(np.float32))
    with pytest.raises(ValueError, match=rf"made\.tif: expected 7 channels, found {channels} in an array"):
        encoding(7).read(chunky)


@pytest.mark.parametrize("options", [{"planarconfig": "separate"}, {"tile": (16, 16)}, {"compression": "zlib"}])
def test_bands_of_a_tiff_in_planes_tiles_or_packed(options):
    tifffile = pytest.importorskip("tifffile")
    array, file = made(5, np.uint16, (20, 33)), io.BytesIO()
    pixels = array.transpose(2, 0, 1) if "planarconfig" in options else array
    tifffile.imwrite(file, pixels, photometric="minisblack", **{"planarconfig": "contig", **options})
    found = encoding(5).read(FileInMemory("made.tif", file.getvalue()))
    np.testing.assert_array_equal(found, array.astype(np.float32))


def test_a_tiff_of_bands_needs_a_package(monkeypatch):
    file = FileInMemory("made.tif", tiff(made(5)))
    monkeypatch.setitem(sys.modules, "tifffile", None)
    with pytest.raises(
        ImportError, match=r'made\.tif: a TIFF of 5 channels needs tifffile: pip install "rgbx\[tiff\]"'
    ):
        encoding(5).read(file)
    pages = made(5)
    np.testing.assert_array_equal(encoding(5).read(FileInMemory("b.tif", tiff(*pages.transpose(2, 0, 1)))), pages)


def test_pages_that_differ_are_refused():
    plain, small = made(1)[..., 0], made(1, size=(3, 4))[..., 0]
    for others in ((small, plain), (plain.astype(np.float64), plain), (made(3), plain)):
        file = FileInMemory("made.tif", tiff(plain, *others))
        with pytest.raises(ValueError, match=r"made\.tif: TIFF of images that differ in size, type or channels"):
            encoding(3).read(file)
    many = FileInMemory("made.tif", tiff(*[plain] * 70))
    with pytest.raises(ValueError, match=r"expected 64 channels, found a TIFF of 65 pages"):
        encoding(64).read(many)


@pytest.mark.parametrize("place", range(0, 900, 23))
def test_a_tiff_of_pages_with_a_wrong_byte_is_read_or_refused(place):
    data = bytearray(tiff(*made(3, np.uint16).transpose(2, 0, 1)))
    data[place % len(data)] ^= 0xFF
    for channels in (3, 5):
        try:
            found = encoding(channels).read(FileInMemory("made.tif", bytes(data)))
        except ValueError as error:
            assert "made.tif" in str(error)
        else:
            assert found.shape[2] == channels


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize(("channels", "colour_type"), [(2, 4), (3, 2), (4, 6)])
def test_png(channels, colour_type, dtype):
    array = made(channels, dtype)
    np.testing.assert_array_equal(encoding(channels).read(png(array, colour_type)), array.astype(np.float32))
    with pytest.raises(ValueError, match=rf"bands made\.png: expected 5 channels, found {channels} in an array"):
        encoding(5).read(png(array, colour_type))


def test_units_and_what_was_not_measured():
    array = made(5)
    array[1, 2, 3], array[4, 5, 0], array[0, 0, 4] = np.nan, np.inf, -9999
    values, mask = encoding(5, scale=2, add=1, missing=(-9999,)).read_masked(saved(array))
    expected = np.ones(array.shape[:2], np.uint8)
    for row, column in ((1, 2), (4, 5), (0, 0)):  # one channel that was not measured is enough
        expected[row, column] = 0
    np.testing.assert_array_equal(mask, expected)
    np.testing.assert_allclose(values[mask > 0], (array / 2 + 1)[mask > 0], rtol=1e-6)
    assert (values[mask == 0] == 0).all()
    share, _ = encoding(2, "relative").read_masked(saved(np.full((3, 4, 2), 51, np.uint8)))
    np.testing.assert_allclose(share, 0.2)


def test_arrays_in_memory_are_read_alike():
    array = made(5)
    found, mask = encoding(5, layout="CHW", scale=2).take(array, "in memory")
    np.testing.assert_allclose(found, array / 2)
    assert mask is not None and mask.all()
    with pytest.raises(ValueError, match=r"bands in memory: expected 5 channels, found 4"):
        encoding(5).take(array[..., :4], "in memory")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"channels": 65}, r"bands made\.npy: channels is 65; files of unit 'sensor' hold 1 to 64"),
        ({"channels": 2, "unit": "metre"}, r"bands made\.npy: channels is 2; files of unit 'metre' hold 1"),
        ({"channels": 4, "unit": "rgb8"}, r"bands made\.npy: channels is 4; files of unit 'rgb8' hold 3"),
        ({"channels": 1, "layout": "CHW"}, "layout is 'CHW'; a map of 1 .* takes none"),
        ({"channels": 5, "layout": "CWH"}, r"layout is 'CWH'; .* takes one of \('HWC', 'CHW'\)"),
        ({"channels": 5, "shown": (0, 1)}, r"shown must be three channels of 0\.\.4, found \(0, 1\)"),
        ({"channels": 5, "shown": (0, 1, 5)}, r"shown must be three channels of 0\.\.4"),
    ],
)
def test_what_no_map_has(options, message):
    with pytest.raises(ValueError, match=message):
        encoding(**options).read(saved(np.zeros((4, 5), np.uint8)))


def test_options_come_back():
    one = encoding(13, layout="CHW", scale=10000, shown=(3, 2, 1))
    spec = MapSpec.of_dict(one.spec.as_dict())
    assert spec == one.spec and Encoding.of_dict(spec, one.as_dict()) == one
    assert "shown" not in encoding(5).spec.as_dict() and "layout" not in encoding(5).as_dict()
    for wrong in ({"shown": 3}, {"shown": [0.5, 1, 2]}, {"channels": "5"}, {"colour": 1}):
        with pytest.raises((ValueError, TypeError)):
            MapSpec.of_dict({**one.spec.as_dict(), **wrong})


def test_pictures_show_the_first_three_or_those_that_are_named():
    image = RNG.random((5, 40, 50)).astype(np.float32) * np.float32([1, 10, 100, 1000, 10000])[:, None, None]
    valid = np.ones((1, 40, 50), bool)
    valid[0, :3] = False

    def naive(channels):
        planes = []
        for channel in channels:
            low, high = np.percentile(image[channel][valid[0]], (2, 98))
            planes.append(np.clip((image[channel] - low) / (high - low), 0, 1) * 255)
        return np.where(valid[0][..., None], np.stack(planes, -1).round(), HOLE)

    for spec, channels in (
        (MapSpec.of_unit("bands", "sensor", channels=5), (0, 1, 2)),
        (encoding(5, shown=(4, 0, 2)).spec, (4, 0, 2)),
    ):
        np.testing.assert_allclose(colour_input("bands", image, valid, spec), naive(channels), atol=1)
    two = colour_input("bands", image[:2], valid, encoding(2).spec)
    np.testing.assert_allclose(two, naive((0, 1, 0)), atol=1)
    assert colour_input("bands", image, np.zeros_like(valid), encoding(5).spec).max() == 0
