import numpy as np
import pytest
import torch
from scipy import stats

from rgbx.metrics import bootstrap_interval, class_iou, scores, stack_confusions


def confusions(images, classes=4, seed=0):
    return torch.randint(0, 50, (images, classes, classes), generator=torch.Generator().manual_seed(seed))


def naive(counts, statistic, resamples, level, seed):
    """One draw at a time, summed image by image, with numpy's quantiles."""
    drawn = torch.randint(len(counts), (resamples, len(counts)), generator=torch.Generator().manual_seed(seed))
    values = [statistic(sum(counts[i] for i in draw.tolist())) for draw in drawn]
    return np.nanquantile(np.array(values), [(1 - level) / 2, (1 + level) / 2], axis=0)


@pytest.mark.parametrize("level", [0.5, 0.95])
def test_equals_a_loop(level, monkeypatch):
    monkeypatch.setattr("rgbx.metrics.bootstrap.MOST_VALUES", 100)  # a few draws at a time
    counts = confusions(images=9)
    counts[:8, 2] = counts[:8, :, 2] = 0  # a class that one image has: many draws miss it
    expected = naive(counts, lambda c: scores(c)["IoU"].numpy(), 60, level, seed=3)
    found = bootstrap_interval(counts, class_iou, resamples=60, level=level, seed=3)
    for end, wanted in zip(found, expected, strict=True):
        assert end.tolist() == pytest.approx(wanted.tolist(), abs=1e-9)


def test_difference_of_two_results_on_the_same_draws():
    first, second = confusions(8), confusions(8, seed=1)
    pairs = torch.stack([first, second], 1)
    low, high = bootstrap_interval(pairs, lambda c: class_iou(c[:, 1]) - class_iou(c[:, 0]), resamples=50)
    expected = naive(
        pairs, lambda c: (scores(c[1])["IoU"] - scores(c[0])["IoU"]).numpy(), resamples=50, level=0.95, seed=0
    )
    assert low.tolist() == pytest.approx(expected[0].tolist(), abs=1e-9)
    assert high.tolist() == pytest.approx(expected[1].tolist(), abs=1e-9)
    same = torch.stack([first, first], 1)
    low, high = bootstrap_interval(same, lambda c: class_iou(c[:, 1]) - class_iou(c[:, 0]), resamples=50)
    assert low.tolist() == high.tolist() == [0, 0, 0, 0]


def test_agrees_with_scipy():
    """The interval of a mean over 60 images, up to the chance of 4000 draws."""
    values = np.random.default_rng(0).gamma(2.0, size=60)
    counts = torch.stack([torch.from_numpy(values), torch.ones(60).double()], 1)
    low, high = bootstrap_interval(counts, lambda c: c[:, 0] / c[:, 1], resamples=4000)
    expected = stats.bootstrap(
        (values,), np.mean, method="percentile", n_resamples=4000, random_state=np.random.default_rng(1)
    )
    width = expected.confidence_interval.high - expected.confidence_interval.low
    assert float(low) == pytest.approx(expected.confidence_interval.low, abs=0.06 * width)
    assert float(high) == pytest.approx(expected.confidence_interval.high, abs=0.06 * width)


def test_sparse_counts():
    counts = confusions(6)
    dense, sparse = (bootstrap_interval(c, class_iou, resamples=20) for c in (counts, counts.to_sparse()))
    assert torch.equal(torch.stack(dense), torch.stack(sparse))


def test_a_class_nobody_has_is_nan():
    counts = confusions(5)
    counts[:, 1] = counts[:, :, 1] = 0
    low, high = bootstrap_interval(counts, class_iou, resamples=20)
    assert low.isnan().tolist() == high.isnan().tolist() == [False, True, False, False]


@pytest.mark.parametrize(
    ("counts", "options", "message"),
    [
        (torch.zeros(0, 2, 2), {}, "at least one image"),
        (torch.ones(3, 2, 2), {"resamples": 0}, "resamples >= 1"),
        (torch.ones(3, 2, 2), {"level": 1.0}, "0 < level < 1"),
        (torch.ones(3, 2, 2), {"statistic": lambda c: c.sum()}, r"20 draws has shape \(\)"),
    ],
)
def test_mistakes_are_named(counts, options, message):
    statistic = options.pop("statistic", class_iou)
    with pytest.raises(ValueError, match=message):
        bootstrap_interval(counts, statistic, **{"resamples": 20, **options})


def test_stacks_cells():
    counts = confusions(3)
    counts[1] = 0
    cells = [[[t, p, int(c[t, p])] for t in range(4) for p in range(4) if c[t, p]] for c in counts]
    assert torch.equal(stack_confusions(cells, 4), counts)
    with pytest.raises(ValueError, match=r"image 1 has the cell \[4, 0, 7\].*0\.\.3"):
        stack_confusions([[], [[4, 0, 7]]], 4)
