"""docs/datasets.md does what it says: its files are written, its commands and code are run, one after the other."""

from __future__ import annotations

import re
from pathlib import Path

import cv2
import numpy as np
import pytest

import rgbx.datasets
from rgbx.datasets import FolderDataset
from rgbx.datasets.layouts import LAYOUTS
from rgbx.datasets.rooms import CLASSES
from rgbx.maps import UNITS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "datasets.md").read_text()
FENCED = re.compile(r"^```(\w+)(?: (\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_HEADINGS = "Add your dataset|Pairs for translation|Maps recorded at times of their own|Around any dataset"
_, OWN, PAIRS, TIMES, _ = re.split(rf"^## (?:{_HEADINGS})$", PAGE, flags=re.M)


def test_two_commands(place, run_tools, capsys):
    """Names with a prefix in one folder; 0 and 255 in masks, whose halves are one class each."""
    (commands,) = FENCED.findall(re.search(r"^## From an unknown(.*?)^## ", PAGE, re.MULTILINE | re.DOTALL)[1])
    Path("data/unknown").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for index in range(1, 9):
        mask = np.repeat(np.array([[0, 255]], np.uint8), (20 + index, 76 - index), axis=1).repeat(72, 0)
        depth = rng.integers(900, 5000, (72, 96), dtype=np.uint16)
        colours = cv2.blur(rng.integers(0, 256, (72, 96, 3), dtype=np.uint8), (5, 5))
        for name, array in (("rgb", colours), ("depth", depth), ("mask", mask)):
            assert cv2.imwrite(f"data/unknown/{name}_{index:04d}.png", array)
    assert commands[2].count("30min") == 1
    run_tools(commands[2], {"30min": "10s --pretrained none"})
    assert "rgbx train work_dirs/unknown/config.py\n" in capsys.readouterr().out
    assert len(list(place.glob("work_dirs/unknown/epoch_*.pth"))) == 1
    declared = FolderDataset("data/unknown")
    np.testing.assert_array_equal(declared[7]["label"], (mask == 255).astype(np.uint8))
    np.testing.assert_allclose(declared[7]["depth"], depth / 1000, rtol=1e-6)


def test_add_your_dataset(place, run_tools, capsys):
    """With a smaller backbone, as checkpoints of a ResNet-18 and its optimizer take longer to write than to train."""
    smaller = {"configs/mine.py": "model.update(backbone='test_resnet')\n"}
    kinds = []
    for kind, file, text in FENCED.findall(OWN):
        kinds.append(kind)
        if file:
            Path(file).write_text(text + smaller.get(file, ""))
        elif kind == "bash":
            run_tools(text)
        else:
            exec(text, {})
    assert kinds == ["bash", "toml", "bash", "python", "python", "bash", "python", "bash"]
    printed = capsys.readouterr().out
    assert "no errors, no warnings" in printed
    assert "your own dataset (a dataset.toml)" in printed
    assert "8 frames of ('rgb', 'depth', 'thermal') and 11 classes" in printed
    assert (place / "work_dirs/mine/epoch_2.pth").is_file()
    assert cv2.imread("work_dirs/depth.png", cv2.IMREAD_UNCHANGED).dtype == np.uint16
    log = (place / "work_dirs/mine").rglob("*.log")
    assert any("RGB + depth + thermal" in path.read_text() for path in log)


def test_statistics_of_the_config_are_those_of_the_images(place, run_tools):
    """The page's figures, measured on its own frames."""
    blocks = FENCED.findall(OWN)
    run_tools(blocks[0][2])
    Path(blocks[1][1]).write_text(blocks[1][2])
    dataset = FolderDataset("data/mine")
    assert dataset.classes == CLASSES
    for name in ("depth", "thermal"):
        mean, std = re.search(rf"{name}=dict\(mean=\(([\d.]+),\), std=\(([\d.]+),\)", blocks[4][2]).groups()
        values = np.stack([sample[name] for sample in dataset])
        values = values[values > 0] if name == "depth" else values
        assert float(mean) == pytest.approx(values.mean(), abs=0.06)
        assert float(std) == pytest.approx(values.std(), abs=0.06)


def test_pairs_for_translation(layouts, tmp_path):
    ((_, _, declaration),) = FENCED.findall(PAIRS)
    (tmp_path / "dataset.toml").write_text(declaration)
    (tmp_path / "test").symlink_to(layouts / "msrs" / "test")
    dataset = FolderDataset(tmp_path, "test", targets=("rgb",))
    assert (len(dataset), dataset.sources, dataset.targets) == (4, ("thermal",), ("rgb",))


def test_tables_name_what_there_is():
    classes = re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE)
    for name in classes:
        assert hasattr(rgbx.datasets, name), name
    named = {layout.name for layout in LAYOUTS} - {"your own dataset"} | {"FolderDataset"}
    assert named <= set(classes)
    for unit in UNITS:
        assert f"`{unit}`:" in PAGE, unit


def test_maps_recorded_at_times_of_their_own(tmp_path):
    ((_, _, splits),) = FENCED.findall(TIMES)
    maps = {"rgb": ("1.000", "2.000"), "depth": ("1.015", "2.025")}
    for name, times in maps.items():
        (tmp_path / name).mkdir()
        for time in times:
            (tmp_path / name / f"{time}.png").touch()
        (tmp_path / f"{name}.txt").write_text("".join(f"{time} {name}/{time}.png\n" for time in times))
    declared = ("[modalities.rgb]", 'folder = "rgb"', 'unit = "rgb8"')
    declared += ("[modalities.depth]", 'folder = "depth"', 'unit = "metre"', "scale = 5000")
    (tmp_path / "dataset.toml").write_text("\n".join([*declared, splits]))
    (frame,) = FolderDataset(tmp_path, "all").frames
    assert (frame.sample_id, frame.files["depth"].name) == ("1.000", "1.015.png")
