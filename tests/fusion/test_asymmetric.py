"""Fused blocks against the paper's equations written out modality by modality."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from rgbx.backbones._timm import timm
from rgbx.fusion import AsymmetricExchange, AsymmetricFusion
from rgbx.layers import StackLayout, replace_norms, separate_layers

resnet = timm.models.resnet


def exchange_lists(features, other_first):
    """S on a list of modalities, by slices, for M = 2."""
    kept = 4 * (features[0].shape[1] // 5)
    x1, x2 = features
    return [torch.cat([x1[:, :kept], x2[:, kept:]], 1), torch.cat([x2[:, :kept], x1[:, kept:]], 1)]


def shift(x, sign=1):
    """P by padding and cropping."""
    group = x.shape[1] // 5
    out = torch.zeros_like(x)
    height, width = x.shape[-2:]
    padded = F.pad(x, (1, 1, 1, 1))
    for k, (dy, dx) in enumerate([(-1, 0), (0, -1), (0, 1), (1, 0)]):
        rows, columns = 1 + sign * dy, 1 + sign * dx
        channels = slice(k * group, (k + 1) * group)
        out[:, channels] = padded[:, channels, rows : rows + height, columns : columns + width]
    return out


def norm_of(layer, name, x):
    private = layer.norms[name]
    return F.batch_norm(x, private.running_mean, private.running_var, private.weight, private.bias, eps=private.eps)


@pytest.fixture
def layout():
    return StackLayout(("rgb", "depth"))


def conv_of(layer, name, x):
    """A convolution that is shared, or the modality's own."""
    layer = layer.copies[name] if hasattr(layer, "copies") else layer
    return F.conv2d(x, layer.weight, padding=layer.padding)


def fused_block(block, layout, *, separate=False, **options):
    torch.manual_seed(0)
    for module in block.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
    replace_norms(block, layout)
    if separate:
        separate_layers(block, layout)
    for parameter in block.parameters():
        parameter.data.add_(0.05 * torch.randn_like(parameter))  # modalities differ
    return fuse(block, layout, **options).eval()


def fuse(block, layout, **options):
    """The block as the only one of a stage, fused."""
    stage = nn.Sequential(block)
    assert AsymmetricFusion(**options).fuse_stage(stage, 1, layout) is None
    return stage[0]


