"""Labels read and written: every stored number by hand, and none that is not declared."""

from __future__ import annotations

import numpy as np
import pytest
from dataset_frames import save
from made_tiff import tiff
from PIL import Image

from rgbx.datasets.families.deliver import FirstChannel
from rgbx.maps import LabelEncoding
from rgbx.maps.files import encode_png

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


@pytest.mark.parametrize("kind", [LabelEncoding, FirstChannel])
@pytest.mark.parametrize(("offset", "void", "expected"), [(0, (), [0, 1, 40, 255]), (1, (0,), [255, 0, 39, 255])])
def test_labels_both_ways(tmp_path, kind, offset, void, expected):
    stored = save(tmp_path / "a.png", np.array([[0, 1, 40, 255]], np.uint8))
    encoding = kind(offset, void)
    ids = encoding.read(tmp_path / "a.png")
    np.testing.assert_array_equal(ids, [expected])
    np.testing.assert_array_equal(encoding.encode(ids), np.where(stored == 255, 0 if void else 255, stored))


def test_labels_need_all_their_void_values():
    with pytest.raises(ValueError, match=r"negative for values \[0\]"):
        LabelEncoding(1)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.int32, np.float32, np.float64])
@pytest.mark.parametrize(
    ("encoding", "stored", "expected"),
    [
        (LabelEncoding(), [0, 3, 254, 255], [0, 3, 254, 255]),
        (LabelEncoding(offset=1, void=(0,)), [0, 1, 100, 255], [255, 0, 99, 255]),
        (LabelEncoding(values=(0, 255)), [0, 255, 255, 0], [0, 1, 1, 0]),
        (LabelEncoding(values=(255, 0), void=(128,)), [0, 255, 128, 0], [1, 0, 255, 1]),
        (LabelEncoding(values=(7, 24, 11)), [11, 24, 7, 255], [2, 1, 0, 255]),
        (LabelEncoding(void=(-1, -100, 65535)), [0, 1, 2, 255], [0, 1, 2, 255]),
    ],
)
def test_numbers_of_any_type(tmp_path, dtype, encoding, stored, expected):
    (tmp_path / "a.tiff").write_bytes(tiff(np.array([stored], dtype)))
    ids = encoding.read(tmp_path / "a.tiff")
    assert ids.dtype == np.uint8 and ids.tolist() == [expected]
    written = encoding.encode(ids)
    assert written.dtype == np.uint8
    np.testing.assert_array_equal(encoding.decode(written), ids)


@pytest.mark.parametrize(
    ("encoding", "stored", "dtype", "expected"),
    [
        (LabelEncoding(void=(-1,)), [-1, 0, 5], np.int16, [255, 0, 5]),
        (LabelEncoding(void=(-100,)), [-100, 0, 5], np.int32, [255, 0, 5]),
        (LabelEncoding(void=(-1,)), [-1, 0, 5], np.float32, [255, 0, 5]),
        (LabelEncoding(void=(65535,)), [65535, 0, 5], np.uint16, [255, 0, 5]),
        (LabelEncoding(void=(2**40,)), [2**40, 0, 5], np.int64, [255, 0, 5]),
        (LabelEncoding(values=(1000, 24000), void=(0,)), [24000, 1000, 0], np.uint16, [1, 0, 255]),
        (LabelEncoding(values=(-5, 70000)), [70000, -5, 255], np.int32, [1, 0, 255]),
    ],
)
def test_numbers_beyond_8_bits(tmp_path, encoding, stored, dtype, expected):
    np.save(tmp_path / "a.npy", np.array([stored], dtype))
    assert encoding.read(tmp_path / "a.npy").tolist() == [expected]


@pytest.mark.parametrize(
    ("encoding", "stored", "message"),
    [
        (LabelEncoding(), np.array([[-2, 1, -2]], np.int16), r"ids must be 0\.\.255, found -2 on 2 pixels in int16"),
        (LabelEncoding(), np.array([[-100, 1]], np.int64), r"found -100 on 1 pixels in int64"),
        (LabelEncoding(), np.array([[300, 256]], np.uint16), r"found 256, 300 on 2 pixels in uint16"),
        (LabelEncoding(), np.array([[2**64 - 1, 1]], np.uint64), r"found 18446744073709551615 on 1 pixels"),
        (
            LabelEncoding(void=(-1,)),
            np.array([[2**64 - 1, 1]], np.uint64),
            r"the void -1, found 18446744073709551615",
        ),
        (LabelEncoding(void=(-1,)), np.array([[-1, -2]], np.int16), r"or the void -1, found -2 on 1 pixels"),
        (
            LabelEncoding(values=(0, 255)),
            np.array([[0, 254, 1]], np.uint8),
            r"values must be 0, 255, found 1, 254 on",
        ),
        (LabelEncoding(values=(3, 9), void=(4,)), np.array([[3, 5]], np.uint8), r"be 3, 9 or the void 4, found 5 on 1"),
        (LabelEncoding(table=(0,) * 256), np.array([[300]], np.uint16), r"ids must be 0\.\.255, found 300"),
        (LabelEncoding(), np.array([[np.nan, 1]]), r"expected whole numbers, found nan on 1 pixels"),
        (LabelEncoding(), np.array([[0.5, 1]]), r"expected whole numbers, found 0\.5 on 1 pixels"),
    ],
)
def test_what_stands_for_nothing_is_refused(tmp_path, encoding, stored, message):
    np.save(tmp_path / "a.npy", stored)
    with pytest.raises(ValueError, match=rf"label .*a\.npy: .*{message}"):
        encoding.read(tmp_path / "a.npy")


