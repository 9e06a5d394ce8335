"""Separate encoders against independent timm networks."""

import pytest
import torch
from torch import nn

from rgbx.backbones import SharedBackbone, to_channels_last
from rgbx.backbones._timm import timm
from rgbx.layers import ModalityLayer, StackLayout, owner, separate_layers

MODALITIES = ("rgb", "depth")


def separate(name, **options):
    torch.manual_seed(0)
    backbone = SharedBackbone(name, MODALITIES, weights="separate", **options)
    for parameter in backbone.parameters():
        parameter.data.add_(0.02 * torch.randn_like(parameter))  # encoders differ
    return backbone


def alone(name, backbone, modality):
    """A timm network with the weights of one modality."""
    names = {key: key for key in backbone.network.state_dict() if owner(key) in (None, modality)}
    renamed = {key.replace(f".copies.{modality}.", ".").replace(f".norms.{modality}.", "."): key for key in names}
    network = timm.create_model(name, features_only=True)
    network.load_state_dict({key: backbone.network.state_dict()[source] for key, source in renamed.items()})
    return network


def maps(batch=2, size=(32, 64)):
    generator = torch.Generator().manual_seed(0)
    return {name: torch.randn(batch, 3, *size, generator=generator) for name in MODALITIES}


@pytest.mark.parametrize(
    ("name", "training"),
    [("test_resnet", False), ("test_resnet", True), ("test_efficientnet", False), ("mobilenetv3_small_100", True)],
)
def test_encoders_equal_two_networks(name, training):
    backbone = separate(name).double().train(training)
    inputs = {name: x.double() for name, x in maps().items()}  # as norms of few values amplify rounding
    networks = {m: alone(name, backbone, m).double().train(training) for m in MODALITIES}
    with torch.no_grad():
        stacks = backbone(inputs)
        for i, m in enumerate(MODALITIES):
            for stack, expected in zip(stacks, networks[m](inputs[m])[-4:], strict=True):
                torch.testing.assert_close(stack.chunk(2)[i], expected, rtol=1e-3, atol=1e-4)
        if not training:
            for found, expected in zip(backbone({"depth": inputs["depth"]}), stacks, strict=True):
                torch.testing.assert_close(found, expected.chunk(2)[1], rtol=1e-3, atol=1e-4)


def test_every_parameter_has_an_owner_and_learns():
    backbone = separate("test_resnet").train()
    names = dict(backbone.named_parameters())
    assert {owner(name) for name in names} == set(MODALITIES)
    assert "network.layer1.0.conv1.copies.rgb.weight" in names
    sum(f.square().mean() for f in backbone({"depth": maps()["depth"]})).backward()
    assert {owner(name) for name, p in names.items() if p.grad is not None} == {"depth"}


@pytest.mark.parametrize("name", ["test_resnet", "test_efficientnet"])
def test_nothing_is_shared(name):
    backbone = separate(name).train()
    assert {owner(key) for key, _ in backbone.named_parameters()} == set(MODALITIES)
    assert {owner(key) for key, _ in backbone.named_buffers()} == set(MODALITIES)
    assert all(torch.isfinite(f).all() for f in backbone(maps()))


def test_frozen_statistics_of_every_copy():
    backbone = separate("test_resnet", norm_eval=True).train()
    before = {key: x.clone() for key, x in backbone.named_buffers()}
    backbone(maps())
    assert all(torch.equal(x, before[key]) for key, x in backbone.named_buffers())


def test_copies_are_stored_channels_last():
    backbone = separate("test_resnet")
    to_channels_last(backbone)
    weights = [p for p in backbone.parameters() if p.ndim == 4 and p.shape[1] > 1 and p.shape[2] > 1]
    assert len(weights) > 2 * 8
    assert all(w.is_contiguous(memory_format=torch.channels_last) and not w.is_contiguous() for w in weights)


def test_a_network_that_cannot_be_copied_is_refused():
    with pytest.raises(ValueError, match="ConvNeXtBlock holds the parameter 'gamma' beside its layers"):
        SharedBackbone("test_convnext", MODALITIES, weights="separate")


def test_a_layer_with_modules_without_parameters_is_copied_whole():
    class Scaled(nn.Linear):
        def __init__(self):
            super().__init__(3, 3)
            self.act = nn.Tanh()

        def forward(self, x):
            return self.act(super().forward(x))

    network, layout = nn.Sequential(Scaled()), StackLayout(MODALITIES)
    first = network[0]
    separate_layers(network, layout)
    assert isinstance(network[0], ModalityLayer)
    network[0].copies["depth"].weight.data.zero_()
    x = torch.randn(4, 3)
    torch.testing.assert_close(network(x)[:2], first(x)[:2])
    torch.testing.assert_close(network(x)[2:], first.bias.tanh().expand(2, 3))
