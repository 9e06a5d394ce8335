"""The command: what it says, its exit codes, and an interruption by Ctrl-C."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest
from PIL import Image

from rgbx.cli.doctor import main as doctor
from rgbx.cli.prepare import main
from rgbx.datasets import build_dataset, split_names
from rgbx.datasets.prepare import jobs


@pytest.fixture
def root(tmp_path):
    """Four frames in MFNet's format."""
    for name, shape in (("images", (6, 8, 4)), ("labels", (6, 8))):
        (tmp_path / "in" / name).mkdir(parents=True)
        for k in range(4):
            array = np.random.default_rng(k).integers(0, 9, shape, dtype=np.uint8)
            Image.fromarray(array).save(tmp_path / "in" / name / f"{k}.png")
    (tmp_path / "in" / "train.txt").write_text("0\n1\n2\n3\n")
    return tmp_path / "in"


def tree(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_interrupted_and_resumed(root, tmp_path, capsys, monkeypatch):
    whole, out = tmp_path / "whole", tmp_path / "out"
    assert main(["mfnet", str(root), str(whole)]) == 0
    assert "13 files written, 0 were there already." in capsys.readouterr().out
    left = iter(range(5))

    def encode(array, real=jobs.encode_png):
        if next(left, None) is None:
            raise KeyboardInterrupt
        return real(array)

    monkeypatch.setattr(jobs, "encode_png", encode)
    assert main(["mfnet", str(root), str(out)]) == 130
    assert capsys.readouterr().err.strip().endswith("Interrupted: the same command goes on where it stopped.")
    assert 0 < len(tree(out)) < len(tree(whole))
    monkeypatch.undo()
    assert main(["mfnet", str(root), str(out)]) == 0
    assert "7 files written, 6 were there already." in capsys.readouterr().out
    assert tree(out) == tree(whole)


def test_checksums_are_those_of_the_files(root, tmp_path):
    main(["mfnet", str(root), str(tmp_path / "out")])
    files = tree(tmp_path / "out")
    lines = files.pop("checksums.sha256").decode().splitlines()
    assert set(json.loads(files.pop("prepared.json"))["made_of"]) == set(files)
    assert lines == [f"{hashlib.sha256(files[name]).hexdigest()}  {name}" for name in sorted(files)]


def test_depth_too_far_is_told(tmp_path, capsys):
    """Disparities of 1/256 pixel: 102 km."""
    stem = "ulm_000001_000019"
    arrays = {
        ("leftImg8bit", "leftImg8bit.png"): np.zeros((2, 3, 3), np.uint8),
        ("gtFine", "gtFine_labelIds.png"): np.zeros((2, 3), np.uint8),
        ("disparity", "disparity.png"): np.full((2, 3), 2, np.uint16),
    }
    for (package, suffix), array in arrays.items():
        (tmp_path / package / "val" / "ulm").mkdir(parents=True)
        Image.fromarray(array).save(tmp_path / package / "val" / "ulm" / f"{stem}_{suffix}")
    camera = tmp_path / "camera" / "val" / "ulm" / f"{stem}_camera.json"
    camera.parent.mkdir(parents=True)
    camera.write_text('{"extrinsic": {"baseline": 0.2}, "intrinsic": {"fx": 2000}}')
    assert main(["cityscapes", str(tmp_path), str(tmp_path / "out"), "--splits", "val"]) == 0
    assert "6 pixels beyond 256.0 m were written as 255.996 m." in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nyudv2", "nowhere.mat", "out"], "nowhere.mat: no such file"),
        (["cityscapes", ".", "out"], "expected the splits train and val, found []"),
        (["mfnet", ".", "out"], "none of the lists train.txt"),
    ],
)
def test_mistakes_are_one_sentence(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    error = capsys.readouterr().err.strip()
    assert error.startswith("error: ") and message in error and "\n" not in error
    assert not (tmp_path / "out").exists()


def test_the_tool_starts(start_tool):
    process = start_tool("tools/prepare.py", "nyudv2", "--help")
    output, error = process.communicate(timeout=60)
    assert process.returncode == 0, error
    assert "13.107 m" in " ".join(output.split())


def test_shards_of_a_folder_are_a_dataset(root, tmp_path, capsys):
    (root / "val.txt").write_text("1\n")
    assert main(["shards", str(root), str(tmp_path / "out"), "--jobs", "2"]) == 0
    told = capsys.readouterr().out
    assert "4 files written, 0 were there already." in told
    assert "train: 4 samples in 1 shards, 0.0 MiB\nval: 1 samples in 1 shards" in told
    files, packed = build_dataset(root, "val"), build_dataset(tmp_path / "out", "val")
    for name in ("rgb", "thermal", "label"):
        np.testing.assert_array_equal(packed[0][name], files[0][name])
    assert main(["shards", str(root), str(tmp_path / "out"), "--splits", "val"]) == 0
    assert "0 files written, 2 were there already." in capsys.readouterr().out
    assert doctor([str(tmp_path / "out")]) == 0
    assert main(["shards", str(root), str(tmp_path / "large"), "--uncompressed"]) == 0
    plain = build_dataset(tmp_path / "large", "val")[0]
    assert not any(name.endswith("rgb.png") for name in plain["paths"].values())
    np.testing.assert_array_equal(plain["rgb"], files[0]["rgb"])
    assert main(["shards", str(root), str(tmp_path / "small"), "--jpeg", "95"]) == 0
    assert build_dataset(tmp_path / "small", "val")[0]["paths"]["rgb"].endswith("rgb.jpg")
    assert main(["shards", str(root), str(tmp_path / "small"), "--jpeg", "90"]) == 2


def test_shards_of_a_config(root, tmp_path, capsys):
    config = tmp_path / "config.py"
    config.write_text(
        "from rgbx.datasets import CachedFrames, MFNet\n"
        f"dataset = dict(type=CachedFrames, dataset=dict(type=MFNet, root={str(root)!r}))\n"
        "train_dataloader = dict(dataset=dict(split='train'))\n"
        "val_dataloader = dict(dataset=dict(split='train'))\n"
    )
    assert main(["shards", str(config), str(tmp_path / "out")]) == 0
    assert split_names(tmp_path / "out") == ("train", "val")
    assert len(list((tmp_path / "out").rglob("*.tar"))) == 1
    assert main(["shards", str(config), str(tmp_path / "other"), "--splits", "test"]) == 2
    assert "--split test" in capsys.readouterr().err


def test_shards_as_an_option_leads_to_the_word(capsys):
    with pytest.raises(SystemExit):
        main(["--shards", "in", "out"])
    assert "--shards is written without dashes: rgbx prepare shards ROOT OUT" in capsys.readouterr().err
