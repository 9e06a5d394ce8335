import math

import pytest
import torch

from rgbx.metrics import confusion_matrix, scores


def naive(prediction, label, num_classes, ignore_index):
    counts = [[0] * num_classes for _ in range(num_classes)]
    for p, t in zip(prediction.flatten().tolist(), label.flatten().tolist(), strict=True):
        if t != ignore_index:
            counts[t][p] += 1
    return counts


@pytest.mark.parametrize("num_classes", [1, 2, 7])
@pytest.mark.parametrize("ignore_index", [255, 3])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64])
def test_equals_a_double_loop(num_classes, ignore_index, dtype):
    generator = torch.Generator().manual_seed(num_classes)
    shape = (2, 9, 11)
    prediction = torch.randint(0, num_classes, shape, generator=generator).to(dtype)
    label = torch.randint(0, num_classes, shape, generator=generator).to(dtype)
    label[torch.rand(shape, generator=generator) < 0.2] = ignore_index
    counts = confusion_matrix(prediction, label, num_classes, ignore_index=ignore_index)
    assert counts.dtype == torch.int64
    assert counts.tolist() == naive(prediction, label, num_classes, ignore_index)


def test_counts_add_up_exactly():
    prediction = torch.zeros(4097, 4097, dtype=torch.uint8)  # more than float32 can count
    assert confusion_matrix(prediction, prediction, 2)[0, 0] == 4097**2


def test_predictions_on_ignored_pixels_do_not_matter():
    counts = confusion_matrix(torch.tensor([200, 1]), torch.tensor([255, 1]), 2)
    assert counts.tolist() == [[0, 0], [0, 1]]


@pytest.mark.parametrize(
    ("prediction", "label", "message"),
    [
        ([0, 2], [0, 1], r"prediction holds class id 2, expected 0\.\.1"),
        ([0, 1], [0, 7], r"label holds class id 7, expected 0\.\.1"),
        ([0, 1], [0, -1], r"label holds class id -1"),
        ([0, 1], [0], r"one shape, found \(2,\) and \(1,\)"),
        ([0.0, 1.0], [0, 1], "integer class ids, found dtype torch.float32"),
    ],
)
def test_mistakes_are_named(prediction, label, message):
    with pytest.raises(ValueError, match=message):
        confusion_matrix(torch.tensor(prediction), torch.tensor(label), 2)


def test_scores_by_hand():
    # class 0: 3 right, 1 taken for class 1; class 1: 2 right, 2 taken for class 0
    found = scores(torch.tensor([[3, 1], [2, 2]]))
    assert found["IoU"].tolist() == pytest.approx([3 / 6, 2 / 5])
    assert found["Acc"].tolist() == pytest.approx([3 / 4, 2 / 4])
    assert found["mIoU"] == pytest.approx(0.45)
    assert found["mAcc"] == pytest.approx(0.625)
    assert found["aAcc"] == pytest.approx(5 / 8)


def test_absent_classes_are_skipped_but_false_alarms_count():
    # class 1 occurs nowhere; class 2 is predicted once and never true
    found = scores(torch.tensor([[3, 0, 1], [0, 0, 0], [0, 0, 0]]))
    assert found["IoU"][0] == 0.75
    assert math.isnan(found["IoU"][1])
    assert found["IoU"][2] == 0
    assert found["mIoU"] == pytest.approx(0.375)
    assert found["mAcc"] == pytest.approx(0.75)  # only class 0 has truth


def test_nothing_counted_is_nan():
    found = scores(torch.zeros(3, 3, dtype=torch.int64))
    assert all(math.isnan(found[key]) for key in ("mIoU", "mAcc", "aAcc"))


def test_scores_refuse_what_is_not_square():
    with pytest.raises(ValueError, match=r"\[K, K\], found \(2, 3\)"):
        scores(torch.zeros(2, 3))
