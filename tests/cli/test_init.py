"""From a folder to a training: files written, kept and left out; the config trains."""

from __future__ import annotations

import argparse
import ast
import json
import os
import re
import shlex
from pathlib import Path

import cv2
import numpy as np
import pytest

import rgbx
import rgbx.cli.init
import rgbx.cli.predict
import rgbx.cli.train
from rgbx.cli.arguments import ConfigError, parse, seconds
from rgbx.cli.config import load_config
from rgbx.datasets.rooms import CLASSES, RoomRecording, Stream

QUICK = ["--budget", "5s", "--pretrained", "none", "--device", "cpu"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Six frames: photos, depth in millimetres, masks of two ids; nobody declared them."""
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    root = tmp_path / "my frames"
    for index in range(6):
        mask = np.kron(random.integers(0, 2, (3, 4)), np.ones((16, 16))).astype(np.uint8)
        for name, array in (
            ("images/{}.jpg", cv2.blur(random.integers(0, 255, (48, 64, 3)).astype(np.uint8), (5, 5))),
            ("depths/{}.png", (1000 + 500 * mask.astype(int) + random.integers(0, 99, (48, 64))).astype(np.uint16)),
            ("masks/{}.png", mask),
        ):
            path = root / name.format(index)
            path.parent.mkdir(parents=True, exist_ok=True)
            assert cv2.imwrite(str(path), array)
    return root


def test_what_follows_on_a_recording_is_its_folder(tmp_path, monkeypatch, capsys):
    """Files of one frame have different names there; the told command is run, and takes off the stated delay."""
    monkeypatch.chdir(tmp_path)
    streams = {"rgb": Stream(10.0), "depth": Stream(15.0, delay=0.1, phase=0.3)}
    RoomRecording(0, 1, (32, 48), streams=streams).write(tmp_path / "data", 1.5, label_rate=5)
    Path("data/dataset.toml").write_text(
        '[modalities.rgb]\nfolder = "rgb"\nunit = "rgb8"\n[modalities.depth]\nfolder = "depth"\nunit = "metre"\n'
        f"scale = 1000\n[label]\nfolder = 'label'\n[classes]\nnames = {list(CLASSES)}\n"
        "[splits.train]\nrgb = 'rgb'\n"
        "depth = 'depth.txt'\nlabel = 'label.txt'\nmax_gap = 0.04\ndelays = {depth = 0.1}\n"
    )
    assert rgbx.cli.train.main(["data", *QUICK]) == 0
    printed = capsys.readouterr().out
    told = re.findall("^    rgbx predict (.*)", printed, re.M)
    assert len(told) == 2 and all(f"work_dirs/data {tmp_path}/data --out predictions" in line for line in told)
    assert rgbx.cli.predict.main([*told[1].split(), "--save", "ids"]) == 0
    capsys.readouterr()
    lists = ["rgb=data/rgb.txt", "depth=data/depth.txt", "--out", "again", "--save", "ids"]
    assert rgbx.cli.predict.main(["work_dirs/data", *lists]) == 0
    assert "depth by 0.1 s" in capsys.readouterr().out
    assert len(list(Path("predictions").rglob("*.png"))) <= len(list(Path("again").rglob("*.png")))


def test_a_folder_is_planned_and_trained(folder, tmp_path, capsys):
    work_dir = tmp_path / "work_dirs/my frames"
    assert rgbx.cli.train.main([str(folder), *QUICK]) == 0
    printed = capsys.readouterr().out
    assert "rgbx train 'work_dirs/my frames'/config.py" in printed and "put the names of your classes" in printed
    table = printed[printed.index("choice ") : printed.index("Note: no pretrained weights: asked for")]
    assert "5 train, 1 val = test" in table and "all frames are for training: 1 of them are held out" in printed
    assert table.count("\n") <= 12
    assert (folder / "dataset.toml").is_file()
    text = (work_dir / "config.py").read_text()
    assert (
        text.startswith('"""A training of rgb and depth of my frames') and "# crop: whole frames" in text
    )  # not mmengine's dump
    assigned = {node.targets[0].id for node in ast.parse(text).body if isinstance(node, ast.Assign)}
    assert {"model", "train_dataloader", "optim_wrapper", "param_scheduler", "default_hooks"} <= assigned
    assert max(len(line) for line in text.splitlines() if str(folder) not in line) <= 120

    recipe = rgbx.load(work_dir).recipe["parameters"]
    depths = [cv2.imread(f"{folder}/depths/{index}.png", -1) / 1000 for index in (0, 1, 2, 4, 5)]
    assert recipe["modalities"] == ["rgb", "depth"] and recipe["heads"]["labels"]["num_classes"] == 2
    assert recipe["statistics"]["depth"]["mean"] == [pytest.approx(np.mean(depths), rel=1e-5)]
    assert recipe["modality_dropout"] == 0.3

    record = json.loads((work_dir / "plan.json").read_text())
    assert record["budget_seconds"] == 5 and record["folder"] == str(folder)
    head = ast.get_docstring(ast.parse(text))
    assert head is not None and f"{shlex.quote(str(folder))} --budget 5s --pretrained none --device cpu\n" in head
    assert 'device = "cpu"' in text
    choices = {choice["choice"]: choice for choice in record["choices"]}
    assert all(
        set(choice) == {"choice", "value", "reason", "measured"} and choice["reason"] for choice in choices.values()
    )
    assert choices["crop"]["value"] == [64, 64] and choices["batch_size"]["measured"]["step_seconds"] > 0

    assert rgbx.cli.train.main([str(folder), *QUICK, "--resume", "--cfg-options", "train_cfg.max_epochs=2"]) == 0
    assert "which was planned before" in capsys.readouterr().out and (work_dir / "epoch_2.pth").is_file()
    assert rgbx.cli.train.main([str(work_dir)]) == 2
    assert "is a work directory, not the folder of a dataset" in capsys.readouterr().err
    for stated, told in (
        (["--budget", "8h"], "--budget 8.0 h (the plan: 5.0 s): --work-dir DIR"),
        (["--modalities", "rgb"], "--modalities rgb (the plan: all)"),
        (["--split", "val=dusk"], "--split val=dusk (the plan: as usual)"),
        (
            ["--pretrained", "timm", "--device", "auto"],
            "--pretrained timm (the plan: none), --device auto (the plan: cpu)",
        ),
    ):
        assert rgbx.cli.train.main([str(folder), *stated]) == 2
        assert f"was planned otherwise than {told}" in capsys.readouterr().err
    other = tmp_path / "other/my frames"
    other.mkdir(parents=True)
    assert rgbx.cli.train.main([str(other)]) == 2
    assert f"was planned for {folder}: --work-dir DIR" in capsys.readouterr().err
    assert rgbx.cli.train.main([str(other), "--work-dir", "new", "--launcher", "pytorch"]) == 2
    assert "plan it first, by rgbx init" in capsys.readouterr().err
    assert rgbx.cli.init.main([str(folder), *QUICK]) == 2
    assert "--overwrite replaces it" in capsys.readouterr().err and (work_dir / "config.py").read_text() == text


