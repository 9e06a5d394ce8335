"""ESANet's folders. No real frames of this layout are at hand: the fixture has exactly its names and formats."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from dataset_frames import decoded
from PIL import Image

from rgbx.cli.config import load_config
from rgbx.datasets import NYUDv2ESANet
from rgbx.datasets.sample import build_from

CONFIGS = Path(__file__).parents[3] / "configs/_base_/datasets"
RNG = np.random.default_rng(0)


@pytest.fixture
def root(tmp_path):
    """Three test frames of 6x8: rgb, uint16 millimetres filled and as measured, labels 0..40."""
    for number in (9, 10, 100):
        arrays = {
            "rgb": RNG.integers(0, 256, (6, 8, 3), dtype=np.uint8),
            "depth": RNG.integers(700, 9999, (6, 8)).astype(np.uint16),
            "depth_raw": np.full((6, 8), 0, np.uint16),
            "labels_40": RNG.integers(0, 41, (6, 8), dtype=np.uint8),
        }
        for name, array in arrays.items():
            (tmp_path / "test" / name).mkdir(parents=True, exist_ok=True)
            Image.fromarray(array).save(tmp_path / "test" / name / f"{number:04d}.png")
    return tmp_path


def test_values(root):
    dataset = NYUDv2ESANet(root, "test")
    assert [frame.sample_id for frame in dataset.frames] == ["0009", "0010", "0100"]
    for index, stem in enumerate(("0009", "0010", "0100")):
        sample = dataset[index]
        np.testing.assert_array_equal(sample["rgb"], decoded(root / "test" / "rgb" / f"{stem}.png"))
        millimetres = decoded(root / "test" / "depth" / f"{stem}.png")
        np.testing.assert_allclose(sample["depth"], millimetres / 1000, rtol=1e-6)
        values = decoded(root / "test" / "labels_40" / f"{stem}.png").astype(int)
        np.testing.assert_array_equal(sample["label"], np.where(values == 0, 255, values - 1))


def test_depth_as_measured(root):
    assert (NYUDv2ESANet(root, "test", depth_kind="depth_raw")[0]["depth"] == 0).all()


def test_the_base_config_builds(root):
    shutil.copytree(root / "test", root / "train")
    config = load_config(CONFIGS / "nyudv2_esanet.py", data_root=str(root))
    for loader, holdout in ((config.train_dataloader, "exclude"), (config.val_dataloader, "only")):
        assert loader.dataset.pop("holdout") == holdout  # three frames are too few for it
    for loader in (config.train_dataloader, config.val_dataloader, config.test_dataloader):
        assert build_from(loader.dataset)[0]["depth"].shape[0] == 1


def test_exception(root):
    with pytest.raises(FileNotFoundError, match=r"train.rgb: no such folder"):
        NYUDv2ESANet(root)
    with pytest.raises(ValueError, match="depth_kind must be"):
        NYUDv2ESANet(root, "test", depth_kind="hha")
    (root / "test" / "depth" / "0009.png").unlink()
    with pytest.raises(
        FileNotFoundError,
        match=r"test.depth.0009\.png: no such file; depth of 1 of 3 frames is missing, such as \['0009'\]",
    ):
        NYUDv2ESANet(root, "test")
