import math

import pytest
import torch

from rgbx.evaluate.segmentation_metric import SegmentationMetric, class_table, percent, text_table
from rgbx.metrics import boundary_counts, scores

META = {"classes": ("wall", "floor", "never"), "ignore_index": 255}


def outputs(seed, count=2):
    generator = torch.Generator().manual_seed(seed)
    draw = lambda: torch.randint(0, 2, (4, 5), generator=generator).to(torch.uint8)  # noqa: E731
    return [
        {"sample_id": str(i), "label": draw().long(), "prediction": {"rgb": draw(), "ensemble": draw()}}
        for i in range(count)
    ]


def metric(**options):
    made = SegmentationMetric(**options)
    made.dataset_meta = META
    return made


def test_batches_are_scored_together():
    """Scores of the whole set, not the mean of the scores of batches."""
    one, two = outputs(0), outputs(1)
    made = metric(table=False)
    made.process(None, one)
    made.process(None, two)
    found = made.evaluate(4)
    right = sum(int((s["prediction"]["ensemble"] == s["label"]).sum()) for s in one + two)
    assert found["aAcc"] == pytest.approx(100 * right / 80)
    assert list(found) == ["mIoU", "mAcc", "aAcc", "rgb/mIoU", "rgb/mAcc", "rgb/aAcc"]
    intersection = [0, 0]
    union = [0, 0]
    for s in one + two:
        for k in range(2):
            p, t = s["prediction"]["rgb"] == k, s["label"] == k
            intersection[k] += int((p & t).sum())
            union[k] += int((p | t).sum())
    expected = sum(i / u for i, u in zip(intersection, union, strict=True)) / 2
    assert found["rgb/mIoU"] == pytest.approx(100 * expected)


def test_evaluating_starts_anew():
    made = metric(table=False)
    made.process(None, outputs(0))
    first = made.evaluate(2)
    made.process(None, outputs(0))
    assert made.evaluate(2) == first
    with pytest.raises(ValueError, match="nothing was evaluated"):
        made.evaluate(2)


def test_a_protocol_says_how_absent_classes_count():
    """Class 2 is in no label and in no prediction."""
    skip, zero = metric(table=False), metric(table=False, protocol="dformer-ms")
    for made in (skip, zero):
        made.process(None, outputs(0))
    assert zero.evaluate(2)["mIoU"] == pytest.approx(skip.evaluate(2)["mIoU"] * 2 / 3)


def test_a_protocol_says_which_labels_are_dropped():
    label = torch.tensor([[0, 1, 3], [1, 7, 255]])
    sample = {"sample_id": "a", "label": label, "prediction": {"ensemble": torch.tensor([[0, 1, 1], [0, 0, 0]])}}
    with pytest.raises(ValueError, match="label holds class id 7"):
        metric().process(None, [sample])
    dropping = metric(table=False, protocol="asymfusion")
    dropping.process(None, [sample])
    assert dropping.evaluate(1)["aAcc"] == pytest.approx(100 * 2 / 3)
    assert dropping.evaluation.confusion("ensemble").tolist() == [[1, 0, 0], [1, 1, 0], [0, 0, 0]]


def test_images_are_kept_apart():
    made = metric(table=False, boundary=True, calibration=True)
    samples = outputs(3, count=3)
    for sample in samples:
        probability = torch.nn.functional.one_hot(sample["prediction"]["ensemble"].long(), 3).permute(2, 0, 1)
        sample["probability"] = {"ensemble": probability.float()}
    made.process(None, samples)
    made.evaluate(3)
    evaluation = made.evaluation
    assert [image.sample_id for image in evaluation.images] == ["0", "1", "2"]
    assert evaluation.names == ["rgb", "ensemble"]
    for image, sample in zip(evaluation.images, samples, strict=True):
        for name, prediction in sample["prediction"].items():
            expected = [[int(((sample["label"] == t) & (prediction == p)).sum()) for p in range(3)] for t in range(3)]
            assert image.confusion(name).tolist() == expected
        boundary = boundary_counts(sample["prediction"]["ensemble"], sample["label"], 3)
        assert torch.equal(image.boundary, boundary)
        right = int((sample["prediction"]["ensemble"] == sample["label"]).sum())
        assert image.reliability[:, -1].tolist() == [20, 20, right]
    assert evaluation.total("boundary").shape == (3, 4)


def test_mistakes_name_the_sample():
    sample = outputs(0)[0]
    with pytest.raises(ValueError, match="sample '0' has no label"):
        metric().process(None, [{**sample, "label": None}])
    with pytest.raises(ValueError, match="ensemble of sample '0': prediction holds class id 9"):
        metric().process(None, [{**sample, "prediction": {"ensemble": torch.full((4, 5), 9)}}])


def test_table():
    by_name = {
        "rgb": scores(torch.tensor([[1, 1, 0], [0, 2, 0], [0, 0, 0]])),
        "ensemble": scores(torch.tensor([[2, 0, 0], [1, 1, 0], [0, 0, 0]])),
    }
    assert class_table(by_name, META["classes"]).splitlines() == [
        "class   IoU    Acc  rgb IoU",
        "-----  ----  -----  -------",
        "wall   66.7  100.0     50.0",
        "floor  50.0   50.0     66.7",
        "never     -      -        -",
        "-----  ----  -----  -------",
        "mean   58.3   75.0     58.3",
    ]


def test_cells():
    assert percent(math.nan) == "-"
    assert text_table(["a", "b"], [["long name", "1"]]).splitlines()[-1] == "long name  1"
