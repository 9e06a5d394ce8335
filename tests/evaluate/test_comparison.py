import copy

import numpy as np
import pytest
from made_result import make_joint_result, make_map_result, make_result

from rgbx.evaluate.comparison import (
    Row,
    compare_results,
    comparison_text,
    headline_interval,
    interval_over_runs,
    reasons_against,
)
from rgbx.metrics.bootstrap import draw_weights
from rgbx.tasks import Score


@pytest.fixture(scope="module")
def pair():
    """Two models on the same images, B better."""
    return make_result(right=0.5), make_result(right=0.7)


def compare(*pair, **options):
    """The comparison of the one head, with its first score as `mean`."""
    found = compare_results(*pair, **options).as_dict()
    (head,) = found["heads"].values()
    return {**found, **head, "mean": head["scores"][0]}


def dense(result):
    head = result["heads"]["labels"]
    count = len(head["about"]["classes"])
    stack = np.zeros((len(head["images"]), count, count))
    for matrix, image in zip(stack, head["images"], strict=True):
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
    found = compare(*pair, draws=200, seed=4)
    a, b = map(dense, pair)
    weights = draw_weights(len(a), 200, seed=4)
    assert found["paired"]
    assert found["mean"]["a"] == pytest.approx(np.nanmean(iou(a.sum(0))), abs=1e-12)
    assert found["mean"]["difference"] == pytest.approx(
        np.nanmean(iou(b.sum(0))) - np.nanmean(iou(a.sum(0))), abs=1e-12
    )
    for k, row in [(None, found["mean"]), *enumerate(found["classes"][:5])]:
        expected = naive_interval(a, b, weights, weights, k)
        assert [row["low"], row["high"]] == pytest.approx(expected, abs=1e-9)
    sofa = found["classes"][5]
    assert sofa["name"] == "sofa" and {sofa[key] for key in ("a", "b", "difference", "low", "high")} == {None}


def test_seeds_and_images_are_drawn_alike_in_a_loop():
    """Two levels that cross: a draw has one set of images for all runs, and seeds that may occur more than once."""
    runs = [
        (make_result(right=0.5, seed=s), make_result(right=right, seed=s + 7)) for s, right in enumerate((0.7, 0.6))
    ]
    stacks = [[dense(result) for result in pair] for pair in runs]
    images, seeds = draw_weights(len(stacks[0][0]), 60, seed=5).numpy(), draw_weights(2, 60, seed=6).numpy()
    drawn = []
    for of_images, of_seeds in zip(images, seeds, strict=True):
        gains = []
        for number, count in enumerate(of_seeds):
            a, b = (np.nanmean(iou(np.einsum("i,ijk->jk", of_images, stack))) for stack in stacks[number])
            gains += [b - a] * count
        drawn.append(np.mean(gains))
    pairs = [tuple(result["heads"]["labels"] for result in pair) for pair in runs]
    found = interval_over_runs(pairs, draws=60, seed=5)
    assert found == pytest.approx(np.percentile(drawn, [2.5, 97.5]), abs=1e-9)
    one = interval_over_runs(pairs[:1], draws=60, seed=5)  # of one seed it is that of a comparison
    row = compare(*runs[0], draws=60, seed=5)["mean"]
    assert one == pytest.approx((row["low"], row["high"]), abs=1e-9)
    other = copy.deepcopy(pairs[1])
    other[0]["images"][0]["sample_id"] = "another"
    assert interval_over_runs([pairs[0], other]) is None and interval_over_runs([]) is None


def test_order_of_images_does_not_matter(pair):
    a, b = pair
    turned = copy.deepcopy(b)
    turned["heads"]["labels"]["images"].reverse()
    assert compare_results(a, turned, draws=50) == compare_results(a, b, draws=50)


def test_pairing_narrows_the_interval(pair):
    """The same model against itself: paired, the difference is 0 in every draw; unpaired it is not."""
    a, _ = pair
    same = compare(a, a, draws=50)["mean"]
    assert same["low"] == same["high"] == 0
    renamed = copy.deepcopy(a)
    for i, image in enumerate(renamed["heads"]["labels"]["images"]):
        image["sample_id"] = f"x{i}"
    other = compare(a, renamed, draws=50)
    assert not other["paired"]
    assert other["mean"]["low"] < 0 < other["mean"]["high"]


def test_absent_classes_follow_the_protocol(pair):
    zero = []
    for result in map(copy.deepcopy, pair):
        result["protocol"]["absent"] = "zero"
        scores = result["heads"]["labels"]["subsets"]["rgb+depth"]["ensemble"]
        scores["mIoU"] = sum(value or 0 for value in scores["IoU"]) / 6
        zero.append(result)
    found, skipped = compare(*zero, draws=50), compare(*pair, draws=50)
    assert found["mean"]["difference"] == pytest.approx(skipped["mean"]["difference"] * 5 / 6)


