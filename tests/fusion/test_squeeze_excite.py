"""Squeeze-excite fusion against its equation in numpy."""

import numpy as np
import pytest
import torch
from torch import nn

from rgbx.fusion import build_fusion
from rgbx.layers import StackLayout, owner

NAMES = ("rgb", "depth", "ir")


def fused_stage(layout, channels=5, **fields):
    torch.manual_seed(0)
    module = build_fusion({"name": "squeeze_excite", **fields}).fuse_stage(nn.Identity(), channels, layout)
    for parameter in module.parameters():
        nn.init.normal_(parameter)  # modalities differ
    return module


def gated(module, name, x):
    """σ(W mean(x) + b) ⊙ x for one image [C, H, W]."""
    layer = module.gate.copies[name]
    weight, bias = layer.weight.detach().numpy()[:, :, 0, 0], layer.bias.detach().numpy()
    gate = 1 / (1 + np.exp(-(weight @ x.mean((1, 2)) + bias)))
    return gate[:, None, None] * x


@pytest.mark.parametrize("receiver", [None, "rgb", "depth"])
@pytest.mark.parametrize("modalities", [2, 3])
def test_equation(modalities, receiver):
    layout = StackLayout(NAMES[:modalities])
    module = fused_stage(layout, receiver=receiver)
    x = torch.randn(modalities, 2, 5, 3, 4)
    out = module(x.flatten(0, 1)).detach().unflatten(0, (modalities, 2)).numpy()
    for n in range(2):
        z = {name: gated(module, name, x[m, n].numpy()) for m, name in enumerate(layout.modalities)}
        for m, name in enumerate(layout.modalities):
            expected = sum(z.values()) if name == (receiver or "rgb") else z[name]
            np.testing.assert_allclose(out[m, n], expected, rtol=1e-5, atol=1e-5)


def test_starts_as_about_half_the_sum():
    module = build_fusion("squeeze_excite").fuse_stage(nn.Identity(), 64, StackLayout(NAMES[:2]))
    x = torch.rand(2, 64, 8, 8)
    torch.testing.assert_close(module(x)[:1], (x[:1] + x[1:]) / 2, rtol=0.4, atol=0)


@pytest.mark.parametrize("present", [["rgb"], ["depth"], ["depth", "ir"]], ids=str)
def test_one_alone_or_without_the_receiver_passes(present):
    layout = StackLayout(NAMES)
    module = fused_stage(layout)
    with layout.holding(present):
        x = torch.randn(len(present), 5, 3, 4)
        assert module(x) is x


def test_gates_are_private_and_trained_by_the_receiver():
    module = fused_stage(StackLayout(NAMES))
    module(torch.randn(3, 5, 3, 4))[:1].square().sum().backward()
    assert {owner(name) for name, _ in module.named_parameters()} == set(NAMES)
    assert all(p.grad.abs().sum() > 0 for p in module.parameters())


def test_the_receiver_alone_predicts_if_it_is_there():
    layout = StackLayout(NAMES)
    merge = build_fusion({"name": "squeeze_excite", "receiver": "depth"}).merge_features([5], layout)
    x = torch.randn(3, 5, 4, 4)
    assert torch.equal(merge([x])[0], x[1:2])
    with layout.holding(["rgb", "ir"]):
        assert torch.equal(merge([x[:2]])[0], x[:1])


def test_names_are_checked():
    with pytest.raises(ValueError, match="receiver names 'thermal'"):
        build_fusion({"name": "squeeze_excite", "receiver": "thermal"}).fuse_stage(nn.Identity(), 4, StackLayout("ab"))
