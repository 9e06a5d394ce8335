import math

import numpy as np
import pytest
import torch
from scipy import stats

from rgbx.metrics import draw_weights, image_counts, mean_iou, percentile_interval, resampled_iou


def random_images(rng, images=7, classes=4, size=60):
    """Labels and predictions; the last class is in one image only."""
    truth = rng.integers(0, classes - 1, (images, size))
    predicted = np.where(rng.random((images, size)) < 0.6, truth, rng.integers(0, classes - 1, (images, size)))
    truth[2, :5] = classes - 1
    return truth, predicted


def sparse(truth, predicted):
    pairs, counts = np.unique(np.stack([truth, predicted]), axis=1, return_counts=True)
    return [(int(t), int(p), int(n)) for (t, p), n in zip(pairs.T, counts, strict=True)]


def naive_iou(truth, predicted, k):
    union = ((truth == k) | (predicted == k)).sum()
    return ((truth == k) & (predicted == k)).sum() / union if union else math.nan


def test_agrees_with_a_loop_over_repeated_pixels():
    """Each resample is built for real: images concatenated as often as they were drawn."""
    truth, predicted = random_images(np.random.default_rng(0))
    counts = image_counts([sparse(*pair) for pair in zip(truth, predicted, strict=True)], 4)
    weights = draw_weights(7, 40, seed=3)
    found = resampled_iou(counts, weights)
    means = {rule: mean_iou(found, absent=rule) for rule in ("skip", "zero")}
    seen_absent = False
    for r, row in enumerate(weights.tolist()):
        pixels = np.concatenate([np.tile(np.stack([truth[i], predicted[i]]), times) for i, times in enumerate(row)], 1)
        expected = np.array([naive_iou(*pixels, k) for k in range(4)])
        np.testing.assert_allclose(found[r].numpy(), expected, rtol=0, atol=1e-12)
        assert means["skip"][r] == pytest.approx(np.nanmean(expected), abs=1e-12)
        assert means["zero"][r] == pytest.approx(np.nan_to_num(expected).mean(), abs=1e-12)
        seen_absent |= math.isnan(expected[3])
    assert seen_absent  # or the rules were not told apart


def test_weights_are_resamples():
    weights = draw_weights(20, 4000, seed=1)
    assert weights.sum(1).eq(20).all()
    # Binomial(20, 1/20): mean 1, variance 19/20; the standard error of a mean of 4000 is below 0.016
    assert weights.double().mean(0).sub(1).abs().max() < 0.08
    assert weights.double().var(0).mean() == pytest.approx(0.95, abs=0.03)
    assert torch.equal(weights, draw_weights(20, 4000, seed=1))
    assert not torch.equal(weights, draw_weights(20, 4000, seed=2))


def test_interval_of_a_proportion_is_the_normal_approximation():
    """Images of one pixel of class 0, right with chance p or else predicted as 1: IoU of class 0 is right / n."""
    n, p = 800, 0.7
    right = round(n * p)
    counts = image_counts([[(0, 0, 1)]] * right + [[(0, 1, 1)]] * (n - right), 2)
    low, high = percentile_interval(resampled_iou(counts, draw_weights(n, 2000))[:, 0])
    error = 1.96 * math.sqrt(p * (1 - p) / n)
    assert float(low) == pytest.approx(p - error, abs=0.1 * error)
    assert float(high) == pytest.approx(p + error, abs=0.1 * error)


def test_interval_agrees_with_scipy():
    """The interval of a mean over 60 images, up to the chance of 4000 draws."""
    values = np.random.default_rng(0).gamma(2.0, size=60)
    means = draw_weights(60, 4000).double() @ torch.from_numpy(values) / 60
    low, high = percentile_interval(means)
    expected = stats.bootstrap(
        (values,), np.mean, method="percentile", n_resamples=4000, random_state=np.random.default_rng(1)
    ).confidence_interval
    width = expected.high - expected.low
    assert float(low) == pytest.approx(expected.low, abs=0.06 * width)
    assert float(high) == pytest.approx(expected.high, abs=0.06 * width)


def test_interval_leaves_out_nan():
    samples = torch.tensor([[0.0, math.nan], [1.0, math.nan], [2.0, 5.0], [3.0, 7.0], [4.0, math.nan]])
    low, high = percentile_interval(samples, level=0.5)
    assert low.tolist() == [1.0, 5.5]
    assert high.tolist() == [3.0, 6.5]


@pytest.mark.parametrize("cell", [(4, 0, 1), (0, 4, 1), (0, 0, -1), (-1, 0, 1)])
def test_bad_cells_name_their_image(cell):
    with pytest.raises(ValueError, match=r"image 1: .*0\.\.3"):
        image_counts([[(0, 0, 1)], [cell]], 4)


def test_an_image_without_labels_counts_nothing():
    assert image_counts([[]], 4).sum() == 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: draw_weights(0, 5), "0 images"),
        (lambda: percentile_interval(torch.zeros(3), level=1.0), "between 0 and 1"),
        (lambda: mean_iou(torch.zeros(3), absent="nan"), "'skip' or 'zero'"),
    ],
)
def test_mistakes(call, message):
    with pytest.raises(ValueError, match=message):
        call()