def test_a_translation_is_planned_and_trained(folder, tmp_path, capsys):
    for path in (folder / "masks").iterdir():
        path.unlink()
    assert rgbx.cli.init.main([str(folder), *QUICK, "--work-dir", "here"]) == 0
    printed = capsys.readouterr().out
    assert "rgb=RGB --out" in printed and "no labels were found (looked for names with " in printed
    assert "planned: a translation from rgb to depth" in printed
    assert rgbx.cli.train.main(["here/config.py"]) == 0
    assert rgbx.load("here").recipe["parameters"]["heads"].keys() == {"depth"}


def test_what_fails_leaves_nothing(folder, tmp_path, capsys, monkeypatch):
    assert rgbx.cli.init.main([str(folder), *QUICK, "--pretrained", "nowhere.pth"]) == 2
    assert "no such file" in capsys.readouterr().err
    real = rgbx.cli.init.replace_file

    def fails(path, content):
        if path.name == "dataset.toml":
            raise OSError("disk full")
        real(path, content)

    monkeypatch.setattr(rgbx.cli.init, "replace_file", fails)
    assert rgbx.cli.init.main([str(folder), *QUICK]) == 2
    assert "disk full" in capsys.readouterr().err
    assert not (tmp_path / "work_dirs").exists() and not (folder / "dataset.toml").exists()


