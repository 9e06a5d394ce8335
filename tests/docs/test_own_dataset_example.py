"""examples/own_dataset.py: made files are declared, planned, trained on and predicted."""

import runpy
from pathlib import Path

import cv2

EXAMPLE = Path(__file__).parents[2] / "examples/own_dataset.py"


def test_it_runs(tmp_path, capsys):
    runpy.run_path(str(EXAMPLE))["main"](tmp_path, "1s")
    told = capsys.readouterr().out
    assert "Warning" not in told and "11 train, 1 val, 4 test" in told
    areas = eval(told.splitlines()[-1])
    assert list(areas) == ["wall", "picture", "box"] and abs(sum(areas.values()) - 1) < 0.02
    assert cv2.imread(str(tmp_path / "overlay.png")).shape == (72, 96, 3)
    assert len(list((tmp_path / "run").glob("best_*.pth"))) == 1
