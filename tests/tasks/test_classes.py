"""What the task `classes` counts and scores, against loops over pixels."""

import math

import pytest
import torch
import torch.nn.functional as F

from rgbx._text import percent, text_table
from rgbx.metrics import boundary_counts, scores
from rgbx.tasks import PROTOCOLS, Classes, Prediction, Target
from rgbx.tasks.classes import class_table

TASK = Classes("labels", num_classes=3)
META = {"classes": ("wall", "floor", "never"), "ignore_index": 255}


def outputs(seed, count=2):
    generator = torch.Generator().manual_seed(seed)
    draw = lambda: torch.randint(0, 2, (4, 5), generator=generator).to(torch.uint8)  # noqa: E731
    return [Prediction(target=draw().long(), prediction={"rgb": draw(), "ensemble": draw()}) for _ in range(count)]


def evaluated(predictions, protocol="rgbx", **options):
    counter = TASK.counter(PROTOCOLS[protocol], META, **options)
    return counter.evaluation([counter.count(str(i), found, {}) for i, found in enumerate(predictions)])


def test_scores_are_of_the_whole_set():
    """Not the mean of the scores of images."""
    samples = outputs(0, 4)
    evaluation = evaluated(samples)
    assert evaluation.names == ["ensemble", "rgb"]
    right = sum(int((x.prediction["ensemble"] == x.target).sum()) for x in samples)
    assert evaluation.scores("ensemble")["aAcc"] == pytest.approx(right / 80)
    assert evaluation.logged("ensemble")["aAcc"] == pytest.approx(100 * right / 80)
    assert list(evaluation.logged("rgb")) == ["mIoU", "mAcc", "aAcc"]
    pairs = [[(x.prediction["rgb"] == k, x.target == k) for x in samples] for k in range(2)]
    ious = [sum(int((p & t).sum()) for p, t in ks) / sum(int((p | t).sum()) for p, t in ks) for ks in pairs]
    assert evaluation.scores("rgb")["mIoU"] == pytest.approx(sum(ious) / 2)


def test_a_protocol_says_how_absent_classes_count():
    """Class 2 is in no label and in no prediction."""
    skip, zero = (evaluated(outputs(0), name).scores("ensemble")["mIoU"] for name in ("rgbx", "dformer-ms"))
    assert zero == pytest.approx(skip * 2 / 3)


def test_a_protocol_says_which_labels_are_dropped():
    label = torch.tensor([[0, 1, 3], [1, 7, 255]])
    found = Prediction(target=label, prediction={"ensemble": torch.tensor([[0, 1, 1], [0, 0, 0]])})
    with pytest.raises(ValueError, match="label holds class id 7"):
        evaluated([found])
    dropping = evaluated([found], "asymfusion")
    assert dropping.scores("ensemble")["aAcc"] == pytest.approx(2 / 3)
    assert dropping.confusion("ensemble").tolist() == [[1, 0, 0], [1, 1, 0], [0, 0, 0]]


def test_images_are_kept_apart():
    samples = [
        x._replace(probability={"ensemble": F.one_hot(x.prediction["ensemble"].long(), 3).permute(2, 0, 1).float()})
        for x in outputs(3, count=3)
    ]
    evaluation = evaluated(samples, boundary=True, calibration=True)
    assert [image.sample_id for image in evaluation.images] == ["0", "1", "2"]
    for image, sample in zip(evaluation.images, samples, strict=True):
        label = sample.target
        for name, prediction in sample.prediction.items():
            expected = [[int(((label == t) & (prediction == p)).sum()) for p in range(3)] for t in range(3)]
            assert image.confusion(name).tolist() == expected
        assert torch.equal(image.boundary, boundary_counts(sample.prediction["ensemble"], label, 3))
        right = int((sample.prediction["ensemble"] == label).sum())
        assert image.reliability[:, -1].tolist() == [20, 20, right]
        own = evaluation.image_scores(image)
        assert own["aAcc"] == right / 20 and own["mIoU"] == scores(image.confusion("ensemble"))["mIoU"]
    found = evaluation.scores("ensemble")
    assert found["boundary_f"] is not None and int(found["reliability"]["count"].sum()) == 60
    assert [score.name for score in evaluation.table] == ["mIoU", "mAcc", "aAcc", "fwIoU", "boundary_f", "ece"]
    assert evaluation.scores("rgb")["ece"] is None


def test_fingerprints_are_of_the_truth_alone():
    one, other = evaluated(outputs(0)), evaluated(outputs(0))
    *_, last = other.images[0].cells
    other.images[0].cells[last] = other.images[1].cells[last]
    assert one.fingerprint() == other.fingerprint() != evaluated(outputs(1)).fingerprint()


def test_mistakes_name_the_sample():
    sample = outputs(0)[0]
    with pytest.raises(ValueError, match="sample '0' has no label"):
        evaluated([sample._replace(target=None)])
    with pytest.raises(ValueError, match="ensemble of sample '0': prediction holds class id 9"):
        evaluated([sample._replace(prediction={"ensemble": torch.full((4, 5), 9)})])


def test_losses_refuse_ids_that_are_no_class():
    outputs = {"ensemble": torch.zeros(1, 3, 1, 2)}
    assert list(TASK.losses(outputs, Target(torch.tensor([[[2, 255]]])))) == ["loss_ensemble"]
    for label, wrong in (([3, 0], 3), ([-1, 0], -1), ([255, 254], 254)):
        with pytest.raises(ValueError, match=f"class id {wrong}; expected 0 to 2"):
            TASK.losses(outputs, Target(torch.tensor([[label]])))


def test_table():
    found = {
        "both": scores(torch.tensor([[2, 0, 0], [1, 1, 0], [0, 0, 0]])),
        "RGB alone": scores(torch.tensor([[1, 1, 0], [0, 2, 0], [0, 0, 0]])),
    }
    assert class_table(found, META["classes"]).splitlines() == [
        "class  both  RGB alone",
        "-----  ----  ---------",
        "wall   66.7       50.0",
        "floor  50.0       66.7",
        "never     -          -",
        "-----  ----  ---------",
        "mean   58.3       58.3",
    ]


def test_cells():
    assert percent(math.nan) == "-"
    assert text_table(["a", "b"], [["long name", "1"]]).splitlines()[-1] == "long name  1"
