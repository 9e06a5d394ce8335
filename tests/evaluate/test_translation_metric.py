"""TranslationMetric: which scores for which target, against the pure functions over all images at once."""

from __future__ import annotations

import math

import pytest
import torch

from rgbx.datasets import STANDARD_MAPS, MapSpec
from rgbx.evaluate import translation_metric
from rgbx.evaluate.translation_metric import TranslationMetric, score_table
from rgbx.metrics import frechet_distance, kernel_distance, psnr, ssim

pytestmark = pytest.mark.filterwarnings("ignore:.*biased upwards")
RELATIVE = {"edge": MapSpec("edge", 1, "float32", "relative", "linear")}


def sample(index, name="rgb", size=(12, 14), valid=False):
    generator = torch.Generator().manual_seed(index)
    channels = {"rgb": 3, "normal": 3}.get(name, 1)
    draw = lambda: torch.rand(channels, *size, generator=generator)  # noqa: E731
    scale = {"rgb": 255.0, "depth": 5.0}.get(name, 1.0)
    shift = 0.5 if name == "normal" else 0.0
    found = {
        "sample_id": f"view/{index}",
        "target": {name: scale * (draw() - shift)},
        "prediction": {key: scale * (draw() - shift) for key in ("a", "b", "ensemble")},
    }
    if valid:
        found["valid"] = {name: torch.rand(1, *size, generator=generator) < 0.7}
    return found


def scored(samples, maps=STANDARD_MAPS, **options):
    metric = TranslationMetric(table=False, **options)
    metric.dataset_meta = {"maps": maps}
    for one in samples:
        metric.process(None, [one])
    return metric.evaluate(len(samples)), metric


def test_colours():
    samples = [sample(index) for index in range(3)]
    found, _ = scored(samples)
    assert list(found)[:4] == ["PSNR", "SSIM", "MAE", "RMSE"]
    assert set(found) == {f"{prefix}{key}" for prefix in ("", "a/", "b/") for key in ("PSNR", "SSIM", "MAE", "RMSE")}
    for prefix, name in (("", "ensemble"), ("b/", "b")):
        pairs = [(one["prediction"][name], one["target"]["rgb"]) for one in samples]
        errors = torch.stack([p - t for p, t in pairs]).double()
        assert found[f"{prefix}MAE"] == pytest.approx(float(errors.abs().mean()), rel=1e-6)
        assert found[f"{prefix}RMSE"] == pytest.approx(float(errors.square().mean().sqrt()), rel=1e-6)
        for key, function in (("PSNR", psnr), ("SSIM", ssim)):
            expected = sum(function(p, t, data_range=255) for p, t in pairs) / 3
            assert found[f"{prefix}{key}"] == pytest.approx(expected, rel=1e-9)


def test_depth_counts_measured_pixels():
    samples = [sample(index, "depth", valid=True) for index in range(2)]
    samples[0]["target"]["depth"][0, 0] = 0
    found, _ = scored(samples)
    assert list(found)[:6] == ["MAE", "RMSE", "AbsRel", "delta1", "delta2", "delta3"]
    pairs = []
    for one in samples:
        counted = one["valid"]["depth"] & (one["target"]["depth"] > 0)
        pairs += zip(one["prediction"]["a"][counted].tolist(), one["target"]["depth"][counted].tolist(), strict=True)
    assert found["a/AbsRel"] == pytest.approx(sum(abs(p - t) / t for p, t in pairs) / len(pairs), rel=1e-6)
    assert found["a/delta1"] == sum(max(p / t, t / p) < 1.25 for p, t in pairs) / len(pairs)


def test_normals_and_relative_maps():
    found, _ = scored([sample(index, "normal") for index in range(2)])
    angles = ["angle_mean", "angle_median", "within_11.25", "within_22.5", "within_30"]
    assert [key for key in found if "/" not in key] == [*angles, "MAE", "RMSE", "MAE_x10", "RMSE_x10"]
    assert found["MAE_x10"] == pytest.approx(10 * found["MAE"])
    found, _ = scored([sample(index, "edge") for index in range(2)], RELATIVE)
    assert found["RMSE_x10"] == pytest.approx(20 * found["RMSE"])  # 0..1 is half as wide as -1..1
    assert {"PSNR", "SSIM"} < set(found)
    found, _ = scored([sample(0, "thermal")])
    assert [key for key in found if "/" not in key] == ["MAE", "RMSE"]


def test_perfect_images():
    one = sample(0)
    one["prediction"] = {"ensemble": one["target"]["rgb"].clone()}
    assert scored([one])[0] == {"PSNR": math.inf, "SSIM": 1.0, "MAE": 0.0, "RMSE": 0.0}


