"""What readers say about files: reading with the same words gives the same values."""

from functools import partial

import numpy as np
import pytest
from dataset_frames import save

from rgbx.datasets.grey import read_log, read_relative, read_sensor
from rgbx.datasets.map_encoding import read_map
from rgbx.datasets.reading import read_depth8, read_depth16
from rgbx.datasets.sample import MapSpec
from rgbx.datasets.stored_as import stored_as

CASES = [
    (partial(read_depth16, divisor=5000), "metre", 16),
    (partial(read_depth8, levels_per_metre=20.0, half_step=0.0), "metre", 8),
    (partial(read_sensor, scale=100, add=-273.15), "sensor", 16),
    (partial(read_relative, full=11355.0), "relative", 16),
    (partial(read_relative, full=None), "relative", 8),
    (read_relative, "relative", 16),
    (partial(read_log, log=11.1), "relative", 16),
]


@pytest.mark.parametrize(("reader", "unit", "bits"), CASES)
def test_the_words_read_as_the_reader_does(tmp_path, reader, unit, bits):
    stored = np.random.default_rng(0).integers(0, 2**bits, (6, 5), dtype=np.uint8 if bits == 8 else np.uint16)
    save(tmp_path / "a.png", stored)
    values = read_map(tmp_path / "a.png", MapSpec("x", 1, "float32", unit, "nearest"), **stored_as(reader))
    np.testing.assert_array_equal(values, reader(tmp_path / "a.png"))


def test_other_readers_cannot_be_described():
    assert stored_as(read_depth8) is None  # half a step
    assert stored_as(lambda path: path) is None
