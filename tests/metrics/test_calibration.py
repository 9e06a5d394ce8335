import math

import pytest
import torch
from torchmetrics.functional.classification import multiclass_calibration_error

from rgbx.metrics import calibration_error, reliability_counts


@pytest.fixture(scope="module")
def scored():
    """Probabilities float64 [2, 7, 20, 30], and labels that agree with them half of the time."""
    generator = torch.Generator().manual_seed(0)
    probability = (3 * torch.randn(2, 7, 20, 30, generator=generator).double()).softmax(1)
    label = torch.randint(0, 7, (2, 20, 30), generator=generator)
    label = torch.where(torch.rand(2, 20, 30, generator=generator) < 0.5, probability.argmax(1), label)
    label[torch.rand(2, 20, 30, generator=generator) < 0.1] = 255
    return probability, label


@pytest.mark.parametrize("bins", [1, 10, 15])
def test_equals_torchmetrics(scored, bins, torchmetrics_in_double):
    expected = multiclass_calibration_error(*scored, num_classes=7, n_bins=bins, ignore_index=255)
    assert calibration_error(reliability_counts(*scored, bins=bins)) == pytest.approx(float(expected), abs=1e-9)


@pytest.mark.parametrize("bins", [4, 15])
def test_equals_a_loop(scored, bins):
    probability, label = scored
    rows = [[0.0] * bins for _ in range(3)]
    for n in range(2):
        for i in range(20):
            for j in range(30):
                if label[n, i, j] == 255:
                    continue
                values = probability[n, :, i, j].tolist()
                confidence = max(values)
                b = next(b for b in range(bins) if b / bins < confidence <= (b + 1) / bins)
                rows[0][b] += 1
                rows[1][b] += confidence
                rows[2][b] += values.index(confidence) == int(label[n, i, j])
    counts = reliability_counts(probability, label, bins=bins)
    assert counts.dtype == torch.float64
    for found, expected in zip(counts.tolist(), rows, strict=True):
        assert found == pytest.approx(expected, abs=1e-9)
    filled = [b for b in range(bins) if rows[0][b]]
    error = sum(rows[0][b] * abs(rows[2][b] / rows[0][b] - rows[1][b] / rows[0][b]) for b in filled) / sum(rows[0])
    assert calibration_error(counts) == pytest.approx(error, abs=1e-12)


def test_bins_are_closed_above():
    first = torch.tensor([0.5, 0.75, 1.0, 0.5 + 2**-20])
    probability = torch.stack([first, 1 - first]).view(1, 2, 1, 4)
    counts = reliability_counts(probability, torch.zeros(1, 1, 4).long(), bins=4)
    assert counts[0].tolist() == [0, 1, 2, 1]  # (0.25, 0.5], (0.5, 0.75], (0.75, 1]


def test_counts_add_up(scored):
    probability, label = scored
    parts = sum(reliability_counts(probability[i : i + 1], label[i : i + 1]) for i in range(2))
    torch.testing.assert_close(parts, reliability_counts(probability, label), rtol=0, atol=1e-9)
    assert parts[0].sum() == (label != 255).sum()


def test_a_known_prediction_is_not_sought_again(scored):
    probability, label = scored
    expected, largest = reliability_counts(probability, label), probability.max(1)
    unknown = torch.full_like(probability, 0.5)  # whose own largest would be another
    assert torch.equal(reliability_counts(unknown, label, largest=tuple(largest)), expected)


def test_by_hand():
    """Ten pixels at 0.85, six of them right: off by 0.25."""
    probability = torch.tensor([0.85, 0.15], dtype=torch.float64).view(1, 2, 1, 1).expand(1, 2, 1, 10)
    label = torch.tensor([0] * 6 + [1] * 4).view(1, 1, 10)
    assert calibration_error(reliability_counts(probability, label)) == pytest.approx(0.25, abs=1e-12)
    assert math.isnan(calibration_error(reliability_counts(probability, torch.full_like(label, 255))))


@pytest.mark.parametrize(
    ("probability", "label", "options", "message"),
    [
        (torch.rand(1, 2, 4, 4), torch.zeros(4, 4).long(), {}, r"found \(1, 2, 4, 4\) and \(4, 4\)"),
        (torch.ones(1, 2, 4, 4).long(), torch.zeros(1, 4, 4).long(), {}, "probability must be floating"),
        (torch.rand(1, 2, 4, 4), torch.zeros(1, 4, 4), {}, "label integer, found .* torch.float32"),
        (torch.rand(1, 2, 4, 4), torch.zeros(1, 4, 4).long(), {"bins": 0}, "bins is 0"),
        (torch.full((1, 2, 4, 4), 3.0), torch.zeros(1, 4, 4).long(), {}, "pass probabilities, not logits"),
        (torch.full((1, 2, 4, 4), math.nan), torch.zeros(1, 4, 4).long(), {}, "pass probabilities, not logits"),
    ],
)
def test_mistakes_are_named(probability, label, options, message):
    with pytest.raises(ValueError, match=message):
        reliability_counts(probability, label, **options)


def test_error_refuses_other_shapes():
    with pytest.raises(ValueError, match=r"\[3, B\], found \(15, 3\)"):
        calibration_error(torch.zeros(15, 3))
