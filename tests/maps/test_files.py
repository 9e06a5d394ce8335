"""Readers against PIL's decoding and against bytes written here; a file is written as a whole or not at all."""

from __future__ import annotations

import errno
import os
import re
import socket
import struct
import tracemalloc
import zipfile
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from dataset_frames import save
from made_tiff import tiff
from PIL import Image

from rgbx.maps import LabelEncoding
from rgbx.maps.files import (
    append_line,
    encode_png,
    exif_turn,
    read_colours,
    read_file,
    read_grey,
    read_ids,
    read_image,
    read_rgb,
    read_stored_ids,
    replace_file,
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


FORMATS = {
    "g.png": lambda file: Image.fromarray(GREY8).save(file),
    "p.png": lambda file: Image.fromarray(GREY8).convert("P").save(file),
    "lzw.tiff": lambda file: Image.fromarray(GREY8).save(file, compression="tiff_lzw"),
    "i.tiff": lambda file: file.write_bytes(tiff(GREY8.astype(np.int32))),
    "f.tiff": lambda file: file.write_bytes(tiff(GREY8.astype(np.float64), order=">")),
    "g.bmp": lambda file: Image.fromarray(GREY8).save(file),
    "g.webp": lambda file: Image.fromarray(np.dstack([GREY8] * 3)).save(file, lossless=True),
    "g.pgm": lambda file: Image.fromarray(GREY8).save(file),
    "g.npy": lambda file: np.save(file, GREY8),
    "g.npz": lambda file: np.savez_compressed(file, GREY8),
}
GREY8 = RNG.integers(0, 40, (31, 23), dtype=np.uint8)


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_its_values_or_says_that_it_is_cut(tmp_path, name):
    FORMATS[name](tmp_path / name)
    if name != "p.png":
        np.testing.assert_array_equal(read_grey(tmp_path / name), GREY8)
    if name != "g.webp":
        np.testing.assert_array_equal(read_stored_ids(tmp_path / name), GREY8)
    data = (tmp_path / name).read_bytes()
    for share in (0.3, 0.6, 0.9, 0.99):
        (tmp_path / name).write_bytes(data[: int(share * len(data))])
        for reader in (read_image, read_stored_ids):
            with pytest.raises(ValueError, match=rf"{name}: .*(truncated|damaged)"):
                reader(tmp_path / name)


@pytest.mark.parametrize("name", [*FORMATS, "a.jpg"])
def test_mutated_files_end_in_a_sentence(tmp_path, name):
    """Any exception but ValueError fails the test, and so does a message without the file's name."""
    if name == "a.jpg":
        Image.fromarray(GREY8).save(tmp_path / name)
    else:
        FORMATS[name](tmp_path / name)
    data, rng = (tmp_path / name).read_bytes(), np.random.default_rng(1)
    for _ in range(60):
        mutated = bytearray(data)
        for place in rng.integers(0, rng.choice([min(120, len(data)), len(data)]), rng.integers(1, 5)):
            mutated[place] = rng.choice([0, 255, rng.integers(256)])
        (tmp_path / name).write_bytes(mutated)
        for reader in (read_image, read_rgb, read_stored_ids, read_colours, exif_turn):
            try:
                reader(tmp_path / name)
            except ValueError as error:
                assert name in str(error)


def test_only_regular_files_are_opened(tmp_path):
    os.mkfifo(tmp_path / "a.png")
    with pytest.raises(ValueError, match=r"a\.png: expected a file, found a named pipe"):
        read_image(tmp_path / "a.png")
    (tmp_path / "link.png").symlink_to(tmp_path / "a.png")
    with pytest.raises(ValueError, match=r"link\.png: .*named pipe"):
        read_ids(tmp_path / "link.png")
    with pytest.raises(ValueError, match="expected a file, found a folder"):
        read_rgb(tmp_path)
    with pytest.raises(ValueError, match="/dev/zero: expected a file, found a device"):
        read_file("/dev/zero")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s.png"))
        with pytest.raises(ValueError, match="found a socket"):
            read_grey(tmp_path / "s.png")
    with pytest.raises(ValueError, match=r"a\\x00b.* names no file"):
        read_file("a\0b.png")
    with pytest.raises(OSError, match=r"xxx\.png: cannot be read \(File name too long\)"):
        read_file(tmp_path / f"{'x' * 300}.png")
    (tmp_path / "loop.png").symlink_to(tmp_path / "loop.png")
    with pytest.raises(OSError, match=r"loop\.png: cannot be read"):
        read_file(tmp_path / "loop.png")


def test_a_small_file_takes_little_memory(tmp_path):
    (tmp_path / "a.bin").write_bytes(b"abc")
    tracemalloc.start()
    assert read_file(tmp_path / "a.bin") == b"abc"
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10**6


def test_large_files_are_refused_unread(tmp_path):
    with (tmp_path / "a.png").open("wb") as file:
        file.truncate(2**40)  # sparse
    with pytest.raises(ValueError, match=rf"a\.png: the file has {2**40} bytes; at most {2**28} are read"):
        read_image(tmp_path / "a.png")


def _bomb(colour_type, bits=8):
    header = struct.pack(">IIBBBBB", 30_000, 30_000, bits, colour_type, 0, 0, 0)
    parts = [(b"IHDR", header), (b"PLTE", bytes(768)), (b"IDAT", zlib.compress(bytes(10**6), 9)), (b"IEND", b"")]
    parts = [part for part in parts if part[0] != b"PLTE" or colour_type == 3]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in parts
    )


