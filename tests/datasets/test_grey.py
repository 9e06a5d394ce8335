"""One-channel images against values worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from dataset_frames import save

from rgbx.datasets.grey import read_grey, read_relative, read_sensor

VALUES = np.array([[0, 1, 255]], np.uint8)


def test_equal_channels_are_grey(tmp_path):
    save(tmp_path / "grey.png", VALUES)
    save(tmp_path / "rgb.png", np.repeat(VALUES[..., None], 3, axis=2))
    save(tmp_path / "rgba.png", np.dstack([VALUES, VALUES, VALUES, np.full_like(VALUES, 255)]))
    for name in ("grey.png", "rgb.png", "rgba.png"):
        np.testing.assert_array_equal(read_grey(tmp_path / name), VALUES)
    save(tmp_path / "colours.png", np.dstack([VALUES, VALUES, VALUES[:, ::-1]]))
    with pytest.raises(ValueError, match=r"colours\.png: expected a grey image, found 3 channels"):
        read_grey(tmp_path / "colours.png")


def test_sensor(tmp_path):
    save(tmp_path / "kelvin.png", np.array([[0, 27315, 65535]], np.uint16))
    celsius = read_sensor(tmp_path / "kelvin.png", scale=100, add=-273.15)
    assert celsius.dtype == np.float32
    np.testing.assert_allclose(celsius, [[-273.15, 0, 382.2]], atol=1e-4)
    np.testing.assert_array_equal(read_sensor(tmp_path / "kelvin.png"), [[0, 27315, 65535]])


def test_relative(tmp_path):
    save(tmp_path / "8.png", VALUES)
    save(tmp_path / "16.png", np.array([[0, 1, 65535]], np.uint16))
    save(tmp_path / "float.tiff", np.array([[0, 2, 5]], np.float32))
    np.testing.assert_allclose(read_relative(tmp_path / "8.png"), [[0, 1 / 255, 1]], rtol=1e-6)
    np.testing.assert_allclose(read_relative(tmp_path / "16.png"), [[0, 1 / 65535, 1]], rtol=1e-6)
    np.testing.assert_allclose(read_relative(tmp_path / "float.tiff", full=4), [[0, 0.5, 1]], rtol=1e-6)
    with pytest.raises(ValueError, match=r"float\.tiff: a float32 image has no largest value"):
        read_relative(tmp_path / "float.tiff")
