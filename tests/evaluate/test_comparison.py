import copy

import numpy as np
import pytest
from made_result import make_result

from rgbx.evaluate.comparison import compare_results, comparison_text, reasons_against
from rgbx.metrics.bootstrap import draw_weights


@pytest.fixture(scope="module")
def pair():
    """Two models on the same images, B better."""
    return make_result(right=0.5), make_result(right=0.7)


def dense(result):
    count = len(result["dataset"]["classes"])
    stack = np.zeros((len(result["images"]), count, count))
    for matrix, image in zip(stack, result["images"], strict=True):
        for true, predicted, pixels in image["confusion"]:
            matrix[true, predicted] = pixels
    return stack


def iou(matrix):
    right = np.diag(matrix)
    with np.errstate(invalid="ignore"):
        return right / (matrix.sum(0) + matrix.sum(1) - right)


def naive_interval(a, b, weights_a, weights_b, k=None):
    """Sums whole confusion matrices draw by draw."""
    found = []
    for row_a, row_b in zip(weights_a.numpy(), weights_b.numpy(), strict=True):
        pair = [iou(np.einsum("i,ijk->jk", row, stack)) for row, stack in ((row_a, a), (row_b, b))]
        one, other = [np.nanmean(x) if k is None else x[k] for x in pair]
        found.append(other - one)
    return np.nanpercentile(found, [2.5, 97.5])


def test_paired_intervals_agree_with_a_loop(pair):
    found = compare_results(*pair, draws=200, seed=4)
    a, b = map(dense, pair)
    weights = draw_weights(len(a), 200, seed=4)
    assert found["paired"]
    assert found["mIoU"]["a"] == pytest.approx(np.nanmean(iou(a.sum(0))), abs=1e-12)
    assert found["mIoU"]["difference"] == pytest.approx(
        np.nanmean(iou(b.sum(0))) - np.nanmean(iou(a.sum(0))), abs=1e-12
    )
    for k, row in [(None, found["mIoU"]), *enumerate(found["classes"][:5])]:
        expected = naive_interval(a, b, weights, weights, k)
        assert [row["low"], row["high"]] == pytest.approx(expected, abs=1e-9)
    assert found["classes"][5] == {"class": "sofa", **dict.fromkeys(("a", "b", "difference", "low", "high"))}


def test_order_of_images_does_not_matter(pair):
    a, b = pair
    turned = {**b, "images": b["images"][::-1]}
    assert compare_results(a, turned, draws=50) == compare_results(a, b, draws=50)


def test_pairing_narrows_the_interval(pair):
    """The same model against itself: paired, the difference is 0 in every draw; unpaired it is not."""
    a, _ = pair
    same = compare_results(a, a, draws=50)["mIoU"]
    assert same["low"] == same["high"] == 0
    renamed = {**a, "images": [{**image, "sample_id": f"x{i}"} for i, image in enumerate(a["images"])]}
    other = compare_results(a, renamed, draws=50)
    assert not other["paired"]
    assert other["mIoU"]["low"] < 0 < other["mIoU"]["high"]


def test_absent_classes_follow_the_protocol(pair):
    zero = []
    for result in map(copy.deepcopy, pair):
        result["protocol"]["absent"] = "zero"
        scores = result["subsets"]["rgb+depth"]["ensemble"]
        scores["mIoU"] = sum(value or 0 for value in scores["IoU"]) / 6
        zero.append(result)
    found, skipped = compare_results(*zero, draws=50), compare_results(*pair, draws=50)
    assert found["mIoU"]["difference"] == pytest.approx(skipped["mIoU"]["difference"] * 5 / 6)


@pytest.mark.parametrize(
    ("path", "value", "reason"),
    [
        (("protocol", "scales"), [0.75, 1.0], r"protocol\.scales: \[1\.0\] against \[0\.75, 1\.0\]"),
        (("dataset", "fingerprint"), "e2" * 32, r"dataset\.fingerprint: f1f1f1f1f1f1\.\.\. against e2e2e2e2e2e2\.\.\."),
        (("dataset", "every"), 8, r"dataset\.every: 4 against 8"),
    ],
)
def test_unlike_results_are_refused(pair, path, value, reason):
    a, b = copy.deepcopy(pair)
    b[path[0]][path[1]] = value
    with pytest.raises(ValueError, match=f"cannot be compared .{reason}.; --force"):
        compare_results(a, b)
    forced = compare_results(a, b, force=True, draws=20)
    assert len(forced["forced"]) == 1
    assert f"COMPARED BY FORCE although {path[0]}.{path[1]}" in comparison_text(forced)


def test_where_rules_come_from_is_not_a_rule(pair):
    a, b = copy.deepcopy(pair)
    b["protocol"]["source"] = "elsewhere"
    assert reasons_against(a, b) == []


def test_other_classes_are_refused_even_by_force(pair):
    a, b = copy.deepcopy(pair)
    b["dataset"]["classes"][0] = "other"
    with pytest.raises(ValueError, match="the classes differ"):
        compare_results(a, b, force=True)


def test_images_must_add_up_to_the_scores(pair):
    a, b = copy.deepcopy(pair)
    del b["images"][0]
    with pytest.raises(ValueError, match=r"B: the images add up to an mIoU of .*, the file says"):
        compare_results(a, b)


def test_text(pair):
    lines = comparison_text(compare_results(*pair, draws=300), ("one.json", "two.json")).splitlines()
    assert lines[:2] == ["A: one.json (rgb+depth)", "B: two.json (rgb+depth)"]
    assert "300 bootstrap draws of the same 9 images" in lines[2]
    mean = lines[-1].split()
    assert mean[0] == "mean"
    assert mean[-1] == "*"  # B is far better
    differences = [float(line.split("[")[0].split()[-1]) for line in lines[7:12]]
    assert differences == sorted(differences, reverse=True)
    assert lines[12].split() == ["sofa", "-", "-", "-", "-"]
