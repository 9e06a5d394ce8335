"""Gradient reversal by its two equations: R(x) = x and dR/dx = −λ."""

import pytest
import torch

from rgbx.layers import reverse_gradient


@pytest.mark.parametrize("scale", [1.0, 0.25, 0.0])
def test_values_stay_and_gradients_turn(scale):
    x = torch.randn(3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64, requires_grad=True)
    weights = torch.arange(12.0, dtype=torch.float64).view(3, 4)
    found = reverse_gradient(x, scale)
    assert torch.equal(found, x)
    (gradient,) = torch.autograd.grad((weights * found**2).sum() + (5 * x).sum(), x)
    torch.testing.assert_close(gradient, -scale * 2 * weights * x + 5)


def test_twice_is_the_product():
    x = torch.ones(2, requires_grad=True)
    reverse_gradient(reverse_gradient(x, 2.0), 3.0).sum().backward()
    assert x.grad.tolist() == [6.0, 6.0]


def test_a_minimax_by_one_optimizer():
    """What follows descends its loss while what comes before ascends it."""
    before, after = torch.tensor(2.0, requires_grad=True), torch.tensor(3.0, requires_grad=True)
    (after * reverse_gradient(before, 0.5)).backward()
    assert (before.grad.item(), after.grad.item()) == (-1.5, 2.0)


def test_what_needs_no_gradient_passes():
    x = torch.ones(2)
    assert reverse_gradient(x) is x
    with torch.no_grad():
        y = torch.ones(2, requires_grad=True)
        assert torch.equal(reverse_gradient(y), y)
