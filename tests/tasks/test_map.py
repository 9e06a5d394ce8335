"""What the task `map` measures and scores, unit by unit, against the pure functions over all images at once."""

from __future__ import annotations

import math

import pytest
import torch

from rgbx.evaluate.metric import metrics_of
from rgbx.maps import STANDARD_MAPS, MapSpec
from rgbx.metrics import frechet_distance, kernel_distance, psnr, ssim
from rgbx.tasks import PROTOCOLS, Map, Prediction
from rgbx.tasks import map as task_map
from rgbx.tasks.map import score_names, score_table, stretch

pytestmark = pytest.mark.filterwarnings("ignore:.*biased upwards")
RELATIVE = {"edge": MapSpec("edge", 1, "float32", "relative", "linear")}


def sample(index, name="rgb", size=(12, 14), valid=False):
    generator = torch.Generator().manual_seed(index)
    channels = {"rgb": 3, "normal": 3}.get(name, 1)
    draw = lambda: torch.rand(channels, *size, generator=generator)  # noqa: E731
    scale = {"rgb": 255.0, "depth": 5.0}.get(name, 1.0)
    shift = 0.5 if name == "normal" else 0.0
    truth = scale * (draw() - shift)
    predicted = {key: scale * (draw() - shift) for key in ("a", "b", "ensemble")}
    return Prediction(predicted, truth, torch.rand(1, *size, generator=generator) < 0.7 if valid else None)


def counted(samples, name="rgb", maps=STANDARD_MAPS, protocol="rgbx", **options):
    task = Map(name, range={"low": 0, "high": 1})
    counter = task.counter(PROTOCOLS[protocol], {"maps": maps}, **options)
    return counter.evaluation([counter.count(f"view/{i}", one, {}) for i, one in enumerate(samples)])


def scored(samples, name="rgb", maps=STANDARD_MAPS, **options):
    evaluation = counted(samples, name, maps, **options)
    found = metrics_of({"head": evaluation})
    assert evaluation.table[0].name in ("PSNR", "angle_mean", "MAE")
    assert {score.name for score in evaluation.table} == {key for key in found if "/" not in key}
    return found


def test_colours():
    samples = [sample(index) for index in range(3)]
    found = scored(samples)
    assert list(found)[:4] == ["PSNR", "SSIM", "MAE", "RMSE"]
    assert set(found) == {f"{prefix}{key}" for prefix in ("", "a/", "b/") for key in ("PSNR", "SSIM", "MAE", "RMSE")}
    for prefix, name in (("", "ensemble"), ("b/", "b")):
        pairs = [(one.prediction[name], one.target) for one in samples]
        errors = torch.stack([p - t for p, t in pairs]).double()
        assert found[f"{prefix}MAE"] == pytest.approx(float(errors.abs().mean()), rel=1e-6)
        assert found[f"{prefix}RMSE"] == pytest.approx(float(errors.square().mean().sqrt()), rel=1e-6)
        for key, function in (("PSNR", psnr), ("SSIM", ssim)):
            expected = sum(function(p, t, data_range=255) for p, t in pairs) / 3
            assert found[f"{prefix}{key}"] == pytest.approx(expected, rel=1e-9)


def test_depth_counts_measured_pixels():
    samples = [sample(index, "depth", valid=True) for index in range(2)]
    samples[0].target[0, 0] = 0
    found = scored(samples, "depth")
    assert list(found)[:6] == ["MAE", "RMSE", "AbsRel", "delta1", "delta2", "delta3"]
    pairs = []
    for one in samples:
        counts = one.valid & (one.target > 0)
        pairs += zip(one.prediction["a"][counts].tolist(), one.target[counts].tolist(), strict=True)
    assert found["a/AbsRel"] == pytest.approx(sum(abs(p - t) / t for p, t in pairs) / len(pairs), rel=1e-6)
    assert found["a/delta1"] == sum(max(p / t, t / p) < 1.25 for p, t in pairs) / len(pairs)


def test_normals_and_relative_maps():
    found = scored([sample(index, "normal") for index in range(2)], "normal")
    angles = ["angle_mean", "angle_median", "within_11.25", "within_22.5", "within_30"]
    assert [key for key in found if "/" not in key] == [*angles, "MAE", "RMSE", "MAE_x10", "RMSE_x10"]
    assert found["MAE_x10"] == pytest.approx(10 * found["MAE"])
    found = scored([sample(index, "edge") for index in range(2)], "edge", RELATIVE)
    assert found["RMSE_x10"] == pytest.approx(20 * found["RMSE"])  # 0..1 is half as wide as -1..1
    assert {"PSNR", "SSIM"} < set(found)
    thermal = {"thermal": MapSpec("thermal", 1, "float32", "sensor", "linear")}
    found = scored([sample(0, "thermal")], "thermal", thermal)
    assert [key for key in found if "/" not in key] == ["MAE", "RMSE"]


