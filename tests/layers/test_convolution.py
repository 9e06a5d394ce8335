"""Convolutions whose weights' gradient is found of contiguous maps, against sums over the kernel's places."""

import copy
import pickle

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rgbx.backbones import to_channels_last
from rgbx.layers import convolution
from rgbx.layers.convolution import Conv2d, _ContiguousGradient, contiguous_gradients
from rgbx.models import multimodal_segmentor

DEPTH = {"depth": {"mean": (2.0,), "std": (1.0,)}}
FORMS = [
    {"kernel_size": 3, "padding": 1},
    {"kernel_size": 3, "padding": 1, "stride": 2},
    {"kernel_size": (3, 5), "padding": (0, 4), "dilation": (1, 2), "bias": False},
]


@pytest.fixture
def anywhere(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Small maps and any processor take the way, which counts its calls."""
    calls: list[int] = []
    backward = convolution.BACKWARD
    monkeypatch.setattr(convolution, "PIXELS", 20)
    monkeypatch.setattr(convolution, "INPUTS", 10)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    monkeypatch.setattr(convolution, "BACKWARD", lambda *given: (calls.append(1), backward(*given))[1])
    return calls


def layer_of(form: dict[str, object], channels: int = 5) -> nn.Conv2d:
    torch.manual_seed(0)
    layer = nn.Conv2d(channels, 4, **form)
    to_channels_last(layer)
    contiguous_gradients([layer])
    return layer


def maps(channels: int = 5) -> Tensor:
    x = torch.randn(2, channels, 12, 14, generator=torch.Generator().manual_seed(1))
    return x.contiguous(memory_format=torch.channels_last).requires_grad_()


def sums(layer: nn.Conv2d, x: Tensor, above: Tensor) -> tuple[Tensor, ...]:
    """Gradients of (convolution * above).sum(): of the maps, the weight and the bias, place by place of the kernel."""
    (top, left), (down, right), (dy, dx) = layer.padding, layer.stride, layer.dilation
    height, width = above.shape[-2:]
    padded = F.pad(x, (left, left, top, top))
    of_padded, of_weight = torch.zeros_like(padded), torch.zeros_like(layer.weight)
    for i in range(layer.kernel_size[0]):
        for j in range(layer.kernel_size[1]):
            rows = slice(i * dy, i * dy + down * (height - 1) + 1, down)
            columns = slice(j * dx, j * dx + right * (width - 1) + 1, right)
            of_weight[:, :, i, j] = torch.einsum("nkhw,nchw->kc", above, padded[:, :, rows, columns])
            of_padded[:, :, rows, columns] += torch.einsum("nkhw,kc->nchw", above, layer.weight[:, :, i, j])
    return of_padded[..., top : top + x.shape[2], left : left + x.shape[3]], of_weight, above.sum((0, 2, 3))


@torch.no_grad()
def wanted(layer: nn.Conv2d, x: Tensor, above: Tensor) -> list[Tensor]:
    exact = copy.deepcopy(layer).double()
    found = sums(exact, x.detach().double(), above.double())
    return [t.float() for t in found[: 2 + (layer.bias is not None)]]


@pytest.mark.parametrize("form", FORMS, ids=str)
@pytest.mark.parametrize("channels", [3, 5])
def test_gradients_are_the_sums_over_the_kernel(form: dict[str, object], channels: int, anywhere: list[int]) -> None:
    layer, x = layer_of(form, channels), maps(channels)
    y = layer(x)
    assert torch.equal(y, nn.Conv2d.forward(layer, x.detach())) and y.stride() == layer(x.detach()).stride()
    above = torch.randn_like(y)
    y.backward(above)
    found = [x.grad, *(p.grad for p in layer.parameters())]
    torch.testing.assert_close(found, wanted(layer, x, above), rtol=1e-5, atol=1e-5)
    assert len(anywhere) == 2


@pytest.mark.parametrize("frozen", ["maps", "weight", "bias"])
def test_what_is_not_asked_for_is_not_found(frozen: str, anywhere: list[int]) -> None:
    layer, x = layer_of(FORMS[0]), maps()
    tensors = {"maps": x, "weight": layer.weight, "bias": layer.bias}
    tensors[frozen].requires_grad_(False)
    above = torch.randn_like(layer(x))
    layer(x).backward(above)
    assert len(anywhere) == {"maps": 1, "weight": 0, "bias": 2}[frozen]
    for (name, tensor), value in zip(tensors.items(), wanted(layer, x, above), strict=True):
        if name == frozen:
            assert tensor.grad is None
        else:
            torch.testing.assert_close(tensor.grad, value, rtol=1e-5, atol=1e-5)


def test_second_derivatives_are_right() -> None:
    x = torch.randn(1, 2, 4, 5, dtype=torch.float64).contiguous(memory_format=torch.channels_last).requires_grad_()
    weight = torch.randn(3, 2, 3, 3, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(3, dtype=torch.float64, requires_grad=True)

    def call(*tensors: Tensor) -> Tensor:
        return _ContiguousGradient.apply(*tensors, [1, 1], [1, 1], [1, 1])

    assert torch.autograd.gradcheck(call, (x, weight, bias))
    assert torch.autograd.gradgradcheck(call, (x, weight, bias))


def test_transforms_and_tracers_meet_torchs_own(anywhere: list[int]) -> None:
    layer, x = layer_of(FORMS[0]), maps()
    names = dict(layer.named_parameters())
    found = torch.func.grad(lambda p: torch.func.functional_call(layer, p, (x,)).square().sum())(names)
    exported = torch.export.export(layer, (x.detach(),), strict=False)
    with torch.autocast("cpu", torch.bfloat16):
        layer(x).float().sum().backward()
    assert not anywhere and set(found) == {"weight", "bias"}
    assert torch.equal(exported.module()(x.detach()), layer(x.detach()))


def test_only_plain_convolutions_with_a_kernel_are_changed() -> None:
    kept = [
        nn.Conv2d(4, 4, 1),
        nn.Conv2d(4, 4, 3, groups=2),
        nn.Conv2d(4, 4, 3, padding="same"),
        nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect"),
        nn.Conv1d(4, 4, 3),
    ]
    network = nn.Sequential(nn.Conv2d(4, 4, 3), *kept)
    weights = network.state_dict()
    contiguous_gradients(network.modules())
    assert type(network[0]) is Conv2d and all(type(a) is type(b) for a, b in zip(network[1:], kept, strict=True))
    assert not any(isinstance(layer, Conv2d) for layer in network[1:])
    copies = [copy.deepcopy(network), pickle.loads(pickle.dumps(network))]
    for each in copies:
        assert all(torch.equal(value, weights[name]) for name, value in each.state_dict().items())


def test_a_model_that_is_to_be_trained_has_them() -> None:
    model = multimodal_segmentor(modalities=("rgb", "depth"), num_classes=3, backbone="resnet10t", statistics=DEPTH)
    assert not any(isinstance(layer, Conv2d) for layer in model.eval().modules())
    assert any(isinstance(layer, Conv2d) for layer in model.train().backbone.modules())
    assert any(isinstance(layer, Conv2d) for layer in model.heads.modules())
