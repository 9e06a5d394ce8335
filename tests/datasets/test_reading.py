"""Readers against PIL's decoding and against bytes written here."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from rgbx.datasets.reading import (
    offset_lookup,
    read_depth8,
    read_depth16,
    read_image,
    read_label,
    read_rgb,
)

RNG = np.random.default_rng(0)


def png(path, array, bits=8, colour_type=0):
    """Writes a PNG with zlib alone, so that no library's habits hide the reader's."""
    rows = b"".join(b"\0" + row.tobytes() for row in array)
    chunks = [
        (
            b"IHDR",
            struct.pack(
                ">IIBBBBB",
                8 * array.shape[1] // bits if bits < 8 else array.shape[1],
                array.shape[0],
                bits,
                colour_type,
                0,
                0,
                0,
            ),
        ),
        (b"IDAT", zlib.compress(rows)),
        (b"IEND", b""),
    ]
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + b"".join(
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
            for kind, data in chunks
        )
    )
    return path


def test_rgb_is_in_rgb_order(tmp_path):
    colours = RNG.integers(0, 256, (4, 5, 3), dtype=np.uint8)
    path = png(tmp_path / "a.png", colours, colour_type=2)
    found = read_rgb(path)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, colours)


def test_rgb_from_grey_alpha_and_palette(tmp_path):
    colours = RNG.integers(0, 256, (4, 5, 4), dtype=np.uint8)
    np.testing.assert_array_equal(read_rgb(png(tmp_path / "a.png", colours, colour_type=6)), colours[..., :3])
    grey = colours[..., 0]
    np.testing.assert_array_equal(read_rgb(png(tmp_path / "g.png", grey)), np.stack([grey] * 3, -1))
    image = Image.fromarray(grey % 4).convert("P")
    image.putpalette([9, 8, 7, 6, 5, 4, 3, 2, 1, 0, 1, 2])
    image.save(tmp_path / "p.png")
    np.testing.assert_array_equal(read_rgb(tmp_path / "p.png"), np.asarray(image.convert("RGB")))


def test_rgb_ignores_exif_orientation(tmp_path):
    image = Image.fromarray(RNG.integers(0, 256, (8, 16, 3), dtype=np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(tmp_path / "a.jpg", exif=exif, quality=95)
    assert read_rgb(tmp_path / "a.jpg").shape == (8, 16, 3)


def test_rgb_refuses_depth(tmp_path):
    path = png(tmp_path / "a.png", np.ones((4, 5), ">u2"), bits=16)
    with pytest.raises(ValueError, match=r"a\.png.*8 bits per channel.*uint16"):
        read_rgb(path)


def test_depth16_keeps_every_bit(tmp_path):
    raw = np.array([[0, 1, 255], [256, 5000, 65535]], ">u2")
    depth = read_depth16(png(tmp_path / "a.png", raw, bits=16), divisor=5000)
    assert depth.dtype == np.float32
    np.testing.assert_allclose(depth, raw / 5000, rtol=1e-6)
    assert depth[0, 0] == 0


def test_depth16_refuses_8_bits_and_bad_divisors(tmp_path):
    path = png(tmp_path / "a.png", np.ones((4, 5), np.uint8))
    with pytest.raises(
        ValueError,
        match=r"a\.png: expected one channel of 16 bits, found 1 channel "
        "of 8 bits",
    ):
        read_depth16(path, divisor=1000)
    with pytest.raises(ValueError, match="divisor"):
        read_depth16(path, divisor=0)


def test_depth8(tmp_path):
    path = png(tmp_path / "a.png", np.array([[0, 1, 254, 255]], np.uint8))
    np.testing.assert_allclose(read_depth8(path), [[0.5 / 25.5, 1.5 / 25.5, 254.5 / 25.5, 255.5 / 25.5]], rtol=1e-6)
    with_holes = read_depth8(path, levels_per_metre=10, holes=True)
    np.testing.assert_allclose(with_holes, [[0, 0.15, 25.45, 25.55]], rtol=1e-6)
    with pytest.raises(ValueError, match="8 bits"):
        read_depth8(png(tmp_path / "b.png", np.ones((4, 5), ">u2"), bits=16))


def test_label_from_palette_gives_indices(tmp_path):
    ids = RNG.integers(0, 40, (6, 7), dtype=np.uint8)
    image = Image.fromarray(ids).convert("P")
    image.putdata(ids.ravel().tolist())
    image.putpalette(RNG.integers(0, 256, 768, dtype=np.uint8).tolist())
    image.save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_label(tmp_path / "a.png"), ids)


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_label_of_few_bits_gives_ids(tmp_path, bits):
    packed = RNG.integers(0, 256, (3, 2), dtype=np.uint8)
    per_byte = 8 // bits
    shifts = bits * np.arange(per_byte - 1, -1, -1)
    ids = ((packed[..., None] >> shifts) & (2**bits - 1)).reshape(3, -1)
    np.testing.assert_array_equal(read_label(png(tmp_path / "a.png", packed, bits=bits)), ids)


def test_label_of_16_bits(tmp_path):
    path = png(tmp_path / "a.png", np.array([[3, 255]], ">u2"), bits=16)
    np.testing.assert_array_equal(read_label(path), np.array([[3, 255]], np.uint8))
    with pytest.raises(ValueError, match="found 256 in uint16"):
        read_label(png(tmp_path / "b.png", np.array([[3, 256]], ">u2"), bits=16))


def test_label_refuses_colours(tmp_path):
    path = png(tmp_path / "a.png", np.ones((4, 5, 3), np.uint8), colour_type=2)
    with pytest.raises(ValueError, match=r"a\.png.*class ids, found 3 channels"):
        read_label(path)


def test_offset_lookup(tmp_path):
    path = png(tmp_path / "a.png", np.array([[0, 1, 40, 255]], np.uint8))
    np.testing.assert_array_equal(read_label(path, offset_lookup(1, void=(0,))), [[255, 0, 39, 255]])
    np.testing.assert_array_equal(read_label(path, offset_lookup(0)), [[0, 1, 40, 255]])
    with pytest.raises(ValueError, match=r"negative for values \[0\]"):
        offset_lookup(1)


@pytest.mark.parametrize(
    "reader", [read_image, read_rgb, read_label, read_depth8, lambda path: read_depth16(path, divisor=1)]
)
def test_missing_and_damaged_files_are_named(tmp_path, reader):
    with pytest.raises(FileNotFoundError, match=r"absent\.png"):
        reader(tmp_path / "absent.png")
    noise = RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8)
    for name in ("a.png", "a.jpg"):
        Image.fromarray(noise).save(tmp_path / name)
        data = (tmp_path / name).read_bytes()
        for fraction in (0.0, 0.02, 0.5, 0.99):
            cut = tmp_path / f"cut_{name}"
            cut.write_bytes(data[: int(len(data) * fraction)])
            with pytest.raises(ValueError, match=f"cut_{name}.*(truncated|damaged)"):
                reader(cut)


def test_truncated_palette_label_is_named(tmp_path):
    Image.fromarray(RNG.integers(0, 40, (64, 64), dtype=np.uint8)).convert("P").save(tmp_path / "a.png")
    data = bytearray((tmp_path / "a.png").read_bytes())
    del data[-800:-100]
    (tmp_path / "a.png").write_bytes(data)
    with pytest.raises(ValueError, match=r"a\.png.*damaged"):
        read_label(tmp_path / "a.png")
