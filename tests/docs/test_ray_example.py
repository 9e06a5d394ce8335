"""examples/ray_predict.py on a cluster of Ray on this machine: its files are those of `rgbx predict`."""

import runpy
from pathlib import Path

import numpy as np
import pytest
import torch
from small_models import LABELS, diverse, small

from rgbx.cli.predict import main as predict
from rgbx.datasets import build_dataset
from rgbx.datasets.prepare.shards import write_shards
from rgbx.maps.files import encode_png
from rgbx.models.checkpoint import to_plain

EXAMPLE = Path(__file__).parents[2] / "examples/ray_predict.py"
DECLARED = """
classes.names = ["wall", "floor", "chair", "lamp", "box"]
label.folder = "label"
modalities.rgb = {folder = "rgb", unit = "rgb8"}
modalities.depth = {folder = "depth", unit = "metre", scale = 1000}
splits = {test = ["a", "b", "c", "d", "e"]}
"""


@pytest.mark.filterwarnings("ignore")  # of Ray itself
def test_its_files_are_those_of_the_command(ray_cluster, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("RAY_DATA_DISABLE_PROGRESS_BARS", "1")
    data, rng = tmp_path / "data", np.random.default_rng(0)
    for name, shape, kind in (
        ("rgb", (20, 28, 3), np.uint8),
        ("depth", (20, 28), np.uint16),
        ("label", (20, 28), np.uint8),
    ):
        (data / name).mkdir(parents=True)
        for stem in "abcde":
            content = rng.integers(0, 5 if name == "label" else 250, shape).astype(kind)
            (data / name / f"{stem}.png").write_bytes(encode_png(content * kind(16 if name == "depth" else 1)))
    (data / "dataset.toml").write_text(DECLARED)
    network = diverse(small(heads={"labels": LABELS})).eval()
    state = {"state_dict": network.state_dict(), "model": to_plain(network.recipe)}
    torch.save(state, tmp_path / "model.pth")
    write_shards(tmp_path / "shards", {"test": build_dataset(data, "test")}, data, shard_mb=0.005)
    model, out = str(tmp_path / "model.pth"), tmp_path / "out"
    assert predict([model, str(data), "--save", "ids", "--device", "cpu", "--out", str(tmp_path / "one")]) == 0
    files = {stem: (tmp_path / f"one/labels/{stem}.png").read_bytes() for stem in "abcde"}
    (out / "labels").mkdir(parents=True)
    (out / "labels/c.png").write_bytes(files["c"])  # of a run that ended
    words = [model, str(tmp_path / "shards"), "--out", str(out), "--batch", "2", "--workers", "1"]
    runpy.run_path(str(EXAMPLE))["main"](words)
    assert "5 frames, 4 of them new" in capsys.readouterr().out
    assert {path.stem: path.read_bytes() for path in (out / "labels").iterdir()} == files
