"""The decoder by itself; its equality with the authors' is tested where their checkpoints are converted."""

import pytest
import torch
from torch import nn

from rgbx.heads import RefineNetDecoder
from rgbx.heads.refinenet import ChainedPooling, ResidualUnit
from rgbx.layers import StackLayout

CHANNELS = (6, 8, 10, 12)
SIZES = ((13, 20), (7, 10), (4, 5), (2, 3))  # of an image of 51x77


@pytest.fixture
def decoder():
    torch.manual_seed(0)
    return RefineNetDecoder(CHANNELS, 5, StackLayout(("rgb", "depth")), width=4).eval()


def features(count, **options):
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(count, c, *s, generator=generator, **options) for c, s in zip(CHANNELS, SIZES, strict=True)]


def test_one_pass_on_the_stack_is_a_pass_per_image(decoder):
    stack = features(6)
    logits = decoder(stack)
    assert logits.shape == (6, 5, 13, 20)
    torch.testing.assert_close(logits, torch.cat([decoder([f[i : i + 1] for f in stack]) for i in range(6)]))


@pytest.mark.parametrize("count", [1, 2, 4])
def test_takes_any_number_of_stages(count):
    decoder = RefineNetDecoder(CHANNELS[:count], 5, StackLayout(("rgb",)), width=4)
    assert decoder(features(2)[:count]).shape == (2, 5, 13, 20)


def test_every_stage_reaches_the_logits(decoder):
    stages = features(1, requires_grad=True)
    decoder(stages).square().sum().backward()
    assert all(f.grad.abs().sum() > 0 for f in stages)


def test_dropout_acts_on_the_two_deepest_stages_and_before_the_classifier(decoder):
    seen = []
    decoder.dropout.register_forward_hook(lambda module, inputs, output: seen.append(tuple(inputs[0].shape[1:])))
    decoder(features(1))
    assert seen == [(12, 2, 3), (10, 4, 5), (4, 13, 20)]
    assert type(decoder.dropout) is nn.Dropout and decoder.dropout.p == 0.5


def test_the_shortcut_of_a_residual_unit_is_rectified():
    unit = ResidualUnit(3)
    for parameter in unit.parameters():
        nn.init.zeros_(parameter)
    x = torch.randn(2, 3, 4, 5)
    assert torch.equal(unit(x), x.clamp(min=0))


def test_pooling_chains_its_stages():
    """With identity convolutions, k stages of 5x5 pooling see the maximum of a window of 4k + 1."""
    pooling = ChainedPooling(1, 2)
    for conv in pooling.convs:
        nn.init.dirac_(conv.weight)
    x = torch.rand(1, 1, 12, 14)

    def largest(radius):
        rows = [[x[0, 0, max(i - radius, 0) : i + radius + 1, max(j - radius, 0) : j + radius + 1].max()
                 for j in range(14)] for i in range(12)]  # fmt: skip
        return torch.tensor(rows)[None, None]

    torch.testing.assert_close(pooling(x), x + largest(2) + largest(4))
