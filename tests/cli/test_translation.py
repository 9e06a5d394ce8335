"""tools/train.py and tools/test.py on a config that translates, with a discriminator."""

import json

import cv2
import pytest

from rgbx.cli.evaluate import main
from rgbx.cli.train import main as train
from rgbx.evaluate.result import read_result


@pytest.fixture(scope="module")
def trained(tmp_path_factory, translation_config):
    folder = tmp_path_factory.mktemp("translation")
    config = folder / "config.py"
    config.write_text(translation_config)
    arguments = ["--data-root", str(folder / "rooms")]
    (folder / "rooms").mkdir()
    assert train([str(config), "--work-dir", str(folder / "run"), *arguments]) == 0
    return str(config), folder / "run", arguments


def test_trains_scores_every_subset_and_draws(trained, tmp_path):
    config, run, arguments = trained
    log = next(run.rglob("*.log")).read_text()
    assert "backbone 0.0" in log and "depth 0.0" in log and "opponents 0.0" in log
    assert [path.name for path in (run / "pictures").iterdir()] == ["epoch_2.png"]
    assert len(list(run.glob("best_MAE_epoch_*.pth"))) == 1
    out, pictures = tmp_path / "scores.json", tmp_path / "pictures"
    subsets = ["rgb+normal", "rgb", "normal"]
    options = ["--modalities", *subsets, "--json", str(out), "--draw", str(pictures), "--draw-count", "2"]
    assert main([config, str(run), *arguments, *options]) == 0
    written = json.loads(out.read_text())
    assert written == read_result(out) and written["protocol"]["name"] == "rgbx"
    found = written["heads"]["depth"]
    assert found["scores"][0] == {"name": "MAE", "unit": "m", "digits": 3, "lower": True}
    assert list(found["subsets"]) == subsets
    assert list(found["subsets"]["rgb+normal"]) == ["ensemble", "rgb", "normal"]
    assert found["subsets"]["rgb"]["ensemble"] == found["subsets"]["rgb"]["rgb"]
    assert all(0 < scores["ensemble"]["MAE"] < 10 for scores in found["subsets"].values())  # metres
    assert {key: found["about"][key] for key in ("name", "unit", "channels")} == {
        "name": "depth",
        "unit": "metre",
        "channels": 1,
    }
    assert [image["sample_id"] for image in found["images"]] == ["test/000000", "test/000001", "test/000002"]
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
    assert found["cen"]["heads"]["depth"]["subsets"] != found["rgbx"]["heads"]["depth"]["subsets"]


def test_what_is_of_classes_alone_is_refused(trained, capsys):
    config, run, arguments = trained
    assert main([config, str(run), *arguments, "--boundary"]) == 2
    assert "has the option 'boundary'" in capsys.readouterr().err
    assert main([config, str(run), *arguments, "--protocol", "cmx-ss"]) == 2
    assert "protocol 'cmx-ss' is for classes" in capsys.readouterr().err