@pytest.mark.parametrize("separate", [False, True], ids=["shared", "separate"])
def test_bottleneck_follows_the_equations(layout, separate):
    block = fused_block(resnet.Bottleneck(40, 10), layout, separate=separate)
    x = torch.randn(4, 40, 6, 7)
    names, inputs = layout.modalities, x.chunk(2)
    a = [F.relu(norm_of(block.bn1, n, conv_of(block.conv1, n, v))) for n, v in zip(names, inputs, strict=True)]
    p = [shift(v) for v in a]
    b = [
        F.relu(norm_of(block.bn2, n, conv_of(block.conv2, n, v)))
        for n, v in zip(names, exchange_lists(a, True), strict=True)
    ]
    c = [b[0] + p[1], b[1] + p[0]]
    out = [
        F.relu(norm_of(block.bn3, n, conv_of(block.conv3, n, v)) + r)
        for n, v, r in zip(names, exchange_lists(c, True), inputs, strict=True)
    ]
    torch.testing.assert_close(block(x), torch.cat(out), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("separate", [False, True], ids=["shared", "separate"])
def test_basic_block_follows_its_equation(layout, separate):
    block = fused_block(resnet.BasicBlock(10, 10), layout, separate=separate)
    x = torch.randn(4, 10, 6, 7)
    names, inputs = layout.modalities, x.chunk(2)
    a = [F.relu(norm_of(block.bn1, n, conv_of(block.conv1, n, v))) for n, v in zip(names, inputs, strict=True)]
    shuffled = exchange_lists(a, True)
    b = [norm_of(block.bn2, n, conv_of(block.conv2, n, v)) for n, v in zip(names, shuffled, strict=True)]
    c = exchange_lists([b[0] + shift(a[1]), b[1] + shift(a[0])], True)
    out = [F.relu(v + r) for v, r in zip(c, inputs, strict=True)]
    torch.testing.assert_close(block(x), torch.cat(out), rtol=1e-4, atol=1e-5)


def switched_bottleneck(block, x, shuffle, shifted, receiver):
    """The equations of a bottleneck for M = 2 with what is left out written as such, for one receiver or all (None)."""

    def exchange(features):
        exchanged = exchange_lists(features, True) if shuffle else features
        return [e if receiver in (None, m) else f for m, (e, f) in enumerate(zip(exchanged, features, strict=True))]

    names, inputs = ("rgb", "depth"), x.chunk(2)
    a = [F.relu(norm_of(block.bn1, n, block.conv1(v))) for n, v in zip(names, inputs, strict=True)]
    b = [F.relu(norm_of(block.bn2, n, block.conv2(v))) for n, v in zip(names, exchange(a), strict=True)]
    c = [v + shift(a[1 - m]) if shifted and receiver in (None, m) else v for m, v in enumerate(b)]
    last = [norm_of(block.bn3, n, block.conv3(v)) for n, v in zip(names, exchange(c), strict=True)]
    return torch.cat([F.relu(v + r) for v, r in zip(last, inputs, strict=True)])


@pytest.mark.parametrize("receiver", [None, 0, 1])
@pytest.mark.parametrize(("shuffle", "shifted"), [(True, True), (True, False), (False, True), (False, False)])
def test_bottleneck_with_switches(layout, shuffle, shifted, receiver):
    receivers = None if receiver is None else [layout.modalities[receiver]]  # a list, as from a checkpoint
    block = fused_block(resnet.Bottleneck(40, 10), layout, shuffle=shuffle, shift=shifted, receivers=receivers)
    x = torch.randn(4, 40, 6, 7)
    expected = switched_bottleneck(block, x, shuffle, shifted, receiver)
    torch.testing.assert_close(block(x), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", [resnet.Bottleneck, resnet.BasicBlock])
def test_a_block_that_does_not_receive_is_a_plain_one(layout, kind):
    """Without both operations, or for the modality that only gives."""
    channels = 40 if kind is resnet.Bottleneck else 10
    plain = kind(channels, 10)
    replace_norms(plain, layout)
    off = fuse(copy.deepcopy(plain), layout, shuffle=False, shift=False).eval()
    one_way = fuse(copy.deepcopy(plain), layout, receivers=("depth",)).eval()
    x = torch.randn(4, channels, 5, 5)
    expected = plain.eval()(x)
    assert torch.equal(off(x), expected)
    torch.testing.assert_close(one_way(x)[:2], expected[:2])
    assert not torch.allclose(one_way(x)[2:], expected[2:])


@pytest.mark.parametrize("receivers", [("thermal",), ()])
def test_receivers_are_checked_at_build(layout, receivers):
    with pytest.raises(ValueError, match=r"receivers are .*; expected names out of"):
        fuse(resnet.BasicBlock(10, 10), layout, receivers=receivers)


@pytest.mark.parametrize("modalities", [2, 3])
def test_second_shift_reversed(modalities):
    layout = StackLayout("abc"[:modalities])
    exchange = AsymmetricExchange(layout, second_shift="reversed")
    a, b = torch.randn(2, modalities * 2, 10, 4, 5)
    a_parts, b_parts = a.chunk(modalities), b.chunk(modalities)
    c = [b_parts[m] + shift(a_parts[m - 1]) for m in range(modalities)]
    expected = []
    for m in range(modalities):
        shuffled = torch.cat([c[m][:, :8], c[(m + 1) % modalities][:, 8:]], 1)
        expected.append(shuffled + shift(c[m - 1], sign=-1))
    torch.testing.assert_close(exchange.shift_and_shuffle(b, a), torch.cat(expected))


def test_one_modality_present_means_a_plain_block(layout):
    original = resnet.Bottleneck(40, 10)
    replace_norms(original, layout)
    plain = copy.deepcopy(original).eval()
    fused = fuse(original, layout).eval()
    with layout.holding(["depth"]):
        x = torch.randn(2, 40, 5, 5)
        assert torch.equal(fused(x), plain(x))


def test_fused_block_keeps_the_layer_names(layout):
    block = resnet.BasicBlock(10, 10)
    names = set(block.state_dict())
    assert set(fuse(block, layout).state_dict()) == names


def test_strided_bottleneck_falls_back_or_refuses(layout):
    block = resnet.Bottleneck(40, 10, stride=2)
    stage = nn.Sequential(block)
    assert isinstance(AsymmetricFusion().fuse_stage(stage, 40, layout), AsymmetricExchange) and stage[0] is block
    with pytest.raises(ValueError, match="placement='stage'"):
        AsymmetricFusion(placement="block").fuse_stage(stage, 40, layout)
    with pytest.raises(ValueError, match="placement is 'inside'"):
        AsymmetricFusion(placement="inside")
