import math

import pytest
import torch

from rgbx.tasks.map_range import MapRange, build_range


@pytest.mark.parametrize(
    ("options", "value", "expected"),
    [
        (dict(low=0, high=255), 255, 1.0),
        (dict(low=0, high=255), 127.5, 0.0),
        (dict(low=-1, high=1), 0.25, 0.25),
        (dict(low=0, high=10), 2.5, -0.5),
        (dict(low=0, high=10), 11.0, 1.0),
        (dict(low=1, high=3, scale="log"), math.sqrt(2 * 4) - 1, 0.0),  # the middle of log 2 and log 4
    ],
)
def test_values_by_hand(options, value, expected):
    assert MapRange(**options).normalise(torch.tensor(value)).item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("scale", ["linear", "log"])
@pytest.mark.parametrize(("high", "step"), [(10.0, 0.001), (65.535, 0.001), (255.0, 1.0)])
def test_every_stored_value_returns(scale, high, step):
    """16-bit millimetres and 8-bit colours survive both ways exactly."""
    raw = torch.arange(int(high / step) + 1)
    values = (raw * step).float()
    ranges = MapRange(0, high, scale)
    back = ranges.denormalise(ranges.normalise(values))
    assert torch.equal((back / step).round().long(), raw)


def test_defaults_of_names_and_units():
    assert build_range("depth").bounds.tolist() == [0, 10]
    assert build_range("far", unit="metre").bounds.tolist() == [0, 10]
    assert build_range("rgb", unit="relative").bounds.tolist() == [0, 255]  # the name counts first
    assert build_range("depth", {"high": 80}).bounds.tolist() == [0, 80]


def test_ranges_are_checked():
    for options in (dict(low=1, high=1), dict(low=0, high=math.inf), dict(low=-1, high=1, scale="log")):
        with pytest.raises(ValueError, match="range"):
            MapRange(**options)
    with pytest.raises(ValueError, match="scale is 'root'"):
        MapRange(0, 1, "root")
    with pytest.raises(ValueError, match="no range for map 'thermal'"):
        build_range("thermal")
    with pytest.raises(ValueError, match=r"unknown options \['hi'\]"):
        build_range("depth", {"hi": 3})
