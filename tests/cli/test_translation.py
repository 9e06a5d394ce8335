"""tools/train.py and tools/test.py on a config that translates."""

import json

import cv2
import pytest

from rgbx.cli.evaluate import main
from rgbx.cli.evaluate_translation import score_table
from rgbx.cli.train import main as train
from rgbx.evaluate.translation_result import read_translation_result


@pytest.fixture
def trained(write_config, translation_config, tmp_path):
    config = str(write_config(base=translation_config))
    arguments = ["--data-root", str(tmp_path / "rooms")]
    assert train([config, "--work-dir", str(tmp_path / "run"), *arguments]) == 0
    return config, tmp_path / "run", arguments


def test_trains_scores_every_subset_and_draws(trained, tmp_path):
    config, run, arguments = trained
    log = next(run.rglob("*.log")).read_text()
    assert "Translator: " in log and "generator 0.0" in log and "discriminator: " in log
    assert [path.name for path in (run / "pictures").iterdir()] == ["epoch_2.png"]
    assert len(list(run.glob("best_MAE_epoch_*.pth"))) == 1
    out, pictures = tmp_path / "scores.json", tmp_path / "pictures"
    subsets = ["rgb+normal", "rgb", "normal"]
    options = ["--modalities", *subsets, "--json", str(out), "--draw", str(pictures), "--draw-count", "2"]
    assert main([config, str(run), *arguments, *options]) == 0
    found = json.loads(out.read_text())
    assert list(found["subsets"]) == subsets and found["protocol"]["name"] == "rgbx"
    assert list(found["subsets"]["rgb+normal"]) == ["ensemble", "rgb", "normal"]
    assert found["subsets"]["rgb"]["ensemble"] == found["subsets"]["rgb"]["rgb"]
    assert all(0 < scores["ensemble"]["MAE"] < 10 for scores in found["subsets"].values())  # metres
    assert found["target"] == {"name": "depth", "unit": "metre", "channels": 1}
    assert [image["sample_id"] for image in found["images"]] == ["test/000000", "test/000001", "test/000002"]
    assert found == read_translation_result(out)
    height, width = cv2.imread(str(pictures / "grid.png")).shape[:2]
    assert width > 2.5 * height  # two rows of six pictures of 24 x 32


def test_protocol_cen(trained, tmp_path):
    config, run, arguments = trained
    found = {}
    for name in ("rgbx", "cen"):
        out = tmp_path / f"{name}.json"
        assert main([config, str(run), *arguments, "--protocol", name, "--json", str(out)]) == 0
        found[name] = json.loads(out.read_text())
    assert found["cen"]["protocol"]["dropout"] and not found["rgbx"]["protocol"]["dropout"]
    assert found["cen"]["subsets"] != found["rgbx"]["subsets"]


@pytest.mark.parametrize(
    "option", ["--boundary", "--calibration", "--robustness", "--report=x", "--save-predictions=x"]
)
def test_options_of_segmentation_are_refused(trained, option, capsys):
    config, run, arguments = trained
    assert main([config, str(run), *arguments, option]) == 2
    assert "is for segmentation, and this config translates" in capsys.readouterr().err


def test_a_protocol_of_segmentation_is_refused(trained, capsys):
    config, run, arguments = trained
    assert main([config, str(run), *arguments, "--protocol", "cmx-ss"]) == 2
    assert "not one for translation; expected one of rgbx, cen" in capsys.readouterr().err


def test_the_table_by_hand():
    subsets = {
        "rgb+normal": {"ensemble": {"MAE": 0.5, "PSNR": 20.0}, "rgb": {"MAE": 0.25, "PSNR": None}},
        "rgb": {"ensemble": {"MAE": 1.0}},
    }
    lines = [line.split() for line in score_table(subsets).splitlines()]
    assert lines[0] == ["modalities", "image", "MAE", "PSNR"]
    assert lines[2:] == [
        ["rgb+normal", "ensemble", "0.5", "20"],
        ["rgb+normal", "rgb", "0.25", "-"],
        ["rgb", "ensemble", "1", "-"],
    ]
