"""Frames at another size: against means and picks of NumPy, read back as any folder, refused where files hold less."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from rgbx.cli.main import main
from rgbx.datasets import FolderDataset

TOML = """[classes]
names = ["wall", "box", "träger"]
palette = [[1, 2, 3], [4, 5, 6], [7, 8, 9]]
[label]
folder = "label"
offset = 1
void = [0]
[modalities.rgb]
folder = "rgb"
unit = "rgb8"
[modalities.depth]
folder = "depth"
unit = "metre"
scale = 5000
[modalities.heat]
folder = "heat"
unit = "sensor"
missing = [9]
[splits]
train = ["a/0", "a/1"]
val = ["b/0"]
test = ["b/0"]
"""
SIDES = 12, 16
METRES = 30000 / 5000


@pytest.fixture
def source(tmp_path):
    root, rng = tmp_path / "mine", np.random.default_rng(0)
    for stem in ("a/0", "a/1", "b/0"):
        kinds = {
            "rgb": rng.integers(0, 256, (*SIDES, 3), dtype=np.uint8),
            "depth": rng.integers(0, 2, SIDES).astype(np.uint16) * rng.integers(1, 30000, SIDES, dtype=np.uint16),
            "heat": rng.integers(10, 60000, SIDES, dtype=np.uint16),
            "label": rng.integers(0, 4, SIDES, dtype=np.uint8),
        }
        for kind, values in kinds.items():
            (root / kind / stem).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(values).save(root / kind / f"{stem}.png")
    (root / "dataset.toml").write_text(TOML)
    return root


def run(*words):
    return main(["prepare", "resized", *map(str, words)])


@pytest.mark.parametrize("jobs", [1, 2])
def test_half_the_size(source, tmp_path, capsys, jobs):
    out = tmp_path / "small"
    assert run(source, out, "--size", "6x8", "--jobs", jobs) == 0
    assert "16 files written, 0 were there already" in capsys.readouterr().out
    for split, count in (("train", 2), ("val", 1), ("test", 1)):
        large, small = FolderDataset(source, split), FolderDataset(out, split)
        assert (small.classes, small.palette, len(small)) == (large.classes, large.palette, count)
        assert small.maps == large.maps
        for before, after in zip(large, small, strict=True):
            assert after["sample_id"] == before["sample_id"]
            for kind in ("rgb", "heat"):
                cells = before[kind].astype(np.float64).reshape(6, 2, 8, 2, -1).mean((1, 3)).reshape(after[kind].shape)
                assert np.abs(after[kind] - cells).max() <= 0.5
            near = before["depth"][1::2, 1::2]
            assert np.abs(after["depth"] - near).max() <= 0.00050001  # millimetres
            assert ((after["depth"] == 0) == (near == 0)).all()
            assert (after["label"] == before["label"][1::2, 1::2]).all()
    assert run(source, out, "--size", "6x8") == 0
    assert "0 files written, 16 were there already" in capsys.readouterr().out


def test_what_the_files_do_not_hold(source, tmp_path, capsys):
    Image.fromarray(np.full(SIDES, 9, np.uint16)).save(source / "heat/a/1.png")  # not measured
    out = tmp_path / "small"
    assert run(source, out, "--size", "6x8", "--splits", "train") == 1
    said = capsys.readouterr().err
    assert "1 frames failed, so that nothing is declared" in said
    assert "a/1: heat has pixels that were not measured" in said
    assert not (out / "dataset.toml").exists() and (out / "train/heat/a/0.png").exists()
    fine = tmp_path / "fine"
    scaled = ("--size", "6x8", "--splits", "train", "--modalities", "rgb", "depth", "--depth-scale", "100000")
    assert run(source, fine, *scaled) == 1
    assert "choose another scale; --depth-scale says how many" in capsys.readouterr().err


def test_a_folder_of_something_else(source, tmp_path, capsys):
    assert run(source, tmp_path / "small", "--size", "6x8", "--splits", "train") == 0
    assert run(source, tmp_path / "small", "--size", "3x4", "--splits", "train") == 2
    assert "declares something else; use another output folder" in capsys.readouterr().err
    assert run(source, source, "--size", "6x8") == 2
    assert "dataset.toml is in the way" in capsys.readouterr().err
