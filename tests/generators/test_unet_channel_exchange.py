"""Channel exchange in the U-Net against the network written out, channel by channel."""

import copy

import pytest
import torch
from plain_networks import unet

from rgbx.fusion import Penalised, build_fusion
from rgbx.generators import ResNetGenerator, UNetGenerator
from rgbx.layers import StackLayout

NAMES = ("rgb", "depth", "thermal")
METHOD = {"name": "channel_exchange"}


def small(modalities=2, *, depth=5, norm="private", fusion=METHOD):
    layout = StackLayout(NAMES[:modalities])
    return UNetGenerator(layout, 2, width=5, depth=depth, dropout=0.0, norm=norm, fusion=build_fusion(fusion))


def by_the_rule(names, threshold):
    """x_m where |γ_m| is not below the threshold, else the mean of the others; what was normalised, not activated."""

    def exchange(maps, block):
        scales, out = [block.norm.norms[name].weight.tolist() for name in names], [x.clone() for x in maps]
        for m, own in enumerate(scales):
            others = [x for k, x in enumerate(maps) if k != m]
            for channel, scale in enumerate(own):
                if others and abs(scale) < threshold:
                    out[m][:, channel] = sum(x[:, channel] for x in others) / len(others)
        return out

    return exchange


@pytest.mark.parametrize("present", [NAMES[:2], NAMES, ("depth", "thermal"), ("depth",)])
def test_it_follows_the_rule_after_every_private_norm(present, maps, diverse):
    modalities = 2 if present == NAMES[:2] else 3
    generator = diverse(small(modalities, fusion={**METHOD, "threshold": 1.0}))  # near the median of the scales
    inputs = maps(present, (32, 64))
    expected = unet(generator, inputs, fused=(2, 3, 4), exchange=by_the_rule(present, 1.0))
    torch.testing.assert_close(generator(inputs)[0], expected, rtol=1e-4, atol=1e-5)
    if len(present) > 1:
        assert (expected - unet(generator, inputs)).abs().max() > 1e-3


def test_the_threshold_of_the_released_code(maps, diverse):
    generator = diverse(small())
    norm = generator.encoder[1].norm.norms
    with torch.no_grad():
        norm["rgb"].weight[:3] = torch.tensor([0.0099, -0.0099, 0.0101])
    inputs = maps(NAMES[:2], (32, 32))
    expected = unet(generator, inputs, fused=(2, 3, 4), exchange=by_the_rule(NAMES[:2], 0.01))
    torch.testing.assert_close(generator(inputs)[0], expected, rtol=1e-4, atol=1e-5)
    for threshold in (0.0098, 0.0102):
        other = unet(generator, inputs, fused=(2, 3, 4), exchange=by_the_rule(NAMES[:2], threshold))
        assert not torch.allclose(expected, other, atol=1e-4)


@pytest.mark.parametrize(("options", "weight"), [({}, 1e-3), ({"penalty_weight": 0.25}, 0.25)])
def test_penalty_is_a_sum_over_disjoint_halves_of_the_encoder_norms(options, weight, diverse):
    generator = diverse(small(fusion={**METHOD, **options}))
    by_hand = 0.0
    for block in generator.encoder[1:-1]:
        first, second = (block.norm.norms[name].weight.tolist() for name in NAMES[:2])
        half = len(first) // 2
        by_hand += sum(abs(x) for x in first[:half]) + sum(abs(x) for x in second[half:])
    penalty = sum(module.penalty() for module in generator.modules() if isinstance(module, Penalised))
    assert penalty.item() == pytest.approx(weight * by_hand, rel=1e-5)
    penalty.backward()
    moved = {name for name, p in generator.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    assert moved == {f"encoder.{i}.norm.norms.{name}.weight" for i in (1, 2, 3) for name in NAMES[:2]}


def test_blocks_2_to_7_of_the_published_depth_and_no_parameters():
    with torch.device("meta"):
        generator = UNetGenerator(StackLayout(NAMES[:2]), 3, fusion=build_fusion(METHOD))
        plain = UNetGenerator(StackLayout(NAMES[:2]), 3)
    assert [hasattr(block, "fusion") for block in generator.encoder] == [False, *6 * [True], False]
    assert list(generator.state_dict()) == list(plain.state_dict())


def test_a_copy_exchanges_by_its_own_scales(maps, diverse):
    generator = diverse(small())
    other = copy.deepcopy(generator)
    inputs = maps(NAMES[:2], (32, 32))
    before = generator(inputs)[0]
    for block in other.encoder[1:-1]:
        block.norm.norms["rgb"].weight.data.zero_()
    assert torch.equal(generator(inputs)[0], before)
    expected = unet(other, inputs, fused=(2, 3, 4), exchange=by_the_rule(NAMES[:2], 0.01))
    torch.testing.assert_close(other(inputs)[0], expected, rtol=1e-4, atol=1e-5)


def test_refusals():
    with pytest.raises(ValueError, match="choose norm='private'"):
        small(norm="shared")
    with pytest.raises(ValueError, match="after the norm that ends a block of a U-Net; found ConvBlock"):
        ResNetGenerator(StackLayout(NAMES[:2]), 3, width=4, blocks=2, fusion=build_fusion(METHOD))