@pytest.mark.parametrize("reader", [read_image, read_rgb, read_grey, read_ids, read_colours])
def test_bombs_are_refused_before_they_are_decoded(tmp_path, reader):
    for number, data in enumerate([_bomb(0), _bomb(2, 16), _bomb(3), _bomb(3, 1)]):
        (tmp_path / f"{number}.png").write_bytes(data)
        with pytest.raises(ValueError, match=rf"{number}\.png: PNG of 30000 × 30000 pixels would take"):
            reader(tmp_path / f"{number}.png")


def test_rows_that_a_png_has_no_data_for(tmp_path):
    """Deflate packs 1032 to 1 at most (RFC 1951: 258 bytes in two bits), and OpenCV fills in what is missing."""
    data = bytearray(cv2.imencode(".png", GREY8)[1].tobytes())
    data[20:24] = struct.pack(">I", 2**20)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    (tmp_path / "tall.png").write_bytes(data)
    for read in (read_image, read_ids, LabelEncoding(values=(0, 255)).read):
        with pytest.raises(ValueError, match=r"tall\.png: the file is truncated: \d+ bytes cannot hold \d+ × 1048576"):
            read(tmp_path / "tall.png")
    black = np.zeros((2000, 3000), np.uint8)
    (tmp_path / "black.png").write_bytes(cv2.imencode(".png", black, [cv2.IMWRITE_PNG_COMPRESSION, 9])[1])
    np.testing.assert_array_equal(read_image(tmp_path / "black.png"), black)


def test_several_images_are_refused(tmp_path):
    image = Image.fromarray(GREY8)
    image.save(tmp_path / "a.tiff", save_all=True, append_images=[image])
    image.save(tmp_path / "a.png", save_all=True, append_images=[image.rotate(180)])
    for name in ("a.tiff", "a.png"):
        with pytest.raises(ValueError, match=rf"{name}: .* of several images; expected one"):
            read_image(tmp_path / name)
    (tmp_path / "overview.tiff").write_bytes(tiff(GREY8, GREY8[::2, ::2], more={254: 1}))
    np.testing.assert_array_equal(read_image(tmp_path / "overview.tiff"), GREY8)


def test_an_openexr_file_says_what_is_missing(tmp_path):
    """A header by the format's specification; no codec of OpenCV makes an image of it."""
    window = b"dataWindow\0box2i\0" + struct.pack("<I4i", 16, 0, 0, 3, 2)
    (tmp_path / "a.exr").write_bytes(b"v/1\x01" + struct.pack("<I", 2) + window + b"\0" + bytes(64))
    with pytest.raises(ValueError, match=r"a\.exr: OpenCV .* cannot decode this OpenEXR file.*convert it to \.npy"):
        read_image(tmp_path / "a.exr")


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (np.arange(6, dtype=">f4").reshape(2, 3), np.float32),
        (np.arange(6, dtype=">i2").reshape(2, 3), np.int16),
        (np.asfortranarray(np.arange(6, dtype=np.uint32).reshape(2, 3)), np.uint32),
        (np.arange(6, dtype=np.float16).reshape(2, 3, 1), np.float16),
        (np.arange(6).reshape(2, 3) % 2 == 0, np.uint8),
        (np.arange(18, dtype=np.uint8).reshape(2, 3, 3), np.uint8),
    ],
)
def test_numpy_arrays(tmp_path, array, expected):
    np.save(tmp_path / "a.npy", array)
    found = read_image(tmp_path / "a.npy")
    assert found.dtype == expected and found.dtype.isnative and found.flags.c_contiguous
    np.testing.assert_array_equal(found, np.squeeze(array, 2) if array.shape[2:] == (1,) else array)


