import math

import pytest
import torch

from rgbx.models.map_range import MapRange, build_range
from rgbx.models.translation_preprocessor import TranslationPreprocessor


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


def test_ranges_are_checked():
    for options in (dict(low=1, high=1), dict(low=0, high=math.inf), dict(low=-1, high=1, scale="log")):
        with pytest.raises(ValueError):
            MapRange(**options)
    with pytest.raises(ValueError, match="scale is 'root'"):
        MapRange(0, 1, "root")
    with pytest.raises(ValueError, match="no range for map 'thermal'"):
        build_range("thermal")
    with pytest.raises(ValueError, match=r"unknown options \['hi'\]"):
        build_range("depth", {"hi": 3})


def batch():
    return {
        "rgb": torch.full((2, 3, 4, 5), 51, dtype=torch.uint8),
        "edge": torch.ones(2, 1, 4, 5),
        "depth": torch.tensor([0.0, 5.0]).view(2, 1, 1, 1).expand(2, 1, 4, 5),
        "sample_id": ["a", "b"],
    }


def test_a_batch_is_normalised_with_holes_marked():
    data = TranslationPreprocessor(("rgb", "edge"), "depth")(batch())
    assert torch.allclose(data["inputs"]["rgb"], torch.tensor(-0.6))
    assert torch.equal(data["inputs"]["edge"], torch.ones(2, 1, 4, 5))
    assert torch.equal(data["target"][:, 0, 0, 0], torch.tensor([-1.0, 0.0]))
    assert torch.equal(data["valid"][:, 0, 0, 0], torch.tensor([False, True]))
    assert torch.equal(data["truth"], batch()["depth"])


def test_a_given_mask_counts_and_sources_have_holes_too():
    data = {**batch(), "depth_valid": torch.zeros(2, 1, 4, 5, dtype=torch.bool)}
    assert (TranslationPreprocessor(("depth",), "rgb")(data)["inputs"]["depth"] == -1).all()
    found = TranslationPreprocessor(("rgb",), "edge")(data)
    assert found["valid"] is None


def test_without_target_and_without_source():
    preprocessor = TranslationPreprocessor(("rgb", "edge"), "depth")
    found = preprocessor({"rgb": batch()["rgb"]})
    assert list(found["inputs"]) == ["rgb"]
    assert found["target"] is found["truth"] is found["valid"] is found["sample_id"] is None
    with pytest.raises(ValueError, match=r"expected at least one of \['rgb', 'edge'\]"):
        preprocessor({"depth": batch()["depth"]})


def test_wrong_maps_are_refused():
    with pytest.raises(ValueError, match="beside the target 'rgb'"):
        TranslationPreprocessor(("rgb",), "rgb")
    with pytest.raises(ValueError, match=r"ranges are given for \['dept'\]"):
        TranslationPreprocessor(("rgb",), "edge", {"dept": {"low": 0, "high": 1}})


def test_ranges_travel_in_the_state_dict():
    first = TranslationPreprocessor(("rgb",), "depth", {"depth": {"low": 0, "high": 80}})
    second = TranslationPreprocessor(("rgb",), "depth")
    second.load_state_dict(first.state_dict())
    assert second.denormalise("depth", torch.ones(1)).item() == 80
