import pytest
import torch
from tiny import Halves, tiny_segmentor

from rgbx.models import multimodal_translator
from rgbx.train.data_check import check_classes, check_maps


def model(modalities=("rgb",), target="depth", **ranges):
    ranges = {name: {"low": low, "high": high} for name, (low, high) in ranges.items()}
    options = dict(generator=dict(name="unet", width=4, depth=3), discriminator=None, ranges=ranges)
    return multimodal_translator(modalities=modalities, target=target, **options)


def samples(**maps):
    return [{"sample_id": "a", "rgb": torch.zeros(3, 2, 2), **maps}]


def test_a_map_that_the_dataset_does_not_give_is_named():
    dataset = samples(depth=torch.ones(1, 2, 2))
    assert check_maps(model(), dataset) == []
    with pytest.raises(ValueError, match=r"the model takes 'dpth', but list .*rgb, depth; did you mean 'depth'\?"):
        check_maps(model(("rgb", "dpth"), dpth=(0, 1)), dataset)
    with pytest.raises(ValueError, match="the model takes 'normal', but"):
        check_maps(model(("depth",), target="normal"), dataset)
    with pytest.raises(ValueError, match="the model takes 'label', but"):
        check_maps(tiny_segmentor(("rgb", "depth"), 3), dataset)


def test_class_counts_must_agree():
    check_classes(tiny_segmentor(("rgb",), 3), Halves())
    check_classes(model(), Halves())
    with pytest.raises(ValueError, match=r"num_classes=4 \(head 'labels'\), but Halves has 3 classes"):
        check_classes(tiny_segmentor(("rgb",), 4), Halves())


def test_values_outside_the_range_are_told():
    depth = torch.linspace(0, 20, 101).view(1, 1, 101)
    (warning,) = check_maps(model(depth=(0, 10)), samples(depth=depth))
    assert warning.startswith("50 % of depth in the first sample lies outside 0..10, from 0 to 20")
    assert check_maps(model(depth=(0, 19)), samples(depth=depth)) == []  # a twentieth


def test_only_what_was_measured_counts():
    depth = torch.tensor([[[0.0, 0.0, 5.0, 30.0]]])
    valid = torch.tensor([[[False, False, True, True]]])
    (warning,) = check_maps(model(depth=(1, 10)), samples(depth=depth, depth_valid=valid))
    assert warning.startswith("50 %")
    nothing = samples(depth=depth, depth_valid=torch.zeros_like(valid))
    assert check_maps(model(depth=(1, 10)), nothing) == []