def test_perfect_images():
    one = sample(0)
    one = one._replace(prediction={"ensemble": one.target.clone()})
    assert scored([one]) == {"PSNR": math.inf, "SSIM": 1.0, "MAE": 0.0, "RMSE": 0.0}


class Corner(torch.nn.Module):
    """A stand-in for Inception: the corner's colours."""

    def forward(self, images):
        assert images.dtype == torch.uint8
        return (images[:, :, :2, 0].flatten(1).float() / 7,)


def test_fid_and_kid_of_the_networks_features(monkeypatch, tmp_path):
    monkeypatch.setattr(task_map, "inception_features", lambda path: Corner())
    (tmp_path / "weights").write_bytes(b"abc")
    samples = [sample(index) for index in range(9)]
    fid = {"weights": tmp_path / "weights", "subsets": 5, "subset_size": 4, "seed": 1}
    found, evaluation = scored(samples, fid=fid), counted(samples, fid=fid)

    def features(images):
        return Corner()(torch.stack(images).round().clamp(0, 255).to(torch.uint8))[0]

    truth = features([one.target for one in samples])
    for prefix, name in (("", "ensemble"), ("a/", "a")):
        own = features([one.prediction[name] for one in samples])
        assert found[f"{prefix}FID"] == pytest.approx(frechet_distance(own, truth))
        expected = kernel_distance(own, truth, subsets=5, subset_size=4, seed=1)
        assert (found[f"{prefix}KID"], found[f"{prefix}KID_std"]) == pytest.approx(expected)
    sha = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert evaluation.weights == {"inception": {"file": str(tmp_path / "weights"), "sha256": sha}}
    assert "KIDx100" in score_table({"ensemble": {"KID": 0.0123}}, STANDARD_MAPS["rgb"])
    assert "1.23" in score_table({"ensemble": {"KID": 0.0123}}, STANDARD_MAPS["rgb"])
    with pytest.raises(ValueError, match="for colours, but 'depth' is metre"):
        scored([sample(0, "depth")], "depth", fid=fid)


def test_cen_stretches_colours_for_fid_and_kid_alone(monkeypatch, tmp_path):
    monkeypatch.setattr(task_map, "inception_features", lambda path: Corner())
    (tmp_path / "weights").write_bytes(b"abc")
    samples = [sample(index) for index in range(5)]
    fid = {"weights": tmp_path / "weights", "subsets": 5, "subset_size": 4}
    plain, cen = (counted(samples, protocol=name, fid=fid).scores("ensemble") for name in ("rgbx", "cen"))
    assert {key for key in plain if plain[key] != cen[key]} == {"FID", "KID", "KID_std"}

    def features(image):
        low, high = float(image.min()), float(image.max())
        whole = ((image.double() - low) * 255 / (high - low)).floor()
        return (whole[:, :2, 0].flatten() / 7).float()

    own, truth = (
        torch.stack([features(x) for x in images])
        for images in zip(*((one.prediction["ensemble"], one.target) for one in samples), strict=True)
    )
    assert cen["FID"] == pytest.approx(frechet_distance(own, truth), rel=1e-3)


def test_features_are_compared_once(monkeypatch, tmp_path):
    monkeypatch.setattr(task_map, "inception_features", lambda path: Corner())
    (tmp_path / "weights").write_bytes(b"abc")
    calls = []
    monkeypatch.setattr(task_map, "frechet_distance", lambda *pair: calls.append(pair) or 1.0)
    fid = {"weights": tmp_path / "weights", "subsets": 5, "subset_size": 3}
    evaluation = counted([sample(index) for index in range(4)], fid=fid)
    first, second = evaluation.scores("ensemble"), evaluation.scores("ensemble")
    assert first == second and first is not second and len(calls) == 1
    first["PSNR"] = 0
    assert evaluation.scores("ensemble") == second


def test_stretch_by_hand():
    assert stretch(torch.tensor([[[1.0, 2.0, 4.0]]])).tolist() == [[[0.0, 85.0, 255.0]]]
    assert stretch(torch.full((1, 2, 2), 3.0)).tolist() == [[[0.0, 0.0], [0.0, 0.0]]]


