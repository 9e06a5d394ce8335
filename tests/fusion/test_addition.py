"""Addition against sums written out modality by modality."""

import pytest
import torch
from torch import nn

from rgbx.fusion import build_fusion
from rgbx.layers import StackLayout

NAMES = ("rgb", "depth", "ir")


def fuse(layout, x, **fields):
    module = build_fusion({"name": "addition", **fields}).fuse_stage(nn.Identity(), x.shape[1], layout)
    assert not list(module.parameters())
    return module(x)


@pytest.mark.parametrize("scale", [1.0, 0.25])
@pytest.mark.parametrize("modalities", [2, 3])
def test_two_ways(modalities, scale):
    layout = StackLayout(NAMES[:modalities])
    x = torch.randn(modalities * 2, 5, 3, 4)
    expected = x.clone()
    for m in range(modalities):
        for k in range(modalities):
            if k != m:
                expected[2 * m : 2 * m + 2] += scale * x[2 * k : 2 * k + 2]
    torch.testing.assert_close(fuse(layout, x, scale=scale), expected)


def test_one_way_leaves_the_givers_alone():
    x = torch.randn(6, 5, 3, 4)
    out = fuse(StackLayout(NAMES), x, receivers=["rgb"])
    torch.testing.assert_close(out[:2], x[:2] + x[2:4] + x[4:])
    assert torch.equal(out[2:], x[2:])


@pytest.mark.parametrize(
    ("present", "receivers"), [(["rgb"], None), (["depth"], ["rgb"]), (["depth", "ir"], ["rgb"])], ids=str
)
def test_nothing_is_added_to_one_alone_or_without_a_receiver(present, receivers):
    layout = StackLayout(NAMES)
    with layout.holding(present):
        x = torch.randn(2 * len(present), 5, 3, 4)
        assert fuse(layout, x, receivers=receivers) is x


def test_gradient_of_the_prediction_reaches_the_giver():
    x = torch.randn(2, 5, 3, 4, requires_grad=True)
    fuse(StackLayout(NAMES[:2]), x, receivers=["rgb"])[:1].sum().backward()
    assert torch.equal(x.grad, torch.ones_like(x))


def test_one_branch_predicts():
    layout = StackLayout(NAMES)
    merge = build_fusion({"name": "addition", "predict_from": "depth"}).merge_features([5, 7], layout)
    features = [torch.randn(6, 5, 4, 4), torch.randn(6, 7, 2, 2)]
    for present, place in ((NAMES, 1), (("depth", "ir"), 0), (("rgb", "ir"), 0), (("ir",), 0)):
        with layout.holding(present):
            stacks = [f[: 2 * len(present)] for f in features]
            for merged, f in zip(merge(stacks), stacks, strict=True):
                assert torch.equal(merged, f[2 * place : 2 * place + 2])
    assert build_fusion("addition").merge_features([5, 7], layout) is None


def test_names_are_checked():
    layout = StackLayout(NAMES)
    with pytest.raises(ValueError, match=r"receivers names 'thermal'; this model knows \['rgb', 'depth', 'ir'\]"):
        fuse(layout, torch.zeros(3, 2, 1, 1), receivers=["thermal"])
    with pytest.raises(ValueError, match="predict_from names 'thermal'"):
        build_fusion({"name": "addition", "predict_from": "thermal"}).merge_features([4], layout)
    with pytest.raises(ValueError, match="receivers is 'rgb'; expected a list"):
        build_fusion({"name": "addition", "receivers": "rgb"})
    with pytest.raises(ValueError, match=r"receivers is \[\]; expected a list"):
        build_fusion({"name": "addition", "receivers": []})
