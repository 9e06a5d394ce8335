import cv2
import numpy as np
import pytest

from rgbx.datasets.map_files import FileUnit, encode_map, parse_unit, read_map, unit_of

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("unit", [FileUnit(0.001), FileUnit(1 / 5000), FileUnit(0.01, -273.15)])
def test_every_16_bit_value_survives(tmp_path, unit):
    stored = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    (tmp_path / "a.png").write_bytes(cv2.imencode(".png", stored)[1].tobytes())
    values = read_map(tmp_path / "a.png", "depth", unit)
    assert values.dtype == np.float32
    assert values[1, 1] == pytest.approx(257 * unit.step + unit.offset, rel=1e-6)
    (tmp_path / "b.png").write_bytes(encode_map(values, "depth", unit))
    assert np.array_equal(cv2.imread(str(tmp_path / "b.png"), cv2.IMREAD_UNCHANGED), stored)


def test_colours_and_normals_survive_in_rgb_order(tmp_path):
    path = tmp_path / "a.png"
    colours = RNG.integers(0, 256, (5, 7, 3), dtype=np.uint8)
    path.write_bytes(encode_map(colours + 0.4, "rgb"))
    assert np.array_equal(read_map(path, "rgb"), colours)
    assert np.array_equal(cv2.imread(str(path))[..., ::-1], colours)
    normals = RNG.uniform(-1, 1, (5, 7, 3)).astype(np.float32)
    path.write_bytes(encode_map(normals, "normal"))
    stored = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert stored.dtype == np.uint16
    assert np.allclose(read_map(path, "normal"), normals, atol=1 / 65535)
    path.write_bytes(encode_map(read_map(path, "normal"), "normal"))
    assert np.array_equal(cv2.imread(str(path), cv2.IMREAD_UNCHANGED), stored)


def test_edges_are_fractions_of_the_full_value(tmp_path):
    for full, dtype in ((255, np.uint8), (65535, np.uint16)):
        path = tmp_path / f"{full}.png"
        cv2.imwrite(str(path), np.array([[0, full]], dtype))
        assert read_map(path, "edge").tolist() == [[0.0, 1.0]]


def test_what_is_of_another_kind_is_refused(tmp_path):
    grey, colour = tmp_path / "grey.png", tmp_path / "colour.png"
    cv2.imwrite(str(grey), np.zeros((2, 2), np.uint8))
    cv2.imwrite(str(colour), np.zeros((2, 2, 3), np.uint8))
    with pytest.raises(ValueError, match=r"grey\.png: expected 16 bits, found 8"):
        read_map(grey, "depth", FileUnit(0.001))
    with pytest.raises(ValueError, match=r"colour\.png: expected 1 channel"):
        read_map(colour, "thermal", FileUnit(1))
    with pytest.raises(ValueError, match=r"grey\.png: expected 3 channel"):
        read_map(grey, "normal")
    with pytest.raises(ValueError, match=r"which 16 bits in steps of 0\.0001 from 0 do not hold"):
        encode_map(np.array([[7.0]]), "depth", FileUnit(0.0001))


def test_units_are_stated():
    assert parse_unit("thermal=0.01,-273.15") == ("thermal", FileUnit(0.01, -273.15))
    assert unit_of("depth", {}) == FileUnit(0.001)
    assert unit_of("thermal", {"thermal": FileUnit(0.5)}) == FileUnit(0.5)
    assert unit_of("rgb", {}) is None
    with pytest.raises(ValueError, match="--unit thermal=STEP"):
        unit_of("thermal", {})
    with pytest.raises(ValueError, match="fixed unit"):
        unit_of("rgb", {"rgb": FileUnit(1)})
    for text in ("depth", "=1", "depth=x", "depth=1,2,3", "depth=0"):
        with pytest.raises(ValueError):
            parse_unit(text)
