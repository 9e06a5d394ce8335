import math

import pytest
import torch
from torchmetrics.functional.classification import multiclass_accuracy, multiclass_jaccard_index

from rgbx.metrics import class_iou, confusion_matrix, scores


@pytest.fixture(scope="module")
def maps():
    """Prediction and label [3, 40, 50] of 12 classes, all of which occur, with ignored pixels."""
    generator = torch.Generator().manual_seed(0)
    label = torch.randint(0, 12, (3, 40, 50), generator=generator)
    prediction = torch.where(torch.rand(3, 40, 50, generator=generator) < 0.6, label, label.flip(1))
    label[torch.rand(3, 40, 50, generator=generator) < 0.2] = 255
    return prediction, label


def test_equals_torchmetrics(maps, torchmetrics_in_double):
    found = scores(confusion_matrix(*maps, 12))
    settings = dict(num_classes=12, ignore_index=255)
    iou = multiclass_jaccard_index(*maps, average="none", **settings)
    assert found["IoU"].tolist() == pytest.approx(iou.tolist(), abs=1e-9)
    exact = [multiclass_accuracy(*maps, average=kind, **settings) for kind in ("none", "macro", "micro")]
    assert found["Acc"].tolist() == pytest.approx(exact[0].tolist(), abs=1e-9)
    assert found["mAcc"] == pytest.approx(float(exact[1]), abs=1e-9)
    assert found["aAcc"] == pytest.approx(float(exact[2]), abs=1e-9)
    for key, average in (("mIoU", "macro"), ("fwIoU", "weighted")):
        expected = float(multiclass_jaccard_index(*maps, average=average, **settings))
        assert found[key] == pytest.approx(expected, abs=1e-9)


def test_equals_sets_of_pixels(maps):
    """Intersection and union as Python sets, per class, in exact arithmetic up to the last division."""
    prediction, label = (x.flatten().tolist() for x in maps)
    counted = [i for i, true in enumerate(label) if true != 255]
    found = scores(confusion_matrix(*maps, 12))
    ious, weighted = [], 0.0
    for k in range(12):
        true = {i for i in counted if label[i] == k}
        predicted = {i for i in counted if prediction[i] == k}
        ious.append(len(true & predicted) / len(true | predicted))
        weighted += len(true) / len(counted) * ious[-1]
        assert found["IoU"][k] == pytest.approx(ious[-1], abs=1e-12)
        assert found["Acc"][k] == pytest.approx(len(true & predicted) / len(true), abs=1e-12)
        assert found["pixels"][k] == len(true)
    assert found["mIoU"] == pytest.approx(sum(ious) / 12, abs=1e-12)
    assert found["fwIoU"] == pytest.approx(weighted, abs=1e-12)


def test_scores_by_hand():
    # class 0: 3 right, 1 taken for class 1; class 1: 2 right, 2 taken for class 0
    found = scores(torch.tensor([[3, 1], [2, 2]]))
    assert found["IoU"].tolist() == pytest.approx([3 / 6, 2 / 5])
    assert found["Acc"].tolist() == pytest.approx([3 / 4, 2 / 4])
    assert found["mIoU"] == pytest.approx(0.45)
    assert found["mAcc"] == pytest.approx(0.625)
    assert found["aAcc"] == pytest.approx(5 / 8)
    assert found["fwIoU"] == pytest.approx(0.5 * 3 / 6 + 0.5 * 2 / 5)
    assert found["pixels"].tolist() == [4, 4]


def test_absent_classes_are_skipped_but_false_alarms_count():
    # class 1 occurs nowhere; class 2 is predicted once and never true
    found = scores(torch.tensor([[3, 0, 1], [0, 0, 0], [0, 0, 0]]))
    assert found["IoU"][0] == 0.75
    assert math.isnan(found["IoU"][1])
    assert found["IoU"][2] == 0
    assert found["mIoU"] == pytest.approx(0.375)
    assert found["mAcc"] == pytest.approx(0.75)  # only class 0 has truth


def test_absent_classes_as_zero():
    found = scores(torch.tensor([[3, 0, 1], [0, 0, 0], [0, 0, 0]]), absent="zero")
    assert found["IoU"].tolist() == [0.75, 0, 0]
    assert found["mIoU"] == pytest.approx(0.25)
    assert found["mAcc"] == pytest.approx(0.25)
    assert found["fwIoU"] == found["aAcc"] == pytest.approx(0.75)  # all pixels are of class 0
    with pytest.raises(ValueError, match="absent is 'nan'; expected one of"):
        scores(torch.ones(2, 2), absent="nan")


def test_many_matrices_at_once():
    many = torch.randint(0, 9, (4, 2, 3, 3), generator=torch.Generator().manual_seed(1))
    many[0, 0, 1], many[0, 0, :, 1] = 0, 0
    iou = class_iou(many)
    for i in range(4):
        for j in range(2):
            torch.testing.assert_close(iou[i, j], scores(many[i, j])["IoU"], rtol=0, atol=0, equal_nan=True)


def test_nothing_counted_is_nan():
    found = scores(torch.zeros(3, 3, dtype=torch.int64))
    assert all(math.isnan(found[key]) for key in ("mIoU", "mAcc", "aAcc", "fwIoU"))


def test_scores_refuse_what_is_not_square():
    with pytest.raises(ValueError, match=r"\[K, K\], found \(2, 3\)"):
        scores(torch.zeros(2, 3))
