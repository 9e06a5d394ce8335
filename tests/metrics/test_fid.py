"""Distances of features: closed forms of Gaussians, a naive double loop, other libraries, deficient ranks."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
import scipy.linalg
import torch
from torchmetrics.image.fid import _compute_fid
from torchmetrics.image.kid import poly_mmd

from rgbx.metrics import frechet_distance, kernel_distance, squared_mmd

pytestmark = pytest.mark.filterwarnings("ignore:.*biased upwards")


def draw(rows, columns, seed=0, scale=1.0, shift=0.0):
    return torch.from_numpy(np.random.default_rng(seed).normal(shift, scale, (rows, columns)))


def exactly(mean, covariance, rows, seed):
    """Features whose sample mean and covariance are the given ones to the last digits."""
    x = np.random.default_rng(seed).normal(size=(rows, len(mean)))
    x -= x.mean(0)
    whitened = x @ np.linalg.inv(np.linalg.cholesky(np.cov(x.T))).T
    return torch.from_numpy(whitened @ np.linalg.cholesky(covariance).T + mean)


def published_formula(a, b):
    a, b = a.numpy(), b.numpy()
    mean, covariances = a.mean(0) - b.mean(0), (np.cov(a.T), np.cov(b.T))
    root = scipy.linalg.sqrtm(covariances[0] @ covariances[1])
    return mean @ mean + np.trace(covariances[0]) + np.trace(covariances[1]) - 2 * np.trace(root).real


def test_closed_form_of_gaussians_with_equal_axes():
    """|Δμ|² + Σ (σ_a - σ_b)² where the covariances commute."""
    rotation = np.linalg.qr(np.random.default_rng(1).normal(size=(6, 6)))[0]
    own, other = np.array([0.1, 0.5, 1, 2, 3, 9.0]), np.array([0.2, 0.5, 4, 1, 0.3, 2.0])
    a = exactly(np.arange(6.0), rotation @ np.diag(own**2) @ rotation.T, 50, 2)
    b = exactly(np.ones(6), rotation @ np.diag(other**2) @ rotation.T, 40, 3)
    expected = ((np.arange(6.0) - 1) ** 2).sum() + ((own - other) ** 2).sum()
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-10)
    assert frechet_distance(b, a) == pytest.approx(expected, rel=1e-10)


def test_closed_form_of_two_dimensions():
    """tr (AB)^½ = (tr AB + 2 (det AB)^½)^½ for two-by-two covariances with other axes."""
    a, b = np.array([[2.0, 0.7], [0.7, 1.0]]), np.array([[1.0, -0.5], [-0.5, 3.0]])
    product = a @ b
    root = math.sqrt(np.trace(product) + 2 * math.sqrt(np.linalg.det(product)))
    expected = 25 + np.trace(a) + np.trace(b) - 2 * root
    found = frechet_distance(exactly(np.array([3.0, 4.0]), a, 9, 0), exactly(np.zeros(2), b, 12, 1))
    assert found == pytest.approx(expected, rel=1e-10)


def test_one_dimension_by_hand():
    a, b = torch.tensor([[0.0], [2.0]]), torch.tensor([[10.0], [14.0]])
    assert frechet_distance(a, b) == pytest.approx(11**2 + (math.sqrt(2) - math.sqrt(8)) ** 2)


@pytest.mark.parametrize(("n", "m"), [(200, 300), (60, 500), (500, 60)])
def test_equals_the_published_formula_and_torchmetrics(n, m):
    a, b = draw(n, 32, 0, 2.0), draw(m, 32, 1, 1.0, 0.3)
    assert frechet_distance(a, b) == pytest.approx(published_formula(a, b), rel=1e-8)
    other = _compute_fid(a.mean(0), a.T.cov(), b.mean(0), b.T.cov())
    assert frechet_distance(a, b) == pytest.approx(float(other), rel=1e-6)


def test_deficient_ranks():
    """Fewer images than dimensions: zero to itself, right for a shift, and right where the images span one plane."""
    a = draw(20, 64)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(a, a + 0.5) == pytest.approx(16, rel=1e-9)
    assert frechet_distance(a, a[torch.randperm(20)]) == pytest.approx(0, abs=1e-9)
    plane = exactly(np.zeros(2), np.diag([4.0, 1.0]), 20, 0), exactly(np.zeros(2), np.diag([1.0, 9.0]), 20, 1)
    embedded = [torch.cat([x, torch.zeros(20, 100)], 1) for x in plane]
    assert frechet_distance(*embedded) == pytest.approx(1 + 4, rel=1e-9)


def test_few_images_are_said():
    with pytest.warns(UserWarning, match="20 and 90 images in 64 dimensions is biased upwards"):
        frechet_distance(draw(20, 64), draw(90, 64))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        frechet_distance(draw(65, 64), draw(90, 64))


def naive_mmd(x, y, degree):
    kernel = lambda p, q: (sum(i * j for i, j in zip(p, q, strict=True)) / len(p) + 1) ** degree  # noqa: E731
    x, y = x.tolist(), y.tolist()
    own = sum(kernel(x[i], x[j]) for i in range(len(x)) for j in range(len(x)) if i != j)
    other = sum(kernel(y[i], y[j]) for i in range(len(y)) for j in range(len(y)) if i != j)
    cross = sum(kernel(p, q) for p in x for q in y)
    n, m = len(x), len(y)
    return own / (n * (n - 1)) + other / (m * (m - 1)) - 2 * cross / (n * m)


@pytest.mark.parametrize(("n", "m", "degree"), [(12, 12, 3), (7, 15, 3), (9, 8, 2)])
def test_equals_a_naive_double_loop(n, m, degree):
    x, y = draw(n, 5, 0), draw(m, 5, 1, 1.5, 0.2)
    assert squared_mmd(x, y, degree=degree) == pytest.approx(naive_mmd(x, y, degree), rel=1e-12)


def test_equals_torchmetrics():
    x, y = draw(40, 16, 0), draw(40, 16, 1, 1.5)
    assert squared_mmd(x, y) == pytest.approx(float(poly_mmd(x, y, degree=3, gamma=None, coef=1.0)), rel=1e-10)
    assert kernel_distance(x, y) == (squared_mmd(x, y), 0.0)


def test_subsets():
    """Mean and deviation over the subsets, repeatable by the seed, around the value of all images."""
    x, y = draw(60, 8, 0), draw(50, 8, 1, 1.2)
    mean, deviation = kernel_distance(x, y, subsets=400, subset_size=25, seed=3)
    assert (mean, deviation) == kernel_distance(x, y, subsets=400, subset_size=25, seed=3)
    assert mean != kernel_distance(x, y, subsets=400, subset_size=25, seed=4)[0]
    assert abs(mean - squared_mmd(x, y)) < 4 * deviation / math.sqrt(400)
    rng = np.random.default_rng(0)
    drawn = [squared_mmd(x[rng.permutation(60)[:25]], y[rng.permutation(50)[:25]]) for _ in range(400)]
    assert deviation == pytest.approx(np.std(drawn), rel=0.2)


def test_unbiased():
    """Sets of one distribution: zero on average, also below zero."""
    found = [squared_mmd(draw(20, 4, 2 * k), draw(20, 4, 2 * k + 1)) for k in range(300)]
    assert min(found) < 0 < max(found)
    assert abs(np.mean(found)) < 4 * np.std(found) / math.sqrt(300)


def test_exceptions():
    with pytest.raises(ValueError, match=r"\(3, 4\) and \(3, 5\)"):
        frechet_distance(draw(3, 4), draw(3, 5))
    with pytest.raises(ValueError, match="needs two images of each kind, found 1 and 3"):
        kernel_distance(draw(1, 4), draw(3, 4))
    with pytest.raises(ValueError, match="subset_size >= 2"):
        kernel_distance(draw(3, 4), draw(3, 4), subset_size=1)