def test_archives_of_arrays(tmp_path):
    np.savez_compressed(tmp_path / "two.npz", depth=GREY8, other=GREY8 + 1)
    np.savez(tmp_path / "one.npz", depth=GREY8)
    np.testing.assert_array_equal(read_image(tmp_path / "one.npz"), GREY8)
    np.testing.assert_array_equal(read_image(tmp_path / "two.npz", "other"), GREY8 + 1)
    with pytest.raises(ValueError, match=r"two\.npz: expected the key .*\['depth', 'other'\], found no key"):
        read_image(tmp_path / "two.npz")
    with pytest.raises(ValueError, match=r"one\.npz: expected the key .*\['depth'\], found key 'x'"):
        read_image(tmp_path / "one.npz", "x")
    np.save(tmp_path / "a.npy", GREY8)
    with pytest.raises(ValueError, match=r"a\.npy: key 'x' names an array of an \.npz"):
        read_image(tmp_path / "a.npy", "x")


def test_an_archive_that_unpacks_to_more_than_is_read(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive, archive.open("a.npy", "w") as file:
        for _ in range(2**9 + 1):
            file.write(bytes(2**19))
    assert (tmp_path / "a.npz").stat().st_size < 2**19
    with pytest.raises(ValueError, match=rf"a\.npz: its array has {2**28 + 2**19} bytes; at most {2**28} are read"):
        read_image(tmp_path / "a.npz")


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.array([[{}]], object), "expected an array of real numbers.*found object"),
        (np.zeros((2, 3), np.complex64), "real numbers of at most 64 bits, found complex64"),
        (np.zeros((2, 3), [("x", "f4")]), "real numbers"),
        (np.zeros(5), r"expected an array \[H, W\] or \[H, W, C\], found \(5,\)"),
        (np.zeros((1, 2, 3, 3)), r"found \(1, 2, 3, 3\)"),
        (np.zeros((0, 3)), r"found \(0, 3\)"),
        (np.zeros((3, 200, 300), np.uint8), r"found \(3, 200, 300\)"),
    ],
)
def test_arrays_that_are_no_maps(tmp_path, array, message):
    np.save(tmp_path / "a.npy", array, allow_pickle=True)
    with pytest.raises(ValueError, match=rf"a\.npy: .*{message}"):
        read_image(tmp_path / "a.npy")


def test_channels_first_are_told(tmp_path):
    np.save(tmp_path / "a.npy", RNG.integers(0, 256, (3, 40, 50), dtype=np.uint8))
    for reader in (read_rgb, read_grey, read_ids):
        with pytest.raises(ValueError, match=r"a\.npy: .*is its first axis the channels\? Move it to the end"):
            reader(tmp_path / "a.npy")


def test_an_array_that_claims_more_than_there_is(tmp_path):
    np.save(tmp_path / "a.npy", GREY8)
    data = (tmp_path / "a.npy").read_bytes()
    (tmp_path / "a.npy").write_bytes(data.replace(b"(31, 23)", b"(99, 99)"))
    with pytest.raises(ValueError, match=r"a\.npy: the file is truncated: \(99, 99\) of uint8"):
        read_image(tmp_path / "a.npy")


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.uint16, np.int32, np.uint32, np.float32, np.float64])
@pytest.mark.parametrize("order", "<>")
def test_tiff_of_any_type(tmp_path, dtype, order):
    values = np.array([[0, 1, 127], [100, 3, 5]]).astype(dtype)
    values[1, 0] = np.iinfo(dtype).min if dtype in (np.int8, np.int16, np.int32) else 90
    (tmp_path / "a.tiff").write_bytes(tiff(values, order=order))
    if dtype == np.uint32 and cv2.__version__ < "5":
        with pytest.raises(ValueError, match=r"a\.tiff: .* TIFF of 32-bit numbers without sign, .* OpenCV 5 does"):
            read_image(tmp_path / "a.tiff")
        return
    found = read_image(tmp_path / "a.tiff")
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, values)
    np.testing.assert_array_equal(read_stored_ids(tmp_path / "a.tiff"), values)


def test_half_floats_of_tiff_are_named(tmp_path):
    (tmp_path / "a.tiff").write_bytes(tiff(np.ones((4, 5), np.float16)))
    with pytest.raises(ValueError, match=r"a\.tiff: .*16-bit floats.*use 32-bit floats"):
        read_image(tmp_path / "a.tiff")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([[0.9, 1.8, 0]], "expected whole numbers, found 0.9, 1.8 on 2 pixels in float32"),
        ([[1, 2, np.nan]], "found nan on 1 pixels"),
        ([[1, np.inf, -np.inf]], "found -inf, inf on 2 pixels"),
        ([[0, 1 / 255, 40 / 255]], r"found 0\.00392157, 0\.156863 on 2 pixels"),
    ],
)
def test_labels_of_fractions_are_refused(tmp_path, values, message):
    (tmp_path / "a.tiff").write_bytes(tiff(np.array(values, np.float32)))
    np.save(tmp_path / "a.npy", np.array(values, np.float32))
    for name in ("a.tiff", "a.npy"):
        with pytest.raises(ValueError, match=rf"label .*{name}: .*{message}"):
            read_stored_ids(tmp_path / name)


