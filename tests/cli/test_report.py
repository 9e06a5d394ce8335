import json

import numpy as np
import pytest
from made_result import make_result
from PIL import Image

from rgbx.cli.evaluate import main as evaluate
from rgbx.cli.report import main
from rgbx.cli.train import main as train
from rgbx.evaluate.result import read_result
from rgbx.report.frames import ERRORS
from rgbx.tasks.classes import IGNORED


def test_report_of_a_file(tmp_path, capsys):
    (tmp_path / "some.json").write_text(json.dumps(make_result()))
    assert main([str(tmp_path / "some.json"), str(tmp_path / "out")]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'out/report.html'}\n"
    assert {"report.html", "results.json", "headline.csv"} <= {path.name for path in (tmp_path / "out").iterdir()}


def test_report_of_a_test_run(write_config, tmp_path):
    """Scores, pictures and page of one run; the pictures are those of the largest subset."""
    config, run, out = str(write_config()), tmp_path / "run", tmp_path / "out"
    assert train([config, "--work-dir", str(run)]) == 0
    assert evaluate([config, str(run), "--modalities", "rgb", "rgb+depth", "--report", str(out)]) == 0
    result = read_result(out / "results.json")["heads"]["labels"]
    assert list(result["subsets"]) == ["rgb+depth", "rgb"]
    assert [entry["kind"] for entry in result["pictures"]] == ["best", "median", "worst"]
    files, alone = result["pictures"][0]["files"], ["RGB branch", "depth branch", "RGB alone"]
    assert list(files) == ["input/rgb", "input/depth", "truth", "ensemble", ERRORS, *alone]
    pictures = {name: np.asarray(Image.open(out / file)) for name, file in files.items()}
    assert result["pictures"][0]["legend"].keys() <= {*result["about"]["classes"], "not labelled"}
    wrong = pictures[ERRORS][..., 0] > 2.0 * pictures[ERRORS][..., 1]
    scored = (pictures[ERRORS] != IGNORED).any(-1)
    best = next(image for image in result["images"] if image["sample_id"] == result["pictures"][0]["sample_id"])
    assert 1 - wrong.sum() / scored.sum() == pytest.approx(best["aAcc"])
    page = (out / "report.html").read_text()
    assert page.count("data:image/png;base64,") == 24
    assert 'id="calibration"' in page


def test_mistakes_are_one_sentence(tmp_path, capsys):
    (tmp_path / "some.json").write_text(json.dumps({"format": "other"}))
    assert main([str(tmp_path / "some.json"), str(tmp_path / "out")]) == 2
    assert "field 'format' is 'other'" in capsys.readouterr().err


@pytest.mark.parametrize("tool", ["report", "compare"])
def test_modules_are_imported_on_their_own(start_tool, tool):
    """In a fresh process: what one module imports must not lean on what another imported before."""
    process = start_tool("-c", f"import rgbx.cli.{tool}")
    out, error = process.communicate(timeout=120)
    assert (process.returncode, out, error) == (0, "", "")
