"""Codes: what the losses train and what they leave alone; values are compared with references in test_streams.py."""

import pytest
import torch

from rgbx.layers.decoupled import DecoupledGraph, DoubleDiscriminator, PooledEncoders, hsic

NAMES = ("rgb", "depth")


def codes(seed=0, count=6, width=4):
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(count, width, generator=generator).requires_grad_() for name in NAMES}


def test_hsic_tells_dependence():
    a, b = torch.randn(4000, 3, generator=torch.Generator().manual_seed(0)).split([1, 2], 1)
    assert hsic(a, b) < 0.01 < 0.5 < hsic(a, torch.cat([-a + b[:, :1], b[:, 1:]], 1))
    assert hsic(a[:1], b[:1]) == 0  # of one sample


def test_exclusive_codes_help_and_agnostic_codes_mislead():
    torch.manual_seed(0)
    discriminator, given = DoubleDiscriminator(NAMES, 4), codes()
    told = {}
    for kind in ("exclusive", "agnostic"):
        found = torch.autograd.grad(getattr(discriminator, f"{kind}_loss")(given), list(given.values()))
        moved = {name: x - 0.1 * g for (name, x), g in zip(given.items(), found, strict=True)}
        told[kind] = discriminator.exclusive_loss(moved) - discriminator.exclusive_loss(given)
    assert told["exclusive"] < 0 < told["agnostic"]


def test_the_discriminator_learns_from_both():
    torch.manual_seed(0)
    discriminator, given = DoubleDiscriminator(NAMES, 4), codes()
    for kind in ("exclusive", "agnostic"):
        value = getattr(discriminator, f"{kind}_loss")(given)
        gradient = torch.autograd.grad(value, list(discriminator.modality.parameters()))
        with torch.no_grad():
            for parameter, g in zip(discriminator.modality.parameters(), gradient, strict=True):
                parameter -= 0.1 * g
        assert getattr(discriminator, f"{kind}_loss")(given) < value


def test_importance_is_learnt_by_itself_alone():
    discriminator, given = DoubleDiscriminator(NAMES, 4), codes()
    assert not any(x.requires_grad for x in discriminator.weights(given).values())
    discriminator.importance_loss(given).backward()
    assert all(x.grad is None for x in given.values()) and discriminator.modality.weight.grad is None
    assert discriminator.importance.weight.grad.abs().sum() > 0
    discriminator.importance.weight.grad = None
    (discriminator.agnostic_loss(given) + discriminator.exclusive_loss(given)).backward()
    assert discriminator.importance.weight.grad is None


def test_scaled_weights_keep_the_game_going_where_all_is_told():
    torch.manual_seed(0)
    discriminator, given = DoubleDiscriminator(NAMES, 4), codes()
    with torch.no_grad():
        for k, name in enumerate(NAMES):
            given[name][:, 0] = 10.0 * (1 - 2 * k)
        discriminator.importance.weight.copy_(torch.tensor([[1.0, 0, 0, 0], [-1.0, 0, 0, 0]]))
    unscaled, scaled = (discriminator.agnostic_loss(given, scaled=scaled) for scaled in (False, True))
    even = discriminator.exclusive_loss(given) / 2  # ω is 1 − 1/M where D knows nothing
    assert unscaled < 1e-6
    torch.testing.assert_close(scaled, even, rtol=0.3, atol=0)


@pytest.mark.parametrize("own", [True, False])
def test_a_node_alone_is_its_own_neighbour(own):
    graph, x = DecoupledGraph(4, own_neighbour=own), torch.randn(3, 4)
    torch.testing.assert_close(graph([x]), graph.project(x).sigmoid())


def test_agnostic_codes_have_one_encoder():
    encoders, x = PooledEncoders(NAMES, 4, 3), torch.randn(2, 4)
    exclusive, agnostic = encoders(dict.fromkeys(NAMES, x), dict.fromkeys(NAMES, x))
    assert torch.equal(agnostic["rgb"], agnostic["depth"]) and not torch.equal(exclusive["rgb"], exclusive["depth"])