class Corner(torch.nn.Module):
    """A stand-in for Inception: the corner's colours."""

    def forward(self, images):
        assert images.dtype == torch.uint8
        return (images[:, :, :2, 0].flatten(1).float() / 7,)


def test_fid_and_kid_of_the_networks_features(monkeypatch, tmp_path):
    monkeypatch.setattr(translation_metric, "inception_features", lambda path: Corner())
    (tmp_path / "weights").write_bytes(b"abc")
    samples = [sample(index) for index in range(9)]
    fid = {"weights": tmp_path / "weights", "subsets": 5, "subset_size": 4, "seed": 1}
    found, metric = scored(samples, fid=fid)

    def features(images):
        return Corner()(torch.stack(images).round().clamp(0, 255).to(torch.uint8))[0]

    truth = features([one["target"]["rgb"] for one in samples])
    for prefix, name in (("", "ensemble"), ("a/", "a")):
        own = features([one["prediction"][name] for one in samples])
        assert found[f"{prefix}FID"] == pytest.approx(frechet_distance(own, truth))
        expected = kernel_distance(own, truth, subsets=5, subset_size=4, seed=1)
        assert (found[f"{prefix}KID"], found[f"{prefix}KID_std"]) == pytest.approx(expected)
    sha = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert metric.weights == {"inception": {"file": str(tmp_path / "weights"), "sha256": sha}}
    assert "KIDx100" in score_table({"ensemble": {"KID": 0.0123}}, STANDARD_MAPS["rgb"])
    assert "1.23" in score_table({"ensemble": {"KID": 0.0123}}, STANDARD_MAPS["rgb"])
    with pytest.raises(ValueError, match="for colours, but 'depth' is metre"):
        scored([sample(0, "depth")], fid=fid)


def test_lpips(monkeypatch, tmp_path):
    class Distance(torch.nn.Module):
        def __init__(self, backbone, linear):
            super().__init__()

        def forward(self, a, b):
            assert a.min() >= -1 and b.max() <= 1
            return (a - b).abs().mean((1, 2, 3))

    monkeypatch.setattr(translation_metric, "LPIPS", Distance)
    (tmp_path / "file").write_bytes(b"")
    samples = [sample(index) for index in range(2)]
    found, _ = scored(samples, lpips={"backbone": tmp_path / "file", "linear": tmp_path / "file"})
    expected = sum(
        float((one["prediction"]["a"].round() - one["target"]["rgb"].round()).abs().mean() / 127.5) for one in samples
    )
    assert found["a/LPIPS"] == pytest.approx(expected / 2, rel=1e-5)
    assert "FID" not in found


def test_evaluating_starts_anew():
    first, metric = scored([sample(0), sample(1)])
    metric.process(None, [sample(0), sample(1)])
    assert metric.evaluate(2) == first
    with pytest.raises(ValueError, match="nothing was evaluated"):
        metric.evaluate(2)


def test_the_order_of_images_does_not_matter():
    """To the last bit, but for the features' distances."""
    samples = [sample(index, "depth", valid=True) for index in range(5)]
    assert scored(samples)[0] == scored(samples[::-1])[0]


def test_table():
    rows = {"ensemble": {"PSNR": 21.0, "MAE_x10": 1.0}, "a": {"PSNR": math.nan, "MAE_x10": 1.0}}
    assert score_table(rows, STANDARD_MAPS["rgb"]).splitlines() == [
        "rgb (rgb8)  PSNR",
        "----------  ----",
        "ensemble      21",
        "a              -",
    ]


def test_mistakes_name_the_sample(tmp_path):
    metric = TranslationMetric(table=False)
    metric.dataset_meta = {}
    with pytest.raises(ValueError, match=r"sample 'view/0': expected one target, found \[\]"):
        metric.process(None, [{**sample(0), "target": {}}])
    wrong = sample(0)
    wrong["prediction"]["a"] = wrong["prediction"]["a"][:, :5]
    with pytest.raises(ValueError, match="sample 'view/0': expected two maps"):
        metric.process(None, [wrong])
    with pytest.raises(ValueError, match="sample 'view/0': no MapSpec for the target 'shade'"):
        metric.process(None, [sample(0, "shade")])
    with pytest.raises(ValueError, match="fid needs 'weights'"):
        TranslationMetric(fid={"seed": 1})
    with pytest.raises(ValueError, match=r"unknown options \['seeds'\]"):
        TranslationMetric(fid={"weights": "x", "seeds": 1})
