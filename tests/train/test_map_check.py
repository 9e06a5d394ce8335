from types import SimpleNamespace

import pytest
import torch

from rgbx.models.map_range import build_range
from rgbx.train.map_check import check_maps


def model(modalities, target=None, **ranges):
    ranges = {name: build_range(name, {"low": low, "high": high}) for name, (low, high) in ranges.items()}
    return SimpleNamespace(
        modalities=modalities, target=target, data_preprocessor=SimpleNamespace(ranges=ranges) if ranges else None
    )


def samples(**maps):
    return [{"sample_id": "a", **maps}]


def test_a_map_that_the_dataset_does_not_give_is_named():
    dataset = samples(rgb=torch.zeros(3, 2, 2), depth=torch.ones(1, 2, 2))
    assert check_maps(model(("rgb", "depth")), dataset) == []
    with pytest.raises(ValueError, match=r"the model takes 'dpth', but list .*rgb, depth; did you mean 'depth'\?"):
        check_maps(model(("rgb", "dpth")), dataset)
    with pytest.raises(ValueError, match="the model takes 'normal', but"):
        check_maps(model(("depth",), target="normal"), dataset)


def test_values_outside_the_range_are_told():
    depth = torch.linspace(0, 20, 101).view(1, 1, 101)
    (warning,) = check_maps(model((), "depth", depth=(0, 10)), samples(depth=depth))
    assert warning.startswith("50 % of depth in the first sample lies outside 0..10, from 0 to 20")
    assert check_maps(model((), "depth", depth=(0, 19)), samples(depth=depth)) == []  # a twentieth


def test_only_what_was_measured_counts():
    depth = torch.tensor([[[0.0, 0.0, 5.0, 30.0]]])
    valid = torch.tensor([[[False, False, True, True]]])
    (warning,) = check_maps(model((), "depth", depth=(1, 10)), samples(depth=depth, depth_valid=valid))
    assert warning.startswith("50 %")
    nothing = samples(depth=depth, depth_valid=torch.zeros_like(valid))
    assert check_maps(model((), "depth", depth=(1, 10)), nothing) == []
