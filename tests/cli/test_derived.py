"""From a folder of unknown layout to a trained model by two commands; what a config leaves to its dataset."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

import rgbx
import rgbx.cli.doctor
import rgbx.cli.evaluate
import rgbx.cli.train
from rgbx.cli.config import load_config
from rgbx.cli.derived import derive_from_checkpoint, derive_from_data
from rgbx.cli.errors import ConfigError
from rgbx.cli.model import read_model

CONFIG = str(Path(__file__).parents[2] / "configs/own/asymfusion_r18.py")
SMALL = [
    "train_cfg.max_epochs=1",
    "train_cfg.val_interval=1",
    "param_scheduler=[]",
    *(f"{part}_dataloader.num_workers=0" for part in ("train", "val", "test")),
]


@pytest.fixture
def folder(tmp_path):
    """Five frames: photos, depth in millimetres, masks of two ids."""
    random = np.random.default_rng(0)
    root = tmp_path / "mine"
    for index in range(5):
        mask = np.kron(random.integers(0, 2, (3, 4)), np.ones((16, 16))).astype(np.uint8)
        for name, array in (
            ("images/{}.jpg", random.integers(0, 255, (48, 64, 3)).astype(np.uint8)),
            ("depths/{}.png", (1000 + 500 * mask.astype(int) + random.integers(0, 99, (48, 64))).astype(np.uint16)),
            ("masks/{}.png", mask),
        ):
            path = root / name.format(index)
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), array)
    return root


def test_two_commands(folder, tmp_path, capsys):
    assert rgbx.cli.doctor.main([str(folder)]) == 2
    proposed = capsys.readouterr().out
    assert "has no known layout" in proposed and "scale = 1000" in proposed and "Looked for" not in proposed
    assert not (folder / "dataset.toml").exists()

    assert rgbx.cli.doctor.main([str(folder), "--write-toml"]) == 0
    told = capsys.readouterr().out
    text = (folder / "dataset.toml").read_text()
    assert text in proposed and text in told and "train: FolderDataset, 5 frames, 5 read" in told
    work_dir = tmp_path / "run"
    arguments = ["--data-root", str(folder), "--cfg-options", *SMALL]
    assert rgbx.cli.train.main([CONFIG, "--work-dir", str(work_dir), *arguments]) == 0

    log = next(work_dir.rglob("*.log")).read_text()
    assert "Epoch(train) [1][1/1]" in log and "Epoch(val) [1][1/1]" in log  # four frames in a batch, one held out
    depths = [cv2.imread(f"{folder}/depths/{index}.png", -1) / 1000 for index in (0, 1, 3, 4)]
    recipe = rgbx.load(work_dir).recipe["parameters"]
    assert recipe["modalities"] == ["rgb", "depth"] and recipe["heads"]["labels"]["num_classes"] == 2
    assert recipe["statistics"]["depth"]["mean"] == [pytest.approx(np.mean(depths), rel=1e-5)]
    assert recipe["statistics"]["depth"]["std"] == [pytest.approx(np.std(depths), rel=1e-4)]
    assert "From the data: rgb, depth, 2 classes; over 4 frames" in (said := capsys.readouterr().out)
    assert "crops of 64x64" in said

    for path in (folder / "depths").iterdir():  # a checkpoint keeps its own figures
        cv2.imwrite(str(path), cv2.imread(str(path), -1) * 2)
    longer = [*arguments, "train_cfg.max_epochs=2"]
    assert rgbx.cli.train.main([CONFIG, "--work-dir", str(work_dir), "--resume", *longer]) == 0
    capsys.readouterr()
    assert rgbx.cli.evaluate.main([CONFIG, str(work_dir), *arguments]) == 0
    assert "Protocol rgbx, 1 frames" in capsys.readouterr().out


def test_write_toml_changes_nothing_that_is_known(folder, tmp_path, capsys):
    assert rgbx.cli.doctor.main([CONFIG, "--write-toml"]) == 2
    assert "needs a folder" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    assert rgbx.cli.doctor.main([str(tmp_path / "empty"), "--write-toml"]) == 2
    assert "no dataset.toml can be proposed" in capsys.readouterr().err
    (folder / "dataset.toml").write_text("mine")
    assert rgbx.cli.doctor.main([str(folder), "--write-toml"]) == 2
    assert "it is your own dataset" in capsys.readouterr().err
    assert (folder / "dataset.toml").read_text() == "mine"


def test_a_folder_that_nobody_declared(folder, capsys):
    assert rgbx.cli.train.main([CONFIG, "--data-root", str(folder)]) == 2
    assert f"rgbx doctor {folder} --write-toml" in capsys.readouterr().err


def test_models_of_a_config(folder):
    """Also without training, and for heads of a config; statistics that are given stay."""
    rgbx.cli.doctor.main([str(folder), "--write-toml"])
    model = read_model(CONFIG, options=[f"data_root={folder}", "model.statistics={}"])
    assert model.modalities == ("rgb", "depth") and model.tasks["labels"].channels == 2
    assert model.recipe["parameters"]["statistics"]["depth"]["mean"] == [2.845]
    config = load_config(CONFIG, data_root=str(folder))
    config.model = {"modalities": ["rgb"], "heads": {"ids": {"task": "classes", "num_classes": "dataset"}}}
    assert "crops of 64x64" in derive_from_data(config)
    assert config.model["heads"]["ids"]["num_classes"] == 2 and config.model["modalities"] == ["rgb"]
    assert derive_from_data(config) == ""
    config.model["num_classes"] = "dataset"
    config.train_dataloader = None
    with pytest.raises(ConfigError, match="no train_dataloader"):
        derive_from_data(config)


def test_what_a_checkpoint_says(tmp_path):
    file = tmp_path / "epoch_1.pth"
    recipe = {"parameters": {"modalities": ["a"], "heads": {"labels": {"num_classes": 3}, "two": {"num_classes": 5}}}}
    model = {"modalities": "dataset", "num_classes": "dataset", "statistics": {}, "heads": {"two": {"num_classes": 9}}}
    torch.save({"model": recipe, "state_dict": {}}, file)
    derive_from_checkpoint(model, file)
    assert model == {"modalities": ["a"], "num_classes": 3, "statistics": {}, "heads": {"two": {"num_classes": 9}}}
    heads = {"heads": {"two": {"num_classes": "dataset"}}}
    derive_from_checkpoint(heads, file)
    assert heads["heads"]["two"]["num_classes"] == 5
    derive_from_checkpoint(heads, "nowhere.pth")  # which nothing asks