def test_what_is_stated_as_it_was_planned_is_taken(folder, tmp_path, monkeypatch):
    assert rgbx.cli.init.main([str(folder), "--budget", "5s", "--pretrained", "none"]) == 0
    monkeypatch.setattr(rgbx.cli.train, "Runner", None)  # configured, not built
    config = tmp_path / "work_dirs/my frames/config.py"
    assert "\ndevice = " not in config.read_text()
    for stated in ([], [*QUICK, "--modalities", "rgb", "depth"], ["--budget", "5s"]):
        arguments = parse("train", [str(folder), *stated])
        assert rgbx.cli.train._config_of(arguments).resolve() == config.resolve()
        arguments.config = str(config)
        rgbx.cli.train.configure(read := rgbx.cli.train.read_config(arguments), arguments)
        assert read.get("device") == ("cpu" if "--device" in stated else None)
    (tmp_path / "work_dirs/my frames/plan.json").unlink()
    with pytest.raises(ConfigError, match=r"otherwise than --budget 5\.0 s \(the plan: not told\)"):
        rgbx.cli.train._config_of(parse("train", [str(folder), "--budget", "5s"]))


@pytest.mark.parametrize(
    "stated",
    [["--budget", "8h"], ["--modalities", "rgb"], ["--split", "val=a"], ["--pretrained", "none"]],
)
def test_a_config_takes_no_options_of_planning(stated, capsys):
    assert rgbx.cli.train.main(["rooms/asymfusion_r18_rooms_160x120", *stated]) == 2
    assert f"is a config: {stated[0]} plans the training of a folder" in capsys.readouterr().err


def test_a_device_that_is_not_there(folder, capsys):
    for device, told in (("gpu", "expected auto, cpu, cuda or cuda:N"), ("cuda:99", "device is cuda:99, but")):
        assert rgbx.cli.init.main([str(folder), "--device", device]) == 2
        assert told in capsys.readouterr().err


def test_places_that_cannot_be_written_are_told_before_anything_is_measured(folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(rgbx.cli.init, "DryRun", None)  # not even made
    real = os.access
    for closed, told in ((folder, "its layout is not known"), (tmp_path, "--work-dir DIR writes elsewhere")):
        monkeypatch.setattr(os, "access", lambda path, mode, no=closed: path != no and real(path, mode))
        assert rgbx.cli.init.main([str(folder), *QUICK]) == 2
        assert f"cannot be written, as {closed} is read-only: {told}" in capsys.readouterr().err
    assert not (tmp_path / "work_dirs").exists()


def test_names_of_folders_are_no_code(folder, tmp_path, capsys):
    """A name with the end of a string, a backslash and a template of mmengine, in a config that is carried out."""
    root = folder.rename(tmp_path / 'my\\N"""\n1 + str\n""" {{ fileBasename }}')
    assert rgbx.cli.init.main([str(root), *QUICK]) == 2
    assert "a path with a quotation mark: give --work-dir DIR" in capsys.readouterr().err
    assert rgbx.cli.init.main([str(root), *QUICK, "--work-dir", "here"]) == 0
    assert load_config("here/config.py").data_root == str(root)
    (tmp_path / 'of "mine".py').write_text("model = dict()")
    with pytest.raises(ConfigError, match="from a path with a quotation mark: rename it"):
        load_config(tmp_path / 'of "mine".py')
    (tmp_path / "here/plan.json").write_text("[]")
    assert rgbx.cli.train.main([str(root), *QUICK, "--work-dir", "here"]) == 2
    assert "here/plan.json is no plan: --work-dir DIR" in capsys.readouterr().err


def test_an_earlier_plan_survives_a_full_disk(tmp_path, monkeypatch):
    """The second file cannot be written, and nor can anything after it."""
    (tmp_path / "a").write_text("earlier")
    (tmp_path / "b").write_text("earlier too")
    count = []

    def fails(_):
        count.append(1)
        if len(count) > 2:  # the first file and its folder are synced
            raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(OSError, match="disk full"):
        rgbx.cli.init._write({tmp_path / name: "new" for name in ("a", "b", "c/d")})
    assert (tmp_path / "a").read_text() == "new" and (tmp_path / "b").read_text() == "earlier too"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_durations():
    assert [seconds(text) for text in ("90s", "30min", "1h", "1.5 h", "2d")] == [90, 1800, 3600, 5400, 172800]
    for text in ("", "5", "-1h", "0min", "1 week"):
        with pytest.raises(argparse.ArgumentTypeError, match="expected such as 30min"):
            seconds(text)
