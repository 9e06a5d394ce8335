"""The PatchGAN: published size, receptive field, and the same network written out."""

from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F

from rgbx.generators import PatchDiscriminator


def test_published_size():
    size = sum(p.numel() for p in PatchDiscriminator(6).parameters())
    assert round(size / 1e6, 2) == 2.77
    channels = (6, 64, 128, 256, 512, 1)
    kernels = sum(16 * a * b + b for a, b in pairwise(channels))
    assert size == kernels + 2 * (128 + 256 + 512)


@pytest.mark.parametrize(("layers", "field"), [(1, 16), (2, 34), (3, 70), (4, 142)])
def test_receptive_field(layers, field):
    """Without a norm, whose statistics see the whole image, a logit depends on a square of known side."""
    torch.manual_seed(0)
    discriminator = PatchDiscriminator(2, width=4, layers=layers, norm="none").double()
    x = torch.randn(1, 2, 200, 240, dtype=torch.float64, requires_grad=True)
    logits = discriminator(x)[-1]
    logits[0, 0, logits.shape[2] // 2, logits.shape[3] // 2].backward()
    rows, columns = (x.grad[0].abs().sum(0).sum(axis).nonzero().flatten() for axis in (1, 0))
    for touched in (rows, columns):
        assert int(touched[-1] - touched[0]) + 1 == len(touched) == field


@pytest.mark.parametrize("training", [True, False])
def test_it_is_the_network_of_pix2pix(training):
    torch.manual_seed(0)
    discriminator = PatchDiscriminator(3, width=4).train(training)
    for parameter in discriminator.parameters():
        parameter.data.add_(0.2 * torch.randn_like(parameter))
    x, expected = torch.randn(2, 3, 40, 33), []
    y = x
    for i, block in enumerate(discriminator.blocks):
        y = F.conv2d(y, block[0].weight, block[0].bias, stride=2 if i < 3 else 1, padding=1)
        if 0 < i < 4:
            mean, variance = y.mean((2, 3), keepdim=True), y.var((2, 3), keepdim=True, correction=0)
            y = (y - mean) / (variance + 1e-5).sqrt() * block[1].weight.view(-1, 1, 1) + block[1].bias.view(-1, 1, 1)
        y = torch.where(y > 0, y, 0.2 * y) if i < 4 else y
        expected.append(y)
    features = discriminator(x)
    assert features[-1].shape == (2, 1, 3, 2)
    for feature, wanted in zip(features, expected, strict=True):
        torch.testing.assert_close(feature, wanted, rtol=1e-4, atol=1e-5)


def test_spectral_norm_bounds_every_layer():
    torch.manual_seed(0)
    discriminator = PatchDiscriminator(3, width=8, spectral_norm=True, norm="none")
    for block in discriminator.blocks:
        block[0].parametrizations.weight.original.data.mul_(50)
    for _ in range(30):  # each forward pass in training makes one power iteration
        discriminator(torch.randn(1, 3, 24, 24))
    discriminator.eval()
    for block in discriminator.blocks:
        assert torch.linalg.matrix_norm(block[0].weight.flatten(1), ord=2).item() == pytest.approx(1, abs=0.03)
    plain = PatchDiscriminator(3, width=8, norm="none")
    assert all(torch.linalg.matrix_norm(b[0].weight.flatten(1), ord=2) < 0.9 for b in plain.blocks)


def test_norms():
    assert not [m for m in PatchDiscriminator(3, norm="none").modules() if "Norm" in type(m).__name__]
    found = [type(m).__name__ for m in PatchDiscriminator(3, norm="batch").modules() if "Norm" in type(m).__name__]
    assert found == ["BatchNorm2d"] * 3


def test_the_smallest_image():
    discriminator = PatchDiscriminator(3, width=4)
    assert discriminator(torch.randn(1, 3, 24, 25))[-1].shape == (1, 1, 1, 1)
    with pytest.raises(ValueError, match=r"the image is 40×23; .* at least 24×24"):
        discriminator(torch.randn(1, 3, 40, 23))


@pytest.mark.parametrize("options", [{"norm": "layer"}, {"layers": 0}])
def test_wrong_options_are_refused(options):
    with pytest.raises(ValueError, match="at least 1 layer"):
        PatchDiscriminator(3, **options)
