"""Private norms against torch's own norm run on each modality by itself."""

import copy

import pytest
import torch
from torch import nn

from rgbx.backbones._timm import timm
from rgbx.layers import ModalityNorm, StackLayout, modality_norm, replace_norms

BatchNormAct2d = timm.layers.BatchNormAct2d
LayerNorm2d = timm.layers.LayerNorm2d


def affine_instance_norm(channels):
    return nn.InstanceNorm2d(channels, affine=True)


def tracking_instance_norm(channels):
    return nn.InstanceNorm2d(channels, affine=True, track_running_stats=True)


def randomised(norm):
    with torch.no_grad():
        for tensor in [*norm.parameters(), *norm.buffers()]:
            if tensor.is_floating_point():
                tensor.uniform_(0.5, 1.5)
    return norm


NORMS = [nn.BatchNorm2d, BatchNormAct2d, LayerNorm2d, affine_instance_norm, tracking_instance_norm, nn.InstanceNorm2d]


@pytest.mark.parametrize("make", NORMS, ids=lambda c: c.__name__)
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("present", [("rgb", "depth"), ("depth",)])
def test_each_modality_is_normalised_by_its_own_norm(make, training, present):
    layout = StackLayout(("rgb", "depth"))
    norm = ModalityNorm(make(6), layout).train(training)
    for private in norm.norms.values():
        randomised(private)
    with layout.holding(present):
        x = torch.randn(len(present) * 3, 6, 4, 5)
        singles = [copy.deepcopy(norm.norms[name]) for name in present]
        expected = torch.cat([single(part) for single, part in zip(singles, x.chunk(len(present)), strict=True)])
        with torch.set_grad_enabled(training):
            torch.testing.assert_close(norm(x), expected, rtol=1e-5, atol=1e-6)
        for name, single in zip(present, singles, strict=True):
            for key, value in single.state_dict().items():
                torch.testing.assert_close(norm.norms[name].state_dict()[key], value)


@pytest.mark.parametrize("shape", [(6, 4, 3, 5), (3, 4, 2, 1)])
def test_instance_norm_of_the_stack_has_the_gradients_of_separate_ones(shape):
    norm = ModalityNorm(affine_instance_norm(4), StackLayout(("a", "b", "c")))
    for private in norm.norms.values():
        randomised(private)
    singles = copy.deepcopy(norm.norms)
    x, y = (torch.linspace(-2, 2, 6 * 4 * 15)[: torch.Size(shape).numel()].sin().view(shape) for _ in range(2))
    cotangent = torch.randn(shape)
    norm(x.requires_grad_()).backward(cotangent)
    parts = y.requires_grad_().chunk(3)
    torch.cat([single(part) for single, part in zip(singles.values(), parts, strict=True)]).backward(cotangent)
    torch.testing.assert_close(x.grad, y.grad, rtol=1e-4, atol=1e-5)
    for key, parameter in singles.named_parameters():
        torch.testing.assert_close(norm.norms.get_parameter(key).grad, parameter.grad, rtol=1e-4, atol=1e-5)


def test_frozen_statistics_give_the_same_with_and_without_gradients():
    norm = ModalityNorm(nn.BatchNorm2d(4), StackLayout(("a", "b"))).eval()
    for private in norm.norms.values():
        randomised(private)
    x = torch.randn(4, 4, 3, 3)
    with torch.no_grad():
        affine = norm(x)
    torch.testing.assert_close(affine, norm(x), rtol=1e-5, atol=1e-6)


def test_affine_variant_shares_statistics_and_keeps_private_scale():
    norm = modality_norm(randomised(nn.BatchNorm2d(4)), StackLayout(("a", "b")), "affine")
    with torch.no_grad():
        norm.norms["b"]["weight"].mul_(2)
        norm.norms["b"]["bias"].zero_()
    x = torch.randn(6, 4, 5, 5)
    whole = (x - x.mean((0, 2, 3), keepdim=True)) / (x.var((0, 2, 3), keepdim=True, correction=0) + 1e-5).sqrt()
    out = norm(x)
    for name, part, expected in zip("ab", out.chunk(2), whole.chunk(2), strict=True):
        weight, bias = (norm.norms[name][key].view(-1, 1, 1) for key in ("weight", "bias"))
        torch.testing.assert_close(part, expected * weight + bias, rtol=1e-4, atol=1e-5)


def test_shared_variant_is_the_norm_itself():
    norm = nn.BatchNorm2d(4)
    assert modality_norm(norm, StackLayout(("a", "b")), "shared") is norm


def test_instance_norms_are_found():
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.InstanceNorm2d(4, affine=True))
    assert replace_norms(network, StackLayout(("a", "b"))) == 1
    assert isinstance(network[1], ModalityNorm)


def test_replacement_keeps_pretrained_values_for_every_modality():
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Sequential(randomised(nn.BatchNorm2d(4))))
    before = {k: v.clone() for k, v in network[1][0].state_dict().items()}
    assert replace_norms(network, StackLayout(("rgb", "depth"))) == 1
    state = network.state_dict()
    for key, value in before.items():
        for name in ("rgb", "depth"):
            assert torch.equal(state[f"1.0.norms.{name}.{key}"], value)


@pytest.mark.parametrize(
    ("norm", "variant", "message"), [(nn.BatchNorm2d(2), "own", "'own'"), (nn.LayerNorm(2), "affine", "LayerNorm")]
)
def test_unknown_variants_are_refused(norm, variant, message):
    with pytest.raises(ValueError, match=message):
        modality_norm(norm, StackLayout(("a",)), variant)
