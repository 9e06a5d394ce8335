"""Losses of image translation against the published formulas, computed by hand or in numpy."""

import numpy as np
import pytest
import torch

from rgbx.losses import AdversarialLoss, feature_matching, l1_loss

REAL, FAKE = [0.5, -1.0, 3.0], [-2.0, 0.25, 1.5]


def sigmoid(x):
    return 1 / (1 + np.exp(-np.asarray(x)))


def formulas(kind, real, fake):
    """(discriminator, generator) in the papers' own terms."""
    real, fake = np.asarray(real), np.asarray(fake)
    if kind == "vanilla":
        return (-np.log(sigmoid(real)).mean() - np.log(1 - sigmoid(fake)).mean()) / 2, -np.log(sigmoid(fake)).mean()
    if kind == "lsgan":
        return (((real - 1) ** 2).mean() + (fake**2).mean()) / 2, ((fake - 1) ** 2).mean()
    return (np.maximum(0, 1 - real).mean() + np.maximum(0, 1 + fake).mean()) / 2, -fake.mean()


@pytest.mark.parametrize("kind", ["vanilla", "lsgan", "hinge"])
def test_adversarial_loss_is_its_formula(kind):
    loss = AdversarialLoss(kind)
    real, fake = (torch.tensor(x, dtype=torch.float64).view(1, 1, 1, 3) for x in (REAL, FAKE))
    discriminator, generator = formulas(kind, REAL, FAKE)
    assert loss.discriminator(real, fake).item() == pytest.approx(discriminator, rel=1e-12)
    assert loss.generator(fake).item() == pytest.approx(generator, rel=1e-12)


@pytest.mark.parametrize("kind", ["vanilla", "lsgan", "hinge"])
def test_both_sides_pull_the_right_way(kind):
    real, fake = (torch.full((2, 1, 3, 3), 0.1, requires_grad=True) for _ in range(2))
    loss = AdversarialLoss(kind)
    loss.discriminator(real, fake).backward()
    assert (real.grad < 0).all() and (fake.grad > 0).all()
    fake.grad = None
    loss.generator(fake).backward()
    assert (fake.grad < 0).all()


def test_extreme_logits_stay_finite():
    logits = torch.tensor([-1e4, 1e4], dtype=torch.bfloat16)
    for value in (AdversarialLoss().generator(logits), AdversarialLoss().discriminator(logits, logits)):
        assert value.dtype == torch.float32 and value.isfinite()


def test_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="'wgan'"):
        AdversarialLoss("wgan")


def test_feature_matching_sums_over_blocks_without_the_logits():
    fake = [torch.tensor([[1.0, 2.0]]), torch.tensor([[0.0, -3.0, 3.0]]), torch.tensor([[100.0]])]
    real = [torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 0.0, 0.0]]), torch.tensor([[0.0]])]
    for x in fake + real:
        x.requires_grad_()
    value = feature_matching(fake, real)
    assert value.item() == pytest.approx((1 + 2) / 2 + (3 + 3) / 3)
    value.backward()
    assert fake[0].grad.tolist() == [[-0.5, 0.5]]
    assert all(x.grad is None for x in real)


@pytest.mark.parametrize("lengths", [(2, 3), (1, 1), (0, 0)])
def test_feature_lists_that_do_not_fit_are_refused(lengths):
    with pytest.raises(ValueError, match="expected equally many"):
        feature_matching(*([torch.zeros(1)] * n for n in lengths))


def test_l1_over_valid_pixels_is_the_naive_mean():
    rng = np.random.default_rng(0)
    prediction, target = rng.normal(size=(2, 2, 3, 4, 5))
    valid = rng.random((2, 1, 4, 5)) > 0.4
    naive = [
        abs(prediction[n, c, i, j] - target[n, c, i, j]) for n, c, i, j in np.ndindex(target.shape) if valid[n, 0, i, j]
    ]
    target[np.broadcast_to(~valid, target.shape)] = np.nan
    x = torch.from_numpy(prediction).requires_grad_()
    value = l1_loss(x, torch.from_numpy(target), torch.from_numpy(valid))
    assert value.item() == pytest.approx(np.mean(naive))
    value.backward()
    expected = np.where(valid, np.sign(prediction - target), 0) / len(naive)
    np.testing.assert_allclose(x.grad.numpy(), expected)


def test_l1_without_mask_and_without_valid_pixels():
    x, y = torch.tensor([[[[1.0, -2.0]]]], requires_grad=True), torch.tensor([[[[0.0, 2.0]]]])
    assert l1_loss(x, y).item() == 2.5
    none = l1_loss(x, y, torch.zeros(1, 1, 1, 2, dtype=torch.bool))
    none.backward()
    assert none.item() == 0 and not x.grad.any()


@pytest.mark.parametrize(
    ("target", "valid", "message"),
    [
        (torch.zeros(1, 1, 4, 4), None, "target has shape"),
        (torch.zeros(1, 3, 4, 4), torch.ones(1, 3, 4, 4, dtype=torch.bool), "valid is torch.bool"),
        (torch.zeros(1, 3, 4, 4), torch.ones(1, 1, 4, 4), "valid is torch.float32"),
    ],
)
def test_l1_refuses_shapes_that_do_not_fit(target, valid, message):
    with pytest.raises(ValueError, match=message):
        l1_loss(torch.zeros(1, 3, 4, 4), target, valid)