@pytest.mark.parametrize("reader", [read_ids, read_stored_ids, read_colours])
@pytest.mark.parametrize(("kind", "options"), [("jpg", {}), ("webp", {}), ("tiff", {"compression": "jpeg"})])
def test_labels_with_loss_are_refused(tmp_path, reader, kind, options):
    Image.fromarray(np.dstack([GREY8] * 3)).save(tmp_path / f"a.{kind}", **options)
    named = {"jpg": "JPEG", "webp": "WebP", "tiff": "TIFF"}[kind]
    with pytest.raises(ValueError, match=rf"label .*a\.{kind}: saved as {named}.*changes the ids.*PNG"):
        reader(tmp_path / f"a.{kind}")


@pytest.mark.parametrize("kind", ["png", "tiff", "bmp"])
def test_indices_of_any_palette(tmp_path, kind):
    """Greys that are not their own index too, which would pass as ids."""
    image = Image.fromarray(GREY8).convert("P")
    image.putdata(GREY8.ravel().tolist())
    image.putpalette(np.repeat(255 - np.arange(256), 3).tolist())
    image.save(tmp_path / f"a.{kind}")
    np.testing.assert_array_equal(read_ids(tmp_path / f"a.{kind}"), GREY8)


@pytest.mark.parametrize(("kind", "options"), [("png", {}), ("tiff", {}), ("bmp", {})])
def test_labels_of_one_bit(tmp_path, kind, options):
    Image.fromarray(GREY8 % 2 == 1).save(tmp_path / f"a.{kind}", **options)
    np.testing.assert_array_equal(read_ids(tmp_path / f"a.{kind}"), GREY8 % 2)


def test_labels_in_which_white_is_0_are_refused(tmp_path):
    (tmp_path / "a.tiff").write_bytes(tiff(GREY8, more={262: 0}))
    Image.fromarray(GREY8 % 2 == 1).save(tmp_path / "a.pbm")
    for name in ("a.tiff", "a.pbm"):
        with pytest.raises(ValueError, match=rf"label .*{name}: .* in which 0 stands for white"):
            read_ids(tmp_path / name)


def test_labels_with_equal_channels_are_told(tmp_path):
    save(tmp_path / "a.png", np.dstack([GREY8] * 3))
    with pytest.raises(ValueError, match=r"found 3 channels of 8 bits; they are equal: keep the first"):
        read_ids(tmp_path / "a.png")


@pytest.mark.parametrize("turn", range(2, 9))
def test_an_orientation_changes_no_pixel(tmp_path, turn):
    exif = Image.Exif()
    exif[0x0112] = turn
    for name in ("a.png", "a.tiff"):
        Image.fromarray(GREY8).save(tmp_path / name, exif=exif)
        np.testing.assert_array_equal(read_image(tmp_path / name), GREY8)
        assert exif_turn(tmp_path / name) == turn
    Image.fromarray(GREY8).convert("P").save(tmp_path / "p.tiff", exif=exif)
    with Image.open(tmp_path / "p.tiff") as image:
        assert image.mode == "P"
    assert read_stored_ids(tmp_path / "p.tiff").shape == GREY8.shape
    for order, dtype in (("<", np.uint16), (">", np.float32)):
        (tmp_path / "b.tiff").write_bytes(tiff(GREY8.astype(dtype), order=order, more={274: turn}))
        np.testing.assert_array_equal(read_image(tmp_path / "b.tiff"), GREY8)


def test_alpha_of_a_grey_image_may_say_nothing(tmp_path):
    grey = np.arange(12, dtype=np.uint8).reshape(3, 4)
    for alpha, name in ((np.full_like(grey, 255), "opaque.npy"), (grey[::-1], "other.npy")):
        np.save(tmp_path / name, np.stack([grey, grey, grey, alpha], axis=2))
    np.testing.assert_array_equal(read_grey(tmp_path / "opaque.npy"), grey)
    with pytest.raises(ValueError, match=r"other\.npy: .* alpha that differs between pixels"):
        read_grey(tmp_path / "other.npy")


def test_lines_are_added_after_a_torn_one(tmp_path):
    path = tmp_path / "lines"
    append_line(path, "ä")
    assert path.read_bytes() == "ä\n".encode()
    with path.open("a") as file:
        file.write("to")
    append_line(path, "b")
    append_line(path, "c")
    assert path.read_bytes() == "ä\nto\nb\nc\n".encode()


def test_a_file_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=re.escape(str(tmp_path / "a.png"))):
        replace_file(tmp_path / "a.png", b"")
    assert not list(tmp_path.iterdir())