@pytest.mark.parametrize(
    ("path", "value", "reason"),
    [
        ("protocol.scales", [0.75, 1.0], r"protocol\.scales: \[1\.0\] against \[0\.75, 1\.0\]"),
        (
            "heads.labels.fingerprint",
            "e2" * 32,
            r"heads\.labels\.fingerprint: f1f1f1f1f1f1\.\.\. against e2e2e2e2e2e2\.",
        ),
        ("dataset.every", 8, r"dataset\.every: 4 against 8"),
    ],
)
def test_unlike_results_are_refused(pair, path, value, reason):
    a, b = copy.deepcopy(pair)
    *parents, key = path.split(".")
    place = b
    for parent in parents:
        place = place[parent]
    place[key] = value
    with pytest.raises(ValueError, match=f"cannot be compared .{reason}.*; --force"):
        compare_results(a, b)
    forced = compare_results(a, b, force=True, draws=20)
    assert len(forced.forced) == 1
    assert f"COMPARED BY FORCE although {path}" in comparison_text(forced)


def test_where_rules_come_from_is_not_a_rule(pair):
    a, b = copy.deepcopy(pair)
    b["protocol"]["source"] = "elsewhere"
    assert reasons_against(a, b, ["labels"]) == []


def test_other_classes_are_refused_even_by_force(pair):
    a, b = copy.deepcopy(pair)
    b["heads"]["labels"]["about"]["classes"][0] = "other"
    with pytest.raises(ValueError, match="the classes differ"):
        compare_results(a, b, force=True)


def test_images_must_add_up_to_the_scores(pair):
    a, b = copy.deepcopy(pair)
    del b["heads"]["labels"]["images"][0]
    with pytest.raises(ValueError, match=r"B: the images add up to an mIoU of .*, the file says"):
        compare_results(a, b)


def test_text(pair):
    lines = comparison_text(compare_results(*pair, draws=300), ("one.json", "two.json")).splitlines()
    assert lines[:2] == ["A: one.json", "B: two.json"]
    assert lines[4].startswith("labels (rgb+depth): IoU of the ensemble in percent")
    assert "300 bootstrap draws of the same 9 images" in lines[4]
    mean = lines[-1].split()
    assert (mean[0], mean[-1]) == ("mean", "better")  # B is far better
    differences = [float(line.split("[")[0].split()[-1]) for line in lines[7:12]]
    assert differences == sorted(differences, reverse=True)
    assert lines[12].split() == ["sofa", "-", "-", "-", "-"]


def pixels_of(result):
    """Scores of a draw from sums over its pixels: the sum of an image is its score times its number of values."""
    images = result["heads"]["depth"]["images"]
    sizes = np.array([image["values"] for image in images])
    return {
        "MAE": (lambda w: (w * sizes * [i["MAE"] for i in images]).sum() / (w * sizes).sum()),
        "RMSE": (lambda w: np.sqrt((w * sizes * [i["RMSE"] ** 2 for i in images]).sum() / (w * sizes).sum())),
        "delta1": (lambda w: (w * sizes * [i["delta1"] for i in images]).sum() / (w * sizes).sum()),
    }


def test_maps_are_compared_as_their_scores_add_up():
    """MAE and RMSE are of all pixels of a draw, large images weighing more; both results get the same draws."""
    a, b = make_map_result(noise=0.5), make_map_result(noise=0.3)
    found = compare(a, b, draws=200, seed=3)
    assert found["paired"]
    assert [row["name"] for row in found["scores"]] == ["MAE", "AbsRel", "delta1", "RMSE"]
    assert [row["rule"] for row in found["scores"]] == ["pixels", "pixels", "pixels", "pixels, squared"]
    weights = draw_weights(9, 200, seed=3).numpy()
    rows = {row["name"]: row for row in found["scores"]}
    for name in ("MAE", "RMSE", "delta1"):
        one, other = pixels_of(a)[name], pixels_of(b)[name]
        noted = [r["heads"]["depth"]["subsets"]["rgb+thermal"]["ensemble"][name] for r in (a, b)]
        assert [rows[name]["a"], rows[name]["b"]] == pytest.approx(noted)
        expected = np.percentile([other(row) - one(row) for row in weights], [2.5, 97.5])
        assert [rows[name]["low"], rows[name]["high"]] == pytest.approx(expected, rel=1e-9)
    text = comparison_text(compare_results(a, b, draws=200))
    mae = next(line for line in text.splitlines() if line.startswith("MAE"))
    assert mae.startswith("MAE, m ↓") and mae.split()[-1] == "better"
    assert "†" not in text


