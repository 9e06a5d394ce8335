"""Private batch norms that write into one result give what torch's own gives of each part, in all bits."""

import copy

import pytest
import torch
from torch import nn

from rgbx.layers import ModalityNorm, StackLayout
from rgbx.layers.batch_norm import can_be_stacked, stacked_batch_norm
from rgbx.layers.private import untracked

NAMES = ("rgb", "depth", "thermal")


def norm_of(count: int = 5, **options: object) -> ModalityNorm:
    torch.manual_seed(0)
    norm = ModalityNorm(nn.BatchNorm2d(count, **options), StackLayout(NAMES))
    with torch.no_grad():
        for values in (*norm.parameters(), *(b for b in norm.buffers() if b.is_floating_point())):
            values += torch.rand_like(values)
    return norm


def stack_of(dtype: torch.dtype = torch.float32, *, last: bool = True) -> torch.Tensor:
    x = torch.randn(6, 5, 4, 7, generator=torch.Generator().manual_seed(1)).to(dtype)
    return x.contiguous(memory_format=torch.channels_last if last else torch.contiguous_format).requires_grad_()


@pytest.mark.parametrize("last", [True, False])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("options", [{}, {"momentum": None}, {"eps": 0.1}], ids=str)
def test_is_torchs_own_of_each_part(training: bool, last: bool, options: dict[str, float]) -> None:
    own = norm_of(**options).train(training)
    theirs = copy.deepcopy(own)
    x = stack_of(last=last)
    z = x.detach().clone(memory_format=torch.preserve_format).requires_grad_()
    assert can_be_stacked(list(own.norms.values()), x)
    for _ in range(2):  # the second time statistics are not those of the start
        y = own(x)
        plain = torch.cat([norm(part) for norm, part in zip(theirs.norms.values(), z.chunk(3), strict=True)])
        assert torch.equal(y, plain) and y.stride() == x.stride()
        gradient = torch.randn_like(plain)
        y.backward(gradient)
        plain.backward(gradient)
    assert torch.equal(x.grad, z.grad)
    for a, b in zip(own.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(a.grad, b.grad)
    for a, b in zip(own.buffers(), theirs.buffers(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("training", [True, False])
def test_gradients_of_both_orders_are_right(training: bool) -> None:
    norm = norm_of().double().train(training)
    norms = list(norm.norms.values())

    def call(x: torch.Tensor, *affine: torch.Tensor) -> torch.Tensor:
        copies = copy.deepcopy(norms)
        for each, weight, bias in zip(copies, affine[:3], affine[3:], strict=True):
            del each.weight, each.bias
            each.weight, each.bias = weight, bias
        return stacked_batch_norm(x, copies)

    given = (stack_of(torch.float64), *(n.weight for n in norms), *(n.bias for n in norms))
    assert torch.autograd.gradcheck(call, given)
    assert torch.autograd.gradgradcheck(call, given)


def test_statistics_stay_where_they_are_not_tracked() -> None:
    norm = norm_of()
    before = {name: x.clone() for name, x in norm.named_buffers()}
    with untracked(norm.modules()):
        tracked = norm(stack_of())
    assert all(torch.equal(x, before[name]) for name, x in norm.named_buffers())
    assert torch.equal(tracked, norm(stack_of()))


def test_one_value_has_no_statistics() -> None:
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        norm_of()(torch.randn(3, 5, 1, 1))


@pytest.mark.parametrize("other", ["bfloat16", "instance", "one frozen of three", "no affine"])
def test_others_go_the_plain_way(other: str) -> None:
    norm, x = norm_of(), stack_of()
    if other == "bfloat16":
        x = x.bfloat16()
    elif other == "instance":
        norm = ModalityNorm(nn.InstanceNorm2d(5, affine=True), StackLayout(NAMES))
    elif other == "one frozen of three":
        norm.norms["depth"].eval()
    else:
        norm = ModalityNorm(nn.BatchNorm2d(5, affine=False), StackLayout(NAMES))
    norms = list(norm.norms.values())
    assert can_be_stacked(norms, x) == (other == "one frozen of three")
    plain = torch.cat([each(part) for each, part in zip(copy.deepcopy(norms), x.chunk(3), strict=True)])
    assert torch.allclose(norm(x), plain)


def parts_by_definition(x: torch.Tensor) -> torch.Tensor:
    """(x - mean) / sqrt(variance + eps) of each part in float64."""
    parts = [part.double() for part in x.detach().chunk(3)]
    return torch.cat(
        [(p - p.mean((0, 2, 3), True)) / (p.var((0, 2, 3), unbiased=False, keepdim=True) + 1e-5).sqrt() for p in parts]
    )


@pytest.mark.parametrize("layout", ["cut", "channels", "turned", "spread"])
def test_maps_that_are_not_dense(layout: str) -> None:
    whole = torch.randn(6, 9, 8, 8, requires_grad=True)
    x = {
        "cut": whole[:, :5, :6, :6], "channels": whole[:, 2:7], "turned": whole[:, :5].transpose(2, 3),
        "spread": whole[:, :1].expand(-1, 5, -1, -1),
    }[layout]  # fmt: skip
    norm = ModalityNorm(nn.BatchNorm2d(5), StackLayout(NAMES)).train()
    torch.testing.assert_close(norm(x).double(), parts_by_definition(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("channels", [4, 7])
def test_other_channels_are_refused_as_torch_does(channels: int) -> None:
    norm = ModalityNorm(nn.BatchNorm2d(5), StackLayout(NAMES)).train()
    with pytest.raises(RuntimeError, match=f"running_mean should contain {channels} elements not 5"):
        norm(torch.randn(6, channels, 4, 4, requires_grad=True))


class Twice(nn.BatchNorm2d):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 2 * super().forward(x)


def test_a_norm_of_ones_own_and_what_watches_one_are_called() -> None:
    x = stack_of()
    own = ModalityNorm(Twice(5), StackLayout(NAMES)).train()
    torch.testing.assert_close(own(x).double(), 2 * parts_by_definition(x), rtol=1e-5, atol=1e-5)
    watched, seen = norm_of(), []
    watched.norms["depth"].register_full_backward_hook(lambda *_: seen.append(1))
    watched(x).sum().backward()
    assert seen == [1]


def test_statistics_that_change_before_the_backward_pass() -> None:
    """As with torch's own: a gradient of other statistics than those of the forward pass is refused."""
    norm = norm_of().eval()
    y = norm(stack_of())
    with torch.no_grad():
        norm.norms["rgb"].running_var.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()
