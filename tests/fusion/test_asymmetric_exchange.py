"""Every switch of the exchange against its two steps written out modality by modality, channel by channel."""

import itertools
from fractions import Fraction

import pytest
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from rgbx.fusion import AsymmetricExchange
from rgbx.layers import StackLayout
from rgbx.ops import channel_shuffle, shift_add_shuffle

CHANNELS, KEPT = 10, 8  # of ten channels the default fraction of a fifth exchanges two


def moved(channel, index, group, sign=1):
    """A channel [N, H, W] that its group moves down, right, left or up by one pixel; zero where it is in no group."""
    if index >= 4 * group:
        return torch.zeros_like(channel)
    height, width = channel.shape[1:]
    dy, dx = [(-1, 0), (0, -1), (0, 1), (1, 0)][index // group]
    top, left = 1 + sign * dy, 1 + sign * dx
    return F.pad(channel, (1, 1, 1, 1))[:, top : top + height, left : left + width]


def shuffled(features, receives, group):
    count, out = len(features), []
    for m, own in enumerate(features):
        other = features[(m + 1) % count]
        channels = [other[:, k] if receives[m] and k >= 4 * group else own[:, k] for k in range(own.shape[1])]
        out.append(torch.stack(channels, 1))
    return out


def with_shift(features, senders, receives, group, sign=1):
    """Each modality that receives gets the moved channels of the one before it."""
    out = []
    for m, own in enumerate(features):
        channels = list(own.unbind(1))
        if receives[m]:
            channels = [x + moved(senders[m - 1][:, k], k, group, sign) for k, x in enumerate(channels)]
        out.append(torch.stack(channels, 1))
    return out


def written_out(a, b, names, *, group, shuffle=True, shift=True, second_shift=None, receivers=None):
    """Step 1 of the list a, and step 2 of the lists b and a."""
    receives = [len(names) > 1 and (receivers is None or name in receivers) for name in names]
    first = shuffled(a, receives, group) if shuffle else a
    c = with_shift(b, a, receives, group) if shift else b
    second = shuffled(c, receives, group) if shuffle else c
    if second_shift == "reversed":
        second = with_shift(second, c, receives, group, sign=-1)
    return torch.cat(first), torch.cat(second)


def features(count, channels=CHANNELS):
    generator = torch.Generator().manual_seed(count)
    a, b = torch.randn(2, 2 * count, channels, 3, 4, generator=generator)
    return a, b


SWITCHES = [
    dict(),
    dict(shuffle=False),
    dict(shift=False),
    dict(shuffle=False, shift=False),
    dict(second_shift="reversed"),
    dict(shuffle=False, second_shift="reversed"),
]
PRESENT = ["ab", "abc", "ac", "bc", "c"]


@pytest.mark.parametrize("receivers", [None, "a", "b", "c", "ac", "abc"])
@pytest.mark.parametrize("present", PRESENT)
@pytest.mark.parametrize("switches", SWITCHES, ids=lambda s: "-".join(map(str, s.items())) or "default")
def test_both_steps_as_written_out(switches, present, receivers):
    options = dict(switches, receivers=None if receivers is None else tuple(receivers))
    a, b = features(len(present))
    exchange = AsymmetricExchange(StackLayout("abc"), **options)
    parts = [x.chunk(len(present)) for x in (a, b)]
    first, second = written_out(*parts, present, group=2, **options)
    with exchange.layout.holding(present):
        torch.testing.assert_close(exchange.shuffle(a), first, rtol=0, atol=0)
        torch.testing.assert_close(exchange.shift_and_shuffle(b, a), second)


@pytest.mark.parametrize(("fraction", "group"), [(0, 3), (Fraction(1, 3), 2), (0.5, 1), (1, 0)])
@pytest.mark.parametrize("switches", SWITCHES, ids=lambda s: "-".join(map(str, s.items())) or "default")
def test_any_fraction(switches, fraction, group):
    """Of thirteen channels."""
    a, b = features(2, channels=13)
    exchange = AsymmetricExchange(StackLayout("ab"), fraction=fraction, receivers=("b",), **switches)
    first, second = written_out(a.chunk(2), b.chunk(2), "ab", group=group, receivers="b", **switches)
    torch.testing.assert_close(exchange.shuffle(a), first, rtol=0, atol=0)
    torch.testing.assert_close(exchange.shift_and_shuffle(b, a), second)


def changed(before, after, count):
    """Pairs (modality, channel) in which two stacks differ."""
    differs = (before != after).unflatten(0, (count, -1)).any(4).any(3).any(1)
    return {(int(m), int(k)) for m, k in differs.nonzero()}


def cells(modalities, channels):
    return set(itertools.product(modalities, channels))


@pytest.mark.parametrize("count", [2, 3])
def test_each_switch_changes_its_channels_and_no_others(count):
    a, b = features(count)
    names, everyone = "abc"[:count], range(count)

    def steps(**options):
        exchange = AsymmetricExchange(StackLayout(names), **options)
        return exchange.shuffle(a), exchange.shift_and_shuffle(b, a)

    def differences(other, reference):
        return [changed(x, y, count) for x, y in zip(reference, other, strict=True)]

    both, exchanged, shifted = steps(), range(KEPT, CHANNELS), range(KEPT)
    assert differences(steps(shuffle=False), both) == [cells(everyone, exchanged)] * 2
    assert differences(steps(shift=False), both) == [set(), cells(everyone, shifted)]
    assert differences(steps(shuffle=False, shift=False), (a, b)) == [set(), set()]
    assert differences(steps(second_shift="reversed"), both) == [set(), cells(everyone, shifted)]
    for name in names:
        others = [m for m in everyone if names[m] != name]
        one_way = differences(steps(receivers=(name,)), both)
        assert one_way == [cells(others, exchanged), cells(others, range(CHANNELS))]
        kept = differences(steps(receivers=(name,)), (a, b))
        assert {m for m, _ in kept[0] | kept[1]} == {names.index(name)}, "only the receiver has changed"


class Recorded(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.append(str(func))
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("receivers", [None, ("a",)])
def test_the_default_is_the_two_fused_operations_alone(receivers):
    a, b = features(2)
    exchange = AsymmetricExchange(StackLayout("ab"), receivers=receivers)
    with Recorded() as found:
        outputs = exchange.shuffle(a), exchange.shift_and_shuffle(b, a)
    with Recorded() as alone:
        expected = channel_shuffle(a, 2), shift_add_shuffle(b, a, 2)
    assert (found.names == alone.names) == (receivers is None)
    for output, reference in zip(outputs, expected, strict=True):
        assert torch.equal(output, reference) == (receivers is None)


@pytest.mark.parametrize("options", [dict(receivers=("b",)), dict(shuffle=False, second_shift="reversed")])
def test_gradients_as_written_out(options):
    a, b = (x.double().requires_grad_() for x in features(3))
    exchange = AsymmetricExchange(StackLayout("abc"), **options)
    cotangent = torch.randn(b.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    _, second = written_out(a.chunk(3), b.chunk(3), "abc", group=2, **options)
    expected = torch.autograd.grad((second * cotangent).sum(), (a, b))
    found = torch.autograd.grad((exchange.shift_and_shuffle(b, a) * cotangent).sum(), (a, b))
    for x, y in zip(found, expected, strict=True):
        torch.testing.assert_close(x, y)


@pytest.mark.parametrize("options", [dict(receivers=("b",)), dict(shuffle=False), dict(second_shift="reversed")])
def test_exports_with_a_dynamic_batch(options):
    exchange = AsymmetricExchange(StackLayout("ab"), **options)
    half = torch.export.Dim("half", min=2, max=16)
    program = torch.export.export(exchange, (features(2)[0],), dynamic_shapes=({0: 2 * half},))
    x = torch.randn(10, CHANNELS, 3, 4)
    torch.testing.assert_close(program.module()(x), exchange(x))


def test_memory_format_and_mixed_precision_stay():
    a, b = (x.to(memory_format=torch.channels_last) for x in features(2))
    for options in (dict(receivers=("b",)), dict(shuffle=False)):
        exchange = AsymmetricExchange(StackLayout("ab"), **options)
        assert exchange.shift_and_shuffle(b, a).is_contiguous(memory_format=torch.channels_last)
        assert exchange.shift_and_shuffle(b.bfloat16(), a).dtype == torch.float32


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(receivers=("depth",)), r"receivers are \('depth',\); expected names out of \('a', 'b'\)"),
        (dict(receivers=()), "at least one"),
        (dict(receivers="a"), "receivers are 'a'"),
        (dict(second_shift="back"), "second_shift is 'back'"),
        (dict(second_shift="reversed", shift=False), "shift is False"),
    ],
)
def test_contradictions_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        AsymmetricExchange(StackLayout("ab"), **options)