def test_a_mean_over_images_is_one():
    """PSNR of a set is the mean of its images; LPIPS here is what no rule gives, and is marked."""
    pair = make_map_result(), make_map_result(seed=0, noise=0.4)
    for shift, result in enumerate(pair):
        head = result["heads"]["depth"]
        entry = {"unit": "", "digits": 3, "lower": False}
        head["scores"] = [{"name": name, **entry} for name in ("PSNR", "odd", "FID")]
        values = [20.0 + 3 * shift + i for i in range(9)]
        scores = head["subsets"]["rgb+thermal"]["ensemble"]
        scores |= {"PSNR": 24.0 + 3 * shift, "odd": 7.0, "FID": 50.0 - shift}
        for image, value in zip(head["images"], values, strict=True):
            image |= {"PSNR": value, "odd": value}
    found = compare(*pair, draws=50)
    psnr, odd, fid = found["scores"]
    assert (psnr["rule"], psnr["difference"], psnr["low"], psnr["high"]) == ("images", 3.0, 3.0, 3.0)
    assert (odd["rule"], odd["a"]) == ("mean of images", 24.0)
    assert (fid["rule"], fid["difference"], fid["low"]) == (None, -1.0, None)
    lines = comparison_text(compare_results(*pair, draws=50)).splitlines()
    assert [line.split()[-1] for line in lines if line.startswith(("PSNR", "FID"))] == ["better", "-"]
    assert lines[-1].startswith("† mean over the images")
    assert [line for line in lines if line.startswith("odd †")]


def test_images_without_a_score_are_left_out():
    pair = make_map_result(noise=0.5), make_map_result(noise=0.3)
    whole = compare(*pair, draws=50)
    for result in pair:
        blank = dict.fromkeys(("MAE", "AbsRel", "delta1", "RMSE"))
        result["heads"]["depth"]["images"].append({"sample_id": "x", **blank, "values": 0})
    found = compare(*pair, draws=50)
    assert [row["a"] for row in found["scores"]] == [row["a"] for row in whole["scores"]]
    assert all(row["low"] is not None for row in found["scores"])


def test_heads_are_those_in_common_or_named():
    joint, alone = make_joint_result(), make_result()
    assert list(compare_results(joint, joint, draws=10).heads) == ["labels", "depth"]
    assert list(compare_results(joint, joint, heads=["depth"], draws=10).heads) == ["depth"]
    assert list(compare_results(joint, alone, draws=10).heads) == ["labels"]
    joint["heads"]["depth"]["fingerprint"] = "other"
    compare_results(joint, make_joint_result(), heads=["labels"], draws=10)  # of other heads it does not matter
    with pytest.raises(ValueError, match=r"no head 'depth' in both: A has labels, depth; B has labels"):
        compare_results(joint, alone, heads=["depth"])
    with pytest.raises(ValueError, match="no head in common: A has labels; B has depth"):
        compare_results(alone, make_map_result())
    joint["heads"]["labels"]["task"] = "map"
    with pytest.raises(ValueError, match="the tasks of head 'labels' differ: map in A, classes in B"):
        compare_results(joint, alone)


@pytest.mark.parametrize(
    ("low", "high", "lower", "said"),
    [
        (0.1, 0.2, False, "better"),
        (0.1, 0.2, True, "worse"),
        (-2, -1, True, "better"),
        (-1, 1, False, ""),
        (None, None, True, ""),
    ],
)
def test_verdict(low, high, lower, said):
    assert Row("x", Score("x", lower=lower), "images", 1.0, 2.0, 1.0, low, high).verdict == said


def test_the_interval_of_one_result_agrees_with_a_loop(pair):
    head = pair[0]["heads"]["labels"]
    stack, weights = dense(pair[0]), draw_weights(9, 200, seed=3)
    drawn = [np.nanmean(iou(np.einsum("i,ijk->jk", row, stack))) for row in weights.numpy()]
    assert headline_interval(head, draws=200, seed=3) == pytest.approx(tuple(np.percentile(drawn, [2.5, 97.5])))
    zero = [np.nan_to_num(iou(np.einsum("i,ijk->jk", row, stack))).mean() for row in weights.numpy()]
    whole = np.nan_to_num(iou(stack.sum(0))).mean()
    other = {**head, "subsets": {"rgb": {"ensemble": {"mIoU": float(whole)}}}}
    assert headline_interval(other, "zero", draws=200, seed=3) == pytest.approx(tuple(np.percentile(zero, [2.5, 97.5])))


def test_the_interval_of_a_map_weighs_images_by_their_pixels():
    """Of two images three different sets can be drawn, so the interval's ends are those of one image twice."""
    head = copy.deepcopy(make_map_result(images=2)["heads"]["depth"])
    values = sorted(image["MAE"] for image in head["images"])
    assert headline_interval(head) == pytest.approx(tuple(values))


@pytest.mark.parametrize("kind", ["one image", "of all pixels", "other images"])
def test_where_images_do_not_make_the_score_there_is_no_interval(kind):
    if kind == "of all pixels":  # such as a median
        head = copy.deepcopy(make_map_result(images=5)["heads"]["depth"])
        next(iter(head["subsets"].values()))["ensemble"]["MAE"] *= 1.01
    else:
        head = make_result(images=1 if kind == "one image" else 3)["heads"]["labels"]
        head["images"] = head["images"][: 1 if kind == "one image" else 2]
    assert headline_interval(head) is None