def test_lpips(monkeypatch, tmp_path):
    class Distance(torch.nn.Module):
        def __init__(self, backbone, linear):
            super().__init__()

        def forward(self, a, b):
            assert a.min() >= -1 and b.max() <= 1
            return (a - b).abs().mean((1, 2, 3))

    monkeypatch.setattr(task_map, "LPIPS", Distance)
    (tmp_path / "file").write_bytes(b"")
    samples = [sample(index) for index in range(2)]
    found = scored(samples, lpips={"backbone": tmp_path / "file", "linear": tmp_path / "file"})
    expected = sum(float((one.prediction["a"].round() - one.target.round()).abs().mean() / 127.5) for one in samples)
    assert found["a/LPIPS"] == pytest.approx(expected / 2, rel=1e-5)
    assert "FID" not in found


def test_the_order_of_images_does_not_matter():
    """To the last bit, but for the features' distances."""
    samples = [sample(index, "depth", valid=True) for index in range(5)]
    assert scored(samples, "depth") == scored(samples[::-1], "depth")


def test_table():
    rows = {"ensemble": {"PSNR": 21.0, "MAE_x10": 1.0}, "a": {"PSNR": math.nan, "MAE_x10": 1.0}}
    assert score_table(rows, STANDARD_MAPS["rgb"]).splitlines() == [
        "rgb (rgb8)  PSNR",
        "----------  ----",
        "ensemble      21",
        "a              -",
    ]


@pytest.mark.parametrize("name", ["depth", "normal", "edge"])
def test_what_lies_under_a_mask_does_not_count(name):
    one = sample(0, name, valid=True)
    holes = one._replace(target=one.target.masked_fill(~one.valid, math.nan))
    assert scored([one], name, {**STANDARD_MAPS, **RELATIVE}) == scored([holes], name, {**STANDARD_MAPS, **RELATIVE})


def test_units_have_scores_of_their_own():
    assert score_names("metre")[0] == "MAE" and score_names("unit_vector")[0] == "angle_mean"
    lower = {
        score.name: score.lower
        for unit in ("rgb8", "metre")
        for score in map(task_map.describe_score, score_names(unit), [unit] * 9)
    }
    assert lower == {
        "PSNR": False,
        "SSIM": False,
        "MAE": True,
        "RMSE": True,
        "AbsRel": True,
        "delta1": False,
        "delta2": False,
        "delta3": False,
    }
    assert [s.name for s in Map("rgb").table(fid={}, lpips={})] == ["PSNR", "SSIM", "MAE", "RMSE"]
    assert [s.name for s in Map("rgb").table(fid={"x": 1}, lpips={"y": 1})][4:] == ["FID", "KID", "KID_std", "LPIPS"]


def test_fingerprints_are_of_the_truth_alone():
    prints = [counted([one, sample(1)]).fingerprint() for one in (sample(0), sample(7), sample(0, size=(12, 13)))]
    assert prints[0] == prints[1] != prints[2]


def test_mistakes_name_the_sample():
    with pytest.raises(ValueError, match="sample 'view/0': expected the target 'rgb', found none"):
        counted([sample(0)._replace(target=None)])
    wrong = sample(0)
    wrong.prediction["a"] = wrong.prediction["a"][:, :5]
    with pytest.raises(ValueError, match="sample 'view/0': expected two maps"):
        counted([wrong])
    with pytest.raises(ValueError, match="no MapSpec for the target 'shade'"):
        counted([sample(0, "shade")], "shade")
    with pytest.raises(ValueError, match="fid needs 'weights'"):
        counted([sample(0)], fid={"seed": 1})
    with pytest.raises(ValueError, match=r"unknown options \['seeds'\]"):
        counted([sample(0)], fid={"weights": "x", "seeds": 1})


@pytest.mark.parametrize("unit", ["metre", "unit_vector"])
def test_a_unit_that_changes_an_answer_is_the_head_s_to_state(unit):
    """A head that takes its unit from the dataset would mirror vectors like colours, and count holes of depth."""
    head = Map("layout", range={"low": -1, "high": 1})
    meta = {"maps": {"layout": MapSpec.of_unit("layout", unit)}}
    with pytest.raises(ValueError, match=f"'layout' is of unit '{unit}', .*state unit='{unit}' in the head"):
        head.spec(meta)
    assert Map("layout", unit=unit, range={"low": -1, "high": 1}).spec(meta).unit == unit
    assert head.spec({"maps": {"layout": MapSpec.of_unit("layout", "relative")}}).unit == "relative"
