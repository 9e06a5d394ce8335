"""Channel exchange against loops over channels, with made norm scales."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from rgbx.backbones._timm import timm
from rgbx.fusion import build_fusion
from rgbx.layers import StackLayout, replace_norms, separate_layers

resnet = timm.models.resnet
NAMES = ("rgb", "depth", "ir")
BLOCKS = {"bottleneck": (resnet.Bottleneck, (40, 10), "bn2"), "basic": (resnet.BasicBlock, (12, 12), "bn1")}


def made_stage(layout, kind, norm="private", blocks=1):
    """A stage whose norm scales differ between modalities, unfused."""
    torch.manual_seed(0)
    block, sizes, _ = BLOCKS[kind]
    stage = nn.Sequential(*(block(*sizes) for _ in range(blocks)))
    replace_norms(stage, layout, norm)
    for parameter in stage.parameters():
        parameter.data += 0.2 * torch.randn_like(parameter)
    return stage.eval()


def fuse(stage, layout, **fields):
    assert build_fusion({"name": "channel_exchange", **fields}).fuse_stage(stage, 1, layout) is None
    return stage


def exchange_loop(features, scales, threshold):
    """The rule, channel by channel."""
    out = [x.clone() for x in features]
    for m in range(len(features)):
        others = [x for k, x in enumerate(features) if k != m]
        for c, scale in enumerate(scales[m].tolist()):
            if abs(scale) < threshold:
                out[m][:, c] = sum(x[:, c] for x in others) / len(others)
    return out


def norm_of(layer, name, x):
    private = layer.norms[name]
    return F.batch_norm(x, private.running_mean, private.running_var, private.weight, private.bias, eps=private.eps)


def expected_block(block, kind, names, inputs, threshold):
    """A block modality by modality."""

    def exchanged(norm, values):
        values = [norm_of(norm, n, v) for n, v in zip(names, values, strict=True)]
        return exchange_loop(values, [norm.norms[n].weight for n in names], threshold)

    if kind == "basic":
        a = [F.relu(v) for v in exchanged(block.bn1, [block.conv1(v) for v in inputs])]
        c = [norm_of(block.bn2, n, block.conv2(v)) for n, v in zip(names, a, strict=True)]
    else:
        a = [F.relu(norm_of(block.bn1, n, block.conv1(v))) for n, v in zip(names, inputs, strict=True)]
        b = [F.relu(v) for v in exchanged(block.bn2, [block.conv2(v) for v in a])]
        c = [norm_of(block.bn3, n, block.conv3(v)) for n, v in zip(names, b, strict=True)]
    return torch.cat([F.relu(v + r) for v, r in zip(c, inputs, strict=True)])


@pytest.mark.parametrize("kind", BLOCKS)
@pytest.mark.parametrize("modalities", [2, 3])
def test_block_follows_the_rule(kind, modalities):
    layout = StackLayout(NAMES[:modalities])
    stage = made_stage(layout, kind)
    norm = getattr(stage[0], BLOCKS[kind][2])
    with torch.no_grad():
        norm.norms["rgb"].weight[:3] = torch.tensor([0.49, -0.3, -0.51])  # two below the threshold
        norm.norms["depth"].weight[2:6] = 0.0
    fuse(stage, layout, threshold=0.5)
    x = torch.randn(modalities * 2, BLOCKS[kind][1][0], 5, 6)
    expected = expected_block(stage[0], kind, layout.modalities, x.chunk(modalities), 0.5)
    assert sum(int((norm.norms[n].weight.abs() < 0.5).sum()) for n in layout.modalities) >= 6
    torch.testing.assert_close(stage(x), expected, rtol=1e-4, atol=1e-5)


def test_every_block_is_fused_and_keeps_its_layer_names():
    layout = StackLayout(NAMES[:2])
    stage = made_stage(layout, "bottleneck", blocks=3)
    names = list(stage.state_dict())
    fuse(stage, layout)
    assert list(stage.state_dict()) == names
    assert [type(block).__name__ for block in stage] == ["ChannelExchangeBottleneck"] * 3


@pytest.mark.parametrize("kind", BLOCKS)
def test_plain_network_above_the_threshold_and_with_one_modality(kind):
    layout = StackLayout(NAMES[:2])
    plain = made_stage(layout, kind, blocks=2)
    x = torch.randn(2, BLOCKS[kind][1][0], 5, 5)
    assert torch.equal(fuse(copy.deepcopy(plain), layout, threshold=0.0)(x), plain(x))
    with layout.holding(["depth"]):
        same_layout = copy.deepcopy(plain, {id(layout): layout})
        assert torch.equal(fuse(same_layout, layout, threshold=9.0)(x), plain(x))


def test_gradient_of_a_replaced_channel_goes_to_the_other_modality():
    layout = StackLayout(NAMES[:2])
    stage = made_stage(layout, "basic")
    norms = stage[0].bn1.norms
    with torch.no_grad():
        for norm in norms.values():
            norm.weight.fill_(1.0)
        norms["rgb"].weight[4] = 1e-3
    fuse(stage, layout)
    stage(torch.randn(2, 12, 5, 5)).square().sum().backward()
    assert norms["rgb"].weight.grad[4] == 0 and norms["rgb"].bias.grad[4] == 0
    assert (norms["rgb"].weight.grad[[*range(4), *range(5, 12)]] != 0).all()
    stage.zero_grad()
    stage(torch.randn(2, 12, 5, 5))[:1].square().sum().backward()  # RGB's output alone
    assert norms["depth"].weight.grad.nonzero().flatten().tolist() == [4]


@pytest.mark.parametrize("modalities", [2, 3])
def test_penalty_is_a_sum_over_disjoint_parts(modalities):
    layout = StackLayout(NAMES[:modalities])
    stage = fuse(made_stage(layout, "bottleneck"), layout, penalty_weight=0.5)
    scales = [stage[0].bn2.norms[name].weight.tolist() for name in layout.modalities]
    parts = {2: [range(5), range(5, 10)], 3: [range(3), range(3, 6), range(6, 10)]}[modalities]
    by_hand = 0.5 * sum(abs(scales[m][c]) for m, part in enumerate(parts) for c in part)
    with layout.holding(["rgb"]):
        penalty = stage[0].penalty()
        assert penalty.item() == pytest.approx(by_hand)
        penalty.backward()
        for m, (name, part) in enumerate(zip(layout.modalities, parts, strict=True)):
            signs = [0.5 * ((s > 0) - (s < 0)) if c in part else 0 for c, s in enumerate(scales[m])]
            assert stage[0].bn2.norms[name].weight.grad.tolist() == pytest.approx(signs)


def test_scales_of_affine_norms_and_of_separate_encoders():
    layout = StackLayout(NAMES[:2])
    x = torch.randn(2, 40, 5, 5)
    for norm in ("affine", "shared"):
        stage = made_stage(layout, "bottleneck", norm)
        if norm == "shared":
            separate_layers(stage, layout)
        plain = copy.deepcopy(stage)
        fuse(stage, layout, threshold=9.0)  # all channels are exchanged: each goes on with the other's
        block = stage[0]
        a = block.bn2(block.conv2(block.act1(block.bn1(block.conv1(x)))))
        expected = block.act3(block.bn3(block.conv3(block.act2(a.flip(0)))) + x)
        torch.testing.assert_close(stage(x), expected)
        assert not torch.allclose(plain(x), expected)
        assert stage[0].penalty() > 0


def test_refusals():
    layout = StackLayout(NAMES[:2])
    with pytest.raises(ValueError, match=r"found BatchNorm2d for all; choose norm='private'"):
        fuse(made_stage(layout, "basic", "shared"), layout)
    with pytest.raises(ValueError, match=r"a block of a U-Net; found Sequential\(Conv2d\)"):
        fuse(nn.Sequential(nn.Conv2d(1, 1, 1)), layout)
