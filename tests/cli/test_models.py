"""A model as a folder, and by its name on the hub, wherever a checkpoint is expected; and the list of models."""

import json
import shutil

import cv2
import numpy as np
import pytest
import torch
from huggingface_hub import constants

import rgbx.cli.models
from rgbx.cli.arguments import shipped_configs
from rgbx.cli.config import load_config
from rgbx.cli.main import main
from rgbx.cli.model import config_model
from rgbx.models.checkpoint import to_plain

NAME, COMMIT = "hf-hub:owner/halves", "1" * 40
FILES = {"README.md", "config.json", "model.safetensors"}


@pytest.fixture
def place(write_config, resnet_base, tmp_path, monkeypatch):
    """A folder with a config, a checkpoint, the model's folder, and the same in the cache of a hub out of reach."""
    monkeypatch.chdir(tmp_path)
    config = write_config("model.update(backbone='test_resnet')", resnet_base)
    torch.manual_seed(0)
    model = config_model(load_config(config))
    meta = {"epoch": 1, "dataset_meta": {"classes": ("left", "right", "far")}}
    state = {"state_dict": dict(model.state_dict()), "model": model.recipe, "meta": meta}
    torch.save(to_plain(state), "epoch_1.pth")
    assert main(["models", "save", "epoch_1.pth", "shared/halves"]) == 0
    cached = tmp_path / "hub/models--owner--halves"
    shutil.copytree("shared/halves", cached / "snapshots" / COMMIT)
    (cached / "refs").mkdir()
    (cached / "refs/main").write_text(COMMIT)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    cv2.imwrite("a.png", np.random.default_rng(0).integers(0, 255, (24, 32, 3), np.uint8))
    cv2.imwrite("d.png", np.full((24, 32), 2500, np.uint16))
    return tmp_path


def test_every_command_takes_a_folder_and_a_name_on_the_hub(place, capsys):
    scores = {}
    for place_of_it in ("epoch_1.pth", "shared/halves", "shared/halves/model.safetensors", NAME, f"{NAME}@{COMMIT}"):
        words = ["rgb=a.png", "depth=d.png", "--map", "depth", "scale=1000", "--save", "confidence"]
        assert main(["predict", place_of_it, *words, "--out", "out", "--overwrite"]) == 0
        (file,) = (place / "out").rglob("*.png")
        scores[place_of_it] = file.read_bytes()
    assert len(set(scores.values())) == 1
    measured = []
    for place_of_it in ("epoch_1.pth", "shared/halves", NAME):
        assert main(["test", "config.py", place_of_it, "--json", "results.json"]) == 0
        measured.append(json.loads((place / "results.json").read_text())["heads"])
    assert measured[0] == measured[1] == measured[2]
    assert sorted(path.parent.name for path in (place / "work_dirs/halves/test").glob("*/*.log")) != []
    for folder in (place / "shared/halves", place / "hub/models--owner--halves/snapshots" / COMMIT):
        assert {path.name for path in folder.iterdir()} == FILES
    assert main(["profile", NAME, "--size", "32x32", "--modalities", "rgb", "--repeats", "1"]) == 0
    assert main(["convert", "slim", NAME, "slim.pth"]) == 0
    capsys.readouterr()
    words = ["--work-dir", "tuned", "--cfg-options", "train_cfg.max_epochs=1"]
    assert main(["train", "config.py", "--load-from", NAME, *words]) == 0
    logs = "".join(file.read_text() for file in (place / "tuned").rglob("*.log"))
    assert "Weights from" in logs and "reinitialised    " in logs


MISTAKES = [
    (["predict", "hf-hub:owner", "rgb=a.png", "--out", "out"], "'hf-hub:owner' names no model of a hub; expected"),
    (["profile", "hf-hub:../../etc"], "names no model of a hub"),
    (["profile", "hf-hub:owner/other"], "model owner/other is not on this machine, and HF_HUB_OFFLINE is set"),
    (["profile", f"{NAME}@v2"], "owner/halves is not on this machine"),
    (
        ["models", "save", "epoch_1.pth", "shared/halves"],
        "is there already: choose another folder, or pass --overwrite",
    ),
    (["models", "save", "epoch_1.pth", "out", "--results", "no.json"], "result file no.json: no such file"),
    (["models", "push", "epoch_1.pth", "halves"], "names no model of a hub; expected hf-hub:OWNER/NAME"),
    (["models", "push", "epoch_1.pth", "owner/halves"], "owner/halves cannot be written: HF_HUB_OFFLINE is set"),
    (["models", "--latency", "save", "epoch_1.pth", "out"], "--latency is of the list of models"),
    (["models", "--configs", "rooms/asymfusion_r18_rooms"], "did you mean"),
    (["models", "--latency", "--json", "shared"], "shared is a folder; expected a file to write"),
    (["models", "--configs", "studies/rooms"], "studies/rooms is no config that comes with rgbx"),
]


def test_mistakes_are_one_sentence(place, capsys):
    capsys.readouterr()
    for words, message in MISTAKES:
        assert main(words) == 2
        error = capsys.readouterr().err
        assert message in error and error.count("\n") == 1, words


def test_what_is_listed_is_what_was_measured(capsys, tmp_path, monkeypatch):
    name = "rooms/asymfusion_small_rooms_160x120"
    assert main(["models", "--latency", "--configs", name, "--repeats", "1", "--json", str(tmp_path / "a.json")]) == 0
    (measured,) = json.loads((tmp_path / "a.json").read_text())["models"]
    model = config_model(load_config(shipped_configs() / f"{name}.py"))
    assert measured["parameters"] == sum(x.numel() for x in model.parameters())
    assert measured["size"] == [120, 160] and measured["wall_ms"] > 0 and measured["cpu_ms"] > 0
    capsys.readouterr()
    assert main(["models"]) == 0
    listed = {line.split()[0]: line for line in capsys.readouterr().out.splitlines() if "/" in line.split("  ")[0]}
    assert set(rgbx.cli.models.chosen_configs()) <= set(listed)
    assert f"{measured['parameters'] / 1e6:.2f}" in listed[name] and f"{measured['flops'] / 1e9:.2f}" in listed[name]


def test_no_score_stands_without_a_result_file(capsys, tmp_path, monkeypatch):
    kept = rgbx.cli.models.kept_results()
    shutil.copy(kept / "models.json", tmp_path)
    monkeypatch.setattr(rgbx.cli.models, "kept_results", lambda: tmp_path)
    assert main(["models", "--markdown", str(tmp_path / "page.md")]) == 0
    rows = [line for line in (tmp_path / "page.md").read_text().splitlines() if line.startswith("| `")]
    assert len(rows) == len(rgbx.cli.models.chosen_configs()) and all("| not trained |" in row for row in rows)
    (tmp_path / "models").mkdir()
    result = json.loads(sorted((kept / "models").glob("*.json"))[0].read_text())
    result["config"]["sha256"] = "0" * 64
    (tmp_path / "models/old.json").write_text(json.dumps(result))
    assert main(["models"]) == 2
    assert "is of another form of rooms/" in capsys.readouterr().err
