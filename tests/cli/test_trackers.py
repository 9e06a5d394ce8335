"""Experiment trackers: what MLflow's own client finds in its store, and what Weights & Biases is asked for."""

import json
import sys
from types import SimpleNamespace

import mlflow
import pytest
from mmengine.config import Config
from mmengine.visualization import LocalVisBackend

from rgbx._choices import TRACKERS
from rgbx.cli.train import main
from rgbx.train import trackers


@pytest.fixture(autouse=True)
def place(monkeypatch):
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_ALLOW_FILE_STORE", "MLFLOW_RUN_ID", "WANDB_PROJECT"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


def test_the_command_line_knows_them_all():
    assert tuple(trackers.TRACKERS) == TRACKERS


def test_mlflow_has_one_run_of_a_training_and_what_resumes_it(write_config, tmp_path):
    work_dir = tmp_path / "night"
    config = write_config().rename(tmp_path / "halves.py")
    words = [str(config), "--work-dir", str(work_dir), "--log", "mlflow"]
    assert main([*words, "--cfg-options", "train_cfg.max_epochs=1"]) == 0
    assert main([*words, "--resume"]) == 0
    client = mlflow.MlflowClient(f"file://{work_dir / 'mlruns'}")
    (experiment,) = [each for each in client.search_experiments() if each.name != "Default"]
    (run,) = client.search_runs([experiment.experiment_id])
    assert (experiment.name, run.info.run_name, run.info.status) == ("halves", "night", "FINISHED")
    assert run.data.params["optim_wrapper.optimizer.lr"] == "0.1"
    assert run.data.params["train_cfg.max_epochs"] == "1"  # as it began
    lines = [json.loads(line) for file in sorted(work_dir.rglob("scalars.json")) for line in file.open()]
    for name in ("mIoU", "rgb/aAcc", "loss"):  # as the files of the run have them
        values = [line[name] for line in lines if name in line]
        history = client.get_metric_history(run.info.run_id, name)
        assert [each.value for each in history] == pytest.approx(values) and len(values) == 2, name
    logs = "".join(log.read_text() for log in work_dir.rglob("*.log"))
    assert "train_cfg.max_epochs: 1 → 2: applied" in logs and "visualizer.vis_backends." not in logs  # what changed
    assert "max_epochs=2" in mlflow.artifacts.load_text(f"{run.info.artifact_uri}/config.py")


def test_a_store_that_is_gone_is_one_sentence(write_config, tmp_path, monkeypatch, capsys):
    (tmp_path / "file").touch()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", str(tmp_path / "file"))
    assert main([str(write_config()), "--work-dir", str(tmp_path / "run"), "--log", "mlflow"]) == 2
    assert capsys.readouterr().err.startswith(f"error: MLflow at {tmp_path / 'file'}: ")
    assert not (tmp_path / "run").exists()


def test_an_absent_package_is_told_before_anything_begins(write_config, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert main([str(write_config()), "--work-dir", str(tmp_path / "run"), "--log", "wandb"]) == 2
    assert "pip install wandb" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
    with pytest.raises(SystemExit):
        main([str(write_config()), "--log", "mlfow"])
    assert "did you mean 'mlflow'" in capsys.readouterr().err


def test_what_weights_and_biases_is_asked_for(tmp_path, monkeypatch):
    """Of a stand-in of its package: the run has the names, and goes on under its id where the training does."""
    asked = []
    stand_in = SimpleNamespace(init=lambda **options: asked.append(options), define_metric=None)
    monkeypatch.setitem(sys.modules, "wandb", stand_in)
    for resumed in (False, True, False):
        config = Config(dict(work_dir=str(tmp_path / "night"), resume=resumed))
        trackers.add_trackers(config, ["wandb", "wandb"], "rooms")
        local, wandb = config.visualizer["vis_backends"]
        assert local["type"] is LocalVisBackend
        wandb["type"](**{key: value for key, value in wandb.items() if key != "type"}).experiment  # noqa: B018
    first, resumed, anew = asked
    assert (first["project"], first["name"], first["resume"]) == ("rooms", "night", "allow")
    assert first["id"] == resumed["id"] != anew["id"] and first["dir"] == str(tmp_path / "night")
