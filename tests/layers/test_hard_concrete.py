"""The hard-concrete gate and the purification of sequences: loops, the authors' published numbers, gradients."""

import math

import numpy as np
import pytest
import torch

from rgbx.layers import SequencePurification
from rgbx.layers.hard_concrete import OPENS_AT, drawn, hard_concrete, margin, openness

FORMS = ("noise", "half")
NAMES = {"pooler3": "score", "imp_ratio": "decide", "lstm": "lstm"}  # released name: ours


@pytest.fixture(scope="module")
def answers(companion):
    return {name: torch.from_numpy(values) for name, values in companion("mim").answers.items()}


@pytest.fixture(scope="module")
def weights(companion):
    """The released network's seeded weights under our names."""
    _, shapes, tensor = companion("mim")
    found = {}
    for name, shape in shapes.items():
        _, layer, rest = name.split(".", 2)
        if layer in NAMES:
            values = torch.from_numpy(tensor(name, shape))
            found[f"{NAMES[layer]}.{rest}"] = 30 * values - 3 if name == "upn.imp_ratio.2.bias" else values
    return found


def close(found, expected):
    """Within 1e-5 of the largest value."""
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5 * max(float(expected.abs().max()), 1e-12))


def by_loop(logit, u):
    """The stretched and clipped value, in doubles."""
    s = 1 / (1 + math.exp(-3 * (math.log(u) - math.log(1 - u) + logit + 3)))
    return min(max(1.2 * s - 0.2, 0), 1)


@pytest.mark.parametrize("noisy", [True, False])
def test_masks_are_those_of_a_loop(noisy):
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(7, 31, generator=generator) - 2.5
    noise = torch.rand(7, 31, generator=generator).clamp(1e-4, 1 - 1e-4) if noisy else None
    found = hard_concrete(logits, noise)
    for i, logit in enumerate(logits.flatten().tolist()):
        value = by_loop(logit, float(noise.flatten()[i]) if noisy else 0.5)
        assert abs(value - 0.6) < 1e-6 or found.flatten()[i] == float(value > 0.6)
    assert 0.2 < found.mean() < 0.8 and set(found.unique().tolist()) == {0.0, 1.0}


def test_gradient_is_that_of_the_clipped_value():
    logits = torch.linspace(-4, 0, 41, dtype=torch.float64).float().requires_grad_()
    (found,) = torch.autograd.grad(hard_concrete(logits).sum(), logits)
    step = 1e-5
    expected = [(by_loop(x + step, 0.5) - by_loop(x - step, 0.5)) / (2 * step) for x in logits.tolist()]
    torch.testing.assert_close(found, torch.tensor(expected), rtol=1e-3, atol=1e-4)
    assert (found > 0.1).any() and (found == 0).any()


def test_it_starts_open_and_closes_below_its_margin():
    assert pytest.approx(math.log(2) / 3 - 3) == OPENS_AT
    around = torch.tensor([0.0, OPENS_AT + 1e-4, OPENS_AT - 1e-4])
    assert hard_concrete(around).tolist() == [1, 1, 0]
    assert (margin(around) > 0).tolist() == [True, True, False]


@pytest.mark.parametrize("logit", [-4.0, -2.8, -1.5, 0.0])
def test_probabilities_are_shares_of_draws(logit):
    torch.manual_seed(0)
    logits = torch.full((200_000,), logit)
    noise = drawn(logits)
    assert hard_concrete(logits, noise).mean() == pytest.approx(float(margin(logits[:1]).sigmoid()), abs=5e-3)
    nonzero = np.mean([by_loop(logit, u) > 0 for u in noise[:20_000].clamp(1e-6, 1 - 1e-6).tolist()])
    assert nonzero == pytest.approx(float(openness(logits[:1])), abs=2e-2)


@pytest.mark.parametrize("u", [0.0, 1e-38, 1 - 2**-24])
def test_the_ends_of_the_noise_have_finite_gradients(u):
    logits = torch.zeros(3, requires_grad=True)
    mask = hard_concrete(logits, torch.full((3,), u))
    mask.sum().backward()
    assert mask.tolist() == [float(u > 0.5)] * 3 and logits.grad.tolist() == [0] * 3


def test_half_precision_is_computed_in_float32():
    logits = torch.linspace(-4, 0, 50).bfloat16()
    assert torch.equal(hard_concrete(logits), hard_concrete(logits.float()))
    assert hard_concrete(logits).dtype == openness(logits).dtype == margin(logits).dtype == torch.float32


@pytest.mark.parametrize("form", FORMS)
def test_the_authors_gate(form, answers):
    logits = answers["gate/logits"].requires_grad_()
    mask = hard_concrete(logits, answers["gate/noise"] if form == "noise" else None)
    assert torch.equal(mask, answers[f"gate/{form}/mask"])
    (gradient,) = torch.autograd.grad((mask * answers["gate/cotangent"]).sum(), logits)
    close(gradient, answers[f"gate/{form}/grad_mask"])
    penalty = openness(logits).mean()
    close(penalty, answers[f"gate/{form}/penalty"])
    close(*torch.autograd.grad(penalty, logits), answers[f"gate/{form}/grad_penalty"])


@pytest.mark.parametrize("form", FORMS)
def test_the_authors_purification_of_a_sequence(form, answers, weights):
    network = SequencePurification(10, 8).eval()
    network.load_state_dict(weights)
    found = network(answers["upn/input"], answers["upn/noise"] if form == "noise" else None)
    close(found.logits, answers[f"upn/{form}/logits"])
    assert torch.equal(found.mask, answers[f"upn/{form}/mask"]) and 0 < found.mask.mean() < 1
    close(found.pooled, answers[f"upn/{form}/output"])
    close(found.penalty(), answers[f"upn/{form}/penalty"])
    (found.pooled.square().sum() + 0.1 * found.penalty()).backward()
    prefix = f"gradnorm/upn/{form}/"
    norms = {name.removeprefix(prefix): norm for name, norm in answers.items() if name.startswith(prefix)}
    assert len(norms) == 5
    for name, norm in norms.items():
        layer, _, rest = name.partition(".")
        close(network.get_parameter(f"{NAMES[layer]}.{rest}").grad.norm(), norm)


def test_sequences_draw_noise_in_training_and_where_told_to():
    torch.manual_seed(0)
    network, x = SequencePurification(20, 6), torch.randn(20, 5, 6)
    torch.nn.init.constant_(network.decide[2].bias, OPENS_AT)
    network.train()
    assert not torch.equal(network(x).mask, network(x).mask)
    network.eval()
    assert torch.equal(network(x).mask, network(x).mask)
    network.test_noise = True
    assert not torch.equal(network(x).mask, network(x).mask)
    with pytest.raises(ValueError, match="length 4 and width 6"):
        SequencePurification(4, 6)
