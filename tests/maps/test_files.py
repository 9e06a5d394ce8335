"""Readers against PIL's decoding and against bytes written here; a file is written as a whole or not at all."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from dataset_frames import save
from PIL import Image

from rgbx.maps.files import encode_png, read_grey, read_ids, read_image, read_rgb, replace_file

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


def test_equal_channels_are_grey(tmp_path):
    values = np.array([[0, 1, 255]], np.uint8)
    save(tmp_path / "grey.png", values)
    save(tmp_path / "rgb.png", np.repeat(values[..., None], 3, axis=2))
    save(tmp_path / "rgba.png", np.dstack([values, values, values, np.full_like(values, 255)]))
    for name in ("grey.png", "rgb.png", "rgba.png"):
        np.testing.assert_array_equal(read_grey(tmp_path / name), values)
    save(tmp_path / "colours.png", np.dstack([values, values, values[:, ::-1]]))
    with pytest.raises(ValueError, match=r"colours\.png: expected a grey image, found 3 channels"):
        read_grey(tmp_path / "colours.png")


def test_label_from_palette_gives_indices(tmp_path):
    ids = RNG.integers(0, 40, (6, 7), dtype=np.uint8)
    image = Image.fromarray(ids).convert("P")
    image.putdata(ids.ravel().tolist())
    image.putpalette(RNG.integers(0, 256, 768, dtype=np.uint8).tolist())
    image.save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_ids(tmp_path / "a.png"), ids)


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_label_of_few_bits_gives_ids(tmp_path, bits):
    packed = RNG.integers(0, 256, (3, 2), dtype=np.uint8)
    per_byte = 8 // bits
    shifts = bits * np.arange(per_byte - 1, -1, -1)
    ids = ((packed[..., None] >> shifts) & (2**bits - 1)).reshape(3, -1)
    np.testing.assert_array_equal(read_ids(png(tmp_path / "a.png", packed, bits=bits)), ids)


def test_label_of_16_bits(tmp_path):
    path = png(tmp_path / "a.png", np.array([[3, 255]], ">u2"), bits=16)
    np.testing.assert_array_equal(read_ids(path), np.array([[3, 255]], np.uint8))
    with pytest.raises(ValueError, match="found 256 in uint16"):
        read_ids(png(tmp_path / "b.png", np.array([[3, 256]], ">u2"), bits=16))


def test_label_refuses_colours(tmp_path):
    path = png(tmp_path / "a.png", np.ones((4, 5, 3), np.uint8), colour_type=2)
    with pytest.raises(ValueError, match=r"a\.png.*class ids, found 3 channels"):
        read_ids(path)


@pytest.mark.parametrize("reader", [read_image, read_rgb, read_grey, read_ids])
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
        read_ids(tmp_path / "a.png")


@pytest.mark.parametrize("array", [np.ones((4, 5)), np.ones((4, 5, 2), np.uint8), np.ones(4, np.uint8)])
def test_what_a_png_cannot_hold_is_refused(array):
    with pytest.raises(ValueError, match="expected 8 or 16 bits and one or three channels"):
        encode_png(array)


def test_writes_and_replaces(tmp_path):
    path = tmp_path / "new" / "folder" / "a.bin"
    for content in (b"one", np.arange(5, dtype=np.uint8).data, b""):
        replace_file(path, content)
        assert path.read_bytes() == bytes(content)
    assert list(path.parent.iterdir()) == [path]


def test_a_failure_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "a.bin"
    replace_file(path, b"old")
    monkeypatch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        replace_file(path, b"new")
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]
