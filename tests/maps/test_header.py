"""What a header says, against PIL's own and against bytes written here."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from made_tiff import tiff
from PIL import Image, ImageOps

from rgbx.maps.header import PNG, TURNS, header_of, turn_of

RNG = np.random.default_rng(0)
COLOURS = RNG.integers(0, 256, (21, 34, 3), dtype=np.uint8)
IDS = RNG.integers(0, 7, (21, 34), dtype=np.uint8)


def encoded(image, kind, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def indexed(array):
    image = Image.fromarray(array).convert("P")
    image.putpalette(RNG.integers(0, 256, 768, dtype=np.uint8).tolist())
    return image


RGB, GREY, PALETTE = Image.fromarray(COLOURS), Image.fromarray(IDS), indexed(IDS)


@pytest.mark.parametrize(
    ("data", "kind", "traits"),
    [
        (encoded(RGB, "PNG"), "PNG", set()),
        (encoded(PALETTE, "PNG"), "PNG", {"indexed"}),
        (encoded(RGB, "PNG", save_all=True, append_images=[RGB.rotate(180)]), "PNG", {"several"}),
        (encoded(RGB, "JPEG"), "JPEG", {"lossy"}),
        (encoded(RGB, "JPEG", progressive=True), "JPEG", {"lossy"}),
        (encoded(RGB, "TIFF"), "TIFF", set()),
        (encoded(RGB, "TIFF", compression="tiff_lzw"), "TIFF", set()),
        (encoded(RGB, "TIFF", compression="jpeg"), "TIFF", {"lossy"}),
        (encoded(PALETTE, "TIFF"), "TIFF", {"indexed"}),
        (encoded(RGB, "TIFF", save_all=True, append_images=[RGB]), "TIFF", {"several"}),
        (encoded(RGB, "TIFF", big_tiff=True), "TIFF", set()),
        (tiff(IDS, IDS[::2, ::2], more={254: 1}), "TIFF", set()),  # a smaller copy is no page
        (tiff(IDS, order=">", more={262: 0}), "TIFF", {"inverted"}),
        (encoded(RGB, "WEBP"), "WebP", {"lossy"}),
        (encoded(RGB, "WEBP", lossless=True), "WebP", set()),
        (encoded(RGB.convert("RGBA"), "WEBP", exif=Image.Exif().tobytes()), "WebP", {"lossy"}),
        (encoded(RGB, "WEBP", save_all=True, append_images=[RGB.rotate(180)], lossless=True), "WebP", {"several"}),
        (encoded(RGB, "BMP"), "BMP", set()),
        (encoded(PALETTE, "BMP"), "BMP", {"indexed"}),
        (encoded(RGB, "PPM"), "PNM", set()),
        (encoded(GREY.convert("1"), "PPM"), "PNM", {"inverted"}),
        (b"P5 # a comment\n34 21\n255\n" + IDS.tobytes(), "PNM", set()),
    ],
)
def test_formats(data, kind, traits):
    header = header_of(data)
    assert (header.kind, header.height, header.width) == (kind, 21, 34)
    assert {name for name in ("several", "lossy", "indexed", "inverted") if getattr(header, name)} == traits


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP"])
@pytest.mark.parametrize("turn", range(1, 9))
def test_turns_are_those_that_pil_reads(kind, turn):
    exif = Image.Exif()
    exif[0x0112] = turn
    data = encoded(RGB, kind, exif=exif)
    with Image.open(io.BytesIO(data)) as image:
        assert image.getexif().get(0x0112) == turn
    assert turn_of(data) == turn


def test_no_turn():
    exif = Image.Exif()
    exif[0x0112] = 9
    assert turn_of(encoded(RGB, "JPEG", exif=exif)) == 1
    assert [turn_of(encoded(RGB, kind)) for kind in ("PNG", "JPEG", "TIFF", "WEBP", "BMP", "PPM")] == [1] * 6
    assert turn_of(tiff(IDS, order=">", more={274: 6})) == 6
    assert turn_of(b"") == turn_of(b"II*\0\xff\xff\xff\xff") == 1


def test_what_decoders_would_make_room_for():
    """A chunk that claims 2 GiB, strips that are missing, tiles larger than the image, scans without end."""
    png = encoded(RGB, "PNG")
    place = png.index(b"IDAT") - 4
    assert header_of(png[:place] + b"\x7f" + png[place + 1 :]) is None
    assert header_of(PNG + chunk(b"IHDR", struct.pack(">IIBBBBB", 10**5, 10**5, 1, 0, 0, 0, 0)) + chunk(b"IEND", b"")
                     ).nbytes == 10**10  # fmt: skip
    assert header_of(tiff(IDS, more={257: 22, 278: 21})) is None
    assert header_of(tiff(IDS, more={322: 60000, 323: 50000})).pixels == 3 * 10**9
    frame = b"\xff\xc0\0\x11\x08"
    jpeg = encoded(RGB, "JPEG").replace(frame + struct.pack(">HH", 21, 34), frame + struct.pack(">HH", 8000, 8000))
    assert header_of(jpeg) is None
    flat = encoded(Image.new("RGB", (2000, 2000)), "JPEG", progressive=True, optimize=True)
    assert header_of(flat).height == 2000
    scans = encoded(RGB, "JPEG") + b"\xff\xda" * 32000
    assert header_of(scans).pixels > 1000 * 21 * 34 and header_of(encoded(RGB, "JPEG")).pixels == 21 * 34


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP", "BMP", "PPM"])
def test_any_part_of_a_file_ends(kind):
    data = encoded(RGB, kind)
    for length in range(0, len(data), 7):
        header_of(data[:length])
        turn_of(data[:length])


@pytest.mark.parametrize("turn", list(TURNS))
def test_the_words_of_a_turn_say_what_pillow_does(tmp_path, turn):
    stored = np.arange(12, dtype=np.uint8).reshape(3, 4)
    exif = Image.Exif()
    exif[0x0112] = turn
    Image.fromarray(stored).save(tmp_path / "a.png", exif=exif)
    with Image.open(tmp_path / "a.png") as image:
        shown = np.array(ImageOps.exif_transpose(image))
    said = stored[:, ::-1] if "left to right" in TURNS[turn] else stored
    said = said[::-1] if "top to bottom" in TURNS[turn] else said
    quarters = next(
        (n for n, words in enumerate(("", "by 90°", "by 180°", "by 270°")) if n and words in TURNS[turn]), 0
    )
    np.testing.assert_array_equal(np.rot90(said, -quarters), shown)