def test_the_array_of_an_archive(tmp_path):
    np.savez(tmp_path / "a.npz", mask=np.array([[0, 255]], np.uint8), other=np.zeros((1, 2)))
    assert LabelEncoding(values=(0, 255), key="mask").read(tmp_path / "a.npz").tolist() == [[0, 1]]


class TestColours:
    encoding = LabelEncoding(colours=(RED, GREEN, BLUE), void=(WHITE, (1, 2, 3)))
    image = np.array([[RED, BLUE, WHITE], [(1, 2, 3), GREEN, RED]], np.uint8)
    ids = ((0, 2, 255), (255, 1, 0))

    def test_each_pixel_by_hand(self, tmp_path):
        save(tmp_path / "a.png", self.image)
        Image.fromarray(self.image).convert("P", palette=Image.Palette.ADAPTIVE).save(tmp_path / "palette.png")
        save(tmp_path / "alpha.png", np.dstack([self.image, np.full((2, 3), 255, np.uint8)]))
        np.save(tmp_path / "a.npy", self.image)
        for name in ("a.png", "palette.png", "alpha.png", "a.npy"):
            ids = self.encoding.read(tmp_path / name)
            assert ids.dtype == np.uint8 and ids.tolist() == [list(row) for row in self.ids], name
        save(tmp_path / "grey.png", np.array([[0, 255]], np.uint8))
        assert LabelEncoding(colours=((0, 0, 0), WHITE)).read(tmp_path / "grey.png").tolist() == [[0, 1]]

    def test_written_files_read_alike(self, tmp_path):
        ids = np.array(self.ids, np.uint8)
        (tmp_path / "a.png").write_bytes(encode_png(self.encoding.encode(ids)))
        with Image.open(tmp_path / "a.png") as image:
            assert np.asarray(image)[0].tolist() == [list(RED), list(BLUE), [1, 2, 3]]
        np.testing.assert_array_equal(self.encoding.read(tmp_path / "a.png"), ids)

    def test_others_are_refused(self, tmp_path):
        wrong = self.image.copy()
        wrong[0, :2] = (254, 0, 0)
        save(tmp_path / "a.png", wrong)
        with pytest.raises(ValueError, match=r"a\.png: colours must be .*, found \[254, 0, 0\] on 2 pixels"):
            self.encoding.read(tmp_path / "a.png")
        save(tmp_path / "b.png", np.dstack([self.image, np.array([[255, 0, 255], [255, 9, 255]], np.uint8)]))
        with pytest.raises(ValueError, match=r"b\.png: 2 pixels are transparent"):
            self.encoding.read(tmp_path / "b.png")
        (tmp_path / "c.tiff").write_bytes(tiff(self.image.astype(np.uint16)))
        with pytest.raises(ValueError, match=r"c\.tiff: expected colours of 8 bits, found 3 channels of 16 bits"):
            self.encoding.read(tmp_path / "c.tiff")
        with pytest.raises(ValueError, match=r"ids 255 on 1 pixels have no stored value"):
            LabelEncoding(colours=(RED, GREEN)).encode(np.array([[0, 255]], np.uint8))


def test_written_in_16_bits_where_8_are_too_few(tmp_path):
    encoding = LabelEncoding(values=(1000, 24000), void=(0,))
    stored = encoding.encode(np.array([[0, 1, 255]], np.uint8))
    assert stored.dtype == np.uint16 and stored.tolist() == [[1000, 24000, 0]]
    (tmp_path / "a.png").write_bytes(encode_png(stored))
    assert encoding.read(tmp_path / "a.png").tolist() == [[0, 1, 255]]
    assert LabelEncoding(void=(-1,)).encode(np.array([[0, 255]], np.uint8)).tolist() == [[0, 255]]
    assert LabelEncoding(values=(0, 255), void=(128,)).encode(np.array([[1, 255]], np.uint8)).tolist() == [[255, 128]]
    for encoding, ids in ((LabelEncoding(values=(0, 255)), [[0, 255]]), (LabelEncoding(values=(-5, 70000)), [[0, 1]])):
        with pytest.raises(ValueError, match="have no stored value that a PNG can hold"):
            encoding.encode(np.array(ids, np.uint8))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"offset": 1, "void": (0,), "values": (1, 2)}, r"one of .*, found \['offset', 'values'\]"),
        ({"values": (1, 2), "colours": (RED, BLUE)}, r"one of .*, found \['values', 'colours'\]"),
        ({"values": (1, 2, 1)}, "must differ, found 1 more than once"),
        ({"values": (1, 2), "void": (2,)}, "must differ, found 2 more than once"),
        ({"colours": (RED, BLUE, RED)}, r"must differ, found \(255, 0, 0\) more than once"),
        ({"values": tuple(range(256))}, "at most 255 classes, found 256"),
    ],
)
def test_what_stands_for_two_things_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        LabelEncoding(**options)
