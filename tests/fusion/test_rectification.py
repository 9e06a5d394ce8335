"""Rectification and merge against the papers' equations, modality by modality in numpy."""

import numpy as np
import pytest
import torch
from torch import nn

from rgbx.backbones import SharedBackbone
from rgbx.fusion import build_fusion
from rgbx.fusion.rectification import CrossPath, Rectification, StageMerge
from rgbx.layers import StackLayout, owner

NAMES = ("rgb", "depth")


def spread(module):
    torch.manual_seed(0)
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.5)
    return module.eval()


def linear(layer, x):
    """A 1×1 convolution on [C, ...] in numpy."""
    out = np.tensordot(layer.weight.detach().double().numpy()[:, :, 0, 0], x, 1)
    if layer.bias is not None:
        out += layer.bias.detach().double().numpy().reshape(-1, *[1] * (x.ndim - 1))
    return out


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def relu(x):
    return np.maximum(x, 0)


def softmax(x, axis):
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


@pytest.mark.parametrize("reduction", [1, 2])
def test_rectification(reduction):
    channels = 6
    module = spread(Rectification(channels, StackLayout(NAMES), reduction))
    x = torch.randn(2, 3, channels, 4, 5)
    out = module(x.flatten(0, 1)).detach().unflatten(0, (2, 3)).numpy()
    for n in range(3):
        one, two = x[:, n].double().numpy()
        pooled = np.concatenate([one.mean((1, 2)), two.mean((1, 2)), one.max((1, 2)), two.max((1, 2))])
        u = sigmoid(linear(module.channel[2], relu(linear(module.channel[0], pooled))))
        v = sigmoid(linear(module.spatial[2], relu(linear(module.spatial[0], np.concatenate([one, two])))))
        u1, u2 = u[:channels, None, None], u[channels:, None, None]
        np.testing.assert_allclose(out[0, n], one + 0.5 * u2 * two + 0.5 * v[1] * two, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(out[1, n], two + 0.5 * u1 * one + 0.5 * v[0] * one, rtol=1e-4, atol=1e-4)


def test_rectification_starts_with_about_half_of_the_other():
    torch.manual_seed(0)
    x = torch.rand(2, 64, 8, 8)
    received = Rectification(64, StackLayout(NAMES), 1)(x) - x
    torch.testing.assert_close(received, x.flip(0) / 2, rtol=0.3, atol=0)


def crossed(module, x):
    """CrossPath for one image of both modalities, {name: [C, L]}, head by head."""
    y, q, context = {}, {}, {}
    for name, value in x.items():
        y[name], q[name] = np.split(relu(linear(module.project.copies[name], value)), 2)
        k, v = np.split(linear(module.key_value.copies[name], q[name]), 2)
        size = len(k) // module.heads
        heads = [slice(h * size, (h + 1) * size) for h in range(module.heads)]
        context[name] = [softmax(k[h] @ v[h].T / np.sqrt(size), axis=0) for h in heads]
    out = {}
    for name, value in x.items():
        other = next((n for n in x if n != name), name)
        attended = [(q[name][h].T @ g).T for h, g in zip(heads, context[other], strict=True)]
        z = value + linear(module.combine.copies[name], np.concatenate([y[name], *attended]))
        norm = module.norm.copies[name]
        z = (z - z.mean(0)) / np.sqrt(z.var(0) + norm.eps)
        out[name] = z * norm.weight.detach().numpy()[:, None] + norm.bias.detach().numpy()[:, None]
    return out


@pytest.mark.parametrize(("channels", "reduction", "heads"), [(12, 1, 1), (12, 2, 1), (128, 1, 2), (320, 1, 5)])
def test_cross_path(channels, reduction, heads):
    torch.manual_seed(0)
    module = CrossPath(channels, StackLayout(NAMES), reduction)
    module.norm.copies["depth"].weight.data.uniform_(0.5, 1.5)
    assert module.heads == heads
    x = torch.randn(2, 2, channels, 3, 4)
    out = module(x.flatten(0, 1)).detach().unflatten(0, (2, 2)).flatten(3).numpy()
    for n in range(2):
        expected = crossed(module, {m: x[i, n].flatten(1).double().numpy() for i, m in enumerate(NAMES)})
        for i, name in enumerate(NAMES):
            np.testing.assert_allclose(out[i, n], expected[name], rtol=1e-3, atol=1e-4)
    assert {owner(name) for name, _ in module.named_parameters()} == set(NAMES)


def embedded(module, joined):
    """Channel embedding of one image [2C, H, W]; norms in evaluation mode with their first statistics."""
    first, depthwise, _, last, norm = module.embed
    h = np.pad(linear(first, joined), ((0, 0), (1, 1), (1, 1)))
    height, width = joined.shape[1:]
    kernel = depthwise.weight.detach().double().numpy()[:, 0, :, :, None, None]
    h = sum(kernel[:, i, j] * h[:, i : i + height, j : j + width] for i in range(3) for j in range(3))
    h = relu(h + depthwise.bias.detach().double().numpy()[:, None, None])
    return frozen(module.norm, linear(module.residual, joined) + frozen(norm, linear(last, h)))


def frozen(norm, x):
    weight, bias = (p.detach().double().numpy()[:, None, None] for p in (norm.weight, norm.bias))
    return x / np.sqrt(1 + norm.eps) * weight + bias


@pytest.mark.parametrize("present", [NAMES, ("rgb",), ("depth",)], ids=str)
def test_stage_merge_with_both_and_with_one_in_both_places(present):
    layout = StackLayout(NAMES)
    module = spread(StageMerge(6, layout, 1))
    with layout.holding(present):
        x = torch.randn(len(present), 2, 6, 3, 4)
        out = module(x.flatten(0, 1)).detach()
        assert out.shape == (2, 6, 3, 4)
        for n in range(2):
            parts = crossed(module.cross, {m: x[i, n].flatten(1).double().numpy() for i, m in enumerate(present)})
            joined = np.concatenate([parts[present[0]], parts[present[-1]]]).reshape(12, 3, 4)
            np.testing.assert_allclose(out[n], embedded(module, joined), rtol=1e-3, atol=1e-3)


def test_one_modality_alone_is_not_rectified():
    layout = StackLayout(NAMES)
    module = Rectification(6, layout, 1)
    with layout.holding(["depth"]):
        x = torch.randn(2, 6, 3, 3)
        assert module(x) is x


def test_context_does_not_grow_with_the_map():
    """No tensor of L×L for L pixels: 96×96 of them would take 340 MB in fp32."""
    merge = StageMerge(8, StackLayout(NAMES), 1)
    largest = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: largest.append(t.numel()) or t, lambda t: t):
        merge(torch.randn(2, 8, 96, 96))
    assert max(largest) <= 4 * 8 * 96 * 96


def test_two_modalities_only():
    fusion = build_fusion("rectification")
    for call in (
        lambda layout: fusion.fuse_stage(nn.Identity(), 4, layout),
        lambda lay: fusion.merge_features([4], lay),
    ):
        with pytest.raises(ValueError, match=r"for two modalities, found \['a', 'b', 'c'\]"):
            call(StackLayout("abc"))
        assert call(StackLayout("a")) is None
    assert build_fusion({"name": "rectification", "merge": False}).merge_features([4], StackLayout("ab")) is None
    with pytest.raises(ValueError, match="reduction is 0"):
        build_fusion({"name": "rectification", "reduction": 0})


def test_frozen_statistics_are_the_networks_not_the_merges():
    """The merge has no pretrained statistics that could be kept."""
    backbone = SharedBackbone("test_resnet", NAMES, fusion=build_fusion("rectification"), norm_eval=True).train()
    norms = {name: m.training for name, m in backbone.named_modules() if isinstance(m, nn.BatchNorm2d)}
    assert all(training == name.startswith("merge.") for name, training in norms.items())
    assert any(norms.values()) and not all(norms.values())
