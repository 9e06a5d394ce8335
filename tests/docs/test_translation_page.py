"""docs/translation.md does what it says: its commands and its code run, with fewer frames and steps."""

from __future__ import annotations

import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from rgbx.datasets import NYUDv2Folders
from rgbx.evaluate.metric import Metrics
from rgbx.tasks import PROTOCOLS, Map

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "translation.md").read_text()
FENCED = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
(_, COMMANDS), (_, COMPUTED), (_, FILES), (_, FEATURES) = FENCED.findall(PAGE)
CONFIG = "configs/rooms/translate_depth_thermal_rgb_rooms_128x128.py"
SHORT = """
train_cfg.update(max_epochs=1, val_interval=1)
for _loader, _count in ((train_dataloader, 4), (val_dataloader, 2), (test_dataloader, 2)):
    _loader.dataset.update(num_frames=_count)
    _loader.update(batch_size=2, num_workers=0, persistent_workers=False)
"""


def test_commands(place, run_tools, capsys):
    with (place / CONFIG).open("a") as config:
        config.write(SHORT)
    run_tools(COMMANDS, {"--train 1200": "--train 4 --val 2 --test 2"})
    printed = capsys.readouterr().out
    assert all(word in printed for word in ("PSNR", "SSIM", "MAE", "both: depth branch", "thermal alone"))
    assert len(list(Path("pictures").rglob("*.png"))) > 0
    assert cv2.imread("room.png", cv2.IMREAD_UNCHANGED).shape == (128, 128, 3)


def test_maps_as_files(tmp_path, monkeypatch):
    """The code of the page, and what it says of the files: millimetres, hundredths of a kelvin."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    depth_mm = rng.integers(0, 65536, (5, 7)).astype(np.uint16)
    depth_m, celsius = depth_mm.astype(np.float32) / 1000, rng.uniform(-40, 300, (5, 7)).astype(np.float32)
    values = {"depth_m": depth_m, "celsius": celsius}
    exec(FILES, values)
    assert (cv2.imread("depth.png", cv2.IMREAD_UNCHANGED) == depth_mm).all()
    np.testing.assert_array_equal(values["depth_m"], depth_m)
    kelvin = cv2.imread("thermal.png", cv2.IMREAD_UNCHANGED) / 100
    np.testing.assert_allclose(kelvin - 273.15, celsius, atol=0.0051)


def test_maps_computed_while_loading(nyuv2_320x240):
    """The page's transforms on frames in a layout of NYU Depth V2."""
    values = {"root": nyuv2_320x240, "NYUDv2Folders": NYUDv2Folders}
    exec("from rgbx.transforms import *\n" + COMPUTED, values)
    sample = values["dataset"][0]
    assert {"depth", "normal", "edge", "rgb"} <= set(sample)
    assert sample["normal"].shape == (3, 256, 256) and sample["edge"].shape == (1, 256, 256)


@pytest.mark.parametrize("name", re.findall(r"`(configs/\S+\.py)`", PAGE))
def test_configs_exist(name):
    assert (ROOT / name).is_file()


def test_feature_networks_are_asked_for_by_file():
    """The page's evaluator names what is absent, and nothing stands in for it."""
    values = {"Metrics": Metrics}
    exec(FEATURES, values)
    evaluator = dict(values["test_evaluator"])
    metrics = evaluator.pop("type")(**evaluator)
    with pytest.raises(FileNotFoundError, match=r"weights-inception-2015-12-05-6726825d\.pth"):
        metrics.counters({"rgb": Map("rgb")}, PROTOCOLS["rgbx"], {})
