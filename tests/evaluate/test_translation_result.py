"""The result file of translation: what it says, and that it changes with the data and not with the predictions."""

from __future__ import annotations

import json

import pytest
import torch

from rgbx.datasets import STANDARD_MAPS
from rgbx.evaluate.translation_metric import TranslationMetric
from rgbx.evaluate.translation_result import read_translation_result, write_translation_result


def evaluated(seed=0, ids=("a", "b"), size=(12, 12)):
    metric = TranslationMetric(table=False)
    metric.dataset_meta = {"maps": STANDARD_MAPS}
    generator = torch.Generator().manual_seed(seed)
    for name in ids:
        target = torch.full((3, *size), 7.0)
        branches = {key: 255 * torch.rand(3, *size, generator=generator) for key in ("depth", "ensemble")}
        branches["depth"] = target.clone() if name == "a" else branches["depth"]
        metric.process(None, [{"sample_id": name, "target": {"rgb": target}, "prediction": branches}])
    metric.evaluate(len(ids))
    return metric.evaluation


def written(tmp_path, evaluation, **options):
    (tmp_path / "model.pth").write_bytes(b"abc")
    arguments = dict(
        protocol={"name": "rgbx", "source": "here"},
        config={"file": "c.py", "sha256": "0" * 64},
        checkpoint=tmp_path / "model.pth",
        dataset=object(),
    )
    return write_translation_result(tmp_path / "r.json", {"depth+normal": evaluation}, **{**arguments, **options})


def test_what_it_says(tmp_path):
    evaluation = evaluated()
    written(tmp_path, evaluation, every=3, dtype="bfloat16")
    text = (tmp_path / "r.json").read_text()
    found = read_translation_result(tmp_path / "r.json")
    assert found["format"] == "rgbx-translation-result/1"
    assert found["protocol"]["name"] == "rgbx" and found["dtype"] == "bfloat16"
    assert found["checkpoint"]["sha256"].startswith("ba7816bf")
    assert (found["dataset"]["samples"], found["dataset"]["every"]) == (2, 3)
    assert found["target"] == {"name": "rgb", "unit": "rgb8", "channels": 3}
    assert list(found["subsets"]["depth+normal"]) == ["ensemble", "depth"]
    assert found["subsets"]["depth+normal"]["ensemble"] == evaluation.scores("ensemble")
    assert found["subsets"]["depth+normal"]["depth"]["PSNR"] is None  # infinite
    assert [image["sample_id"] for image in found["images"]] == ["a", "b"]
    mean = sum(image["PSNR"] for image in found["images"]) / 2
    assert mean == pytest.approx(found["subsets"]["depth+normal"]["ensemble"]["PSNR"])
    assert "NaN" not in text and "Infinity" not in text
    assert len(text.splitlines()) == len(found) + 2


def test_fingerprint(tmp_path):
    """Of the data alone."""
    one = written(tmp_path, evaluated(0))["dataset"]["fingerprint"]
    assert written(tmp_path, evaluated(5))["dataset"]["fingerprint"] == one
    assert written(tmp_path, evaluated(0, ids=("a", "c")))["dataset"]["fingerprint"] != one
    assert written(tmp_path, evaluated(0, size=(12, 13)))["dataset"]["fingerprint"] != one


def test_reading_refuses_other_files(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.json: no such result file"):
        read_translation_result(tmp_path / "none.json")
    (tmp_path / "a.json").write_text(json.dumps({"format": "rgbx-result/1"}))
    with pytest.raises(ValueError, match=r"'format' is 'rgbx-result/1', expected 'rgbx-translation-result/1'"):
        read_translation_result(tmp_path / "a.json")
    (tmp_path / "b.json").write_text("{")
    with pytest.raises(ValueError, match="not valid JSON"):
        read_translation_result(tmp_path / "b.json")
