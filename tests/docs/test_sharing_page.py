"""The commands of docs/sharing.md, with a stand-in of the hub's client, and docs/models.md as it is generated."""

import re
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from huggingface_hub import constants

from rgbx.cli.config import load_config
from rgbx.cli.main import main
from rgbx.cli.model import config_model
from rgbx.convert import hub
from rgbx.models.checkpoint import to_plain

ROOT = Path(__file__).parents[2]
COMMIT = "2" * 40
CONFIG = """
from mmengine.config import read_base

with read_base():
    from .asymfusion_small_rooms_160x120 import *

dataset.update(size=(24, 32), num_frames=2)
train_dataloader.update(batch_size=2, num_workers=0)
val_dataloader.update(batch_size=2, num_workers=0)
test_dataloader.update(batch_size=2, num_workers=0)
train_cfg.update(max_epochs=2, val_interval=2)
"""


def test_the_page_of_models_is_what_the_command_writes(tmp_path):
    assert main(["models", "--markdown", str(tmp_path / "models.md")]) == 0
    assert (tmp_path / "models.md").read_text() == (ROOT / "docs/models.md").read_text()


class Hub:
    """Stands in for `HfApi`: what is uploaded lies in the cache of this machine then, under both names of the page."""

    def create_repo(self, repository, **options):
        assert options == {"private": True, "exist_ok": True}

    def repo_info(self, repository):
        return self

    private = True

    def upload_folder(self, *, repo_id, folder_path, allow_patterns, **_):
        cached = Path(constants.HF_HUB_CACHE, f"models--{repo_id.replace('/', '--')}")
        (cached / "snapshots" / COMMIT).mkdir(parents=True)
        (cached / "refs").mkdir()
        for name in allow_patterns:
            (cached / "snapshots" / COMMIT / name).write_bytes((folder_path / name).read_bytes())
        for name in ("main", "v1"):
            (cached / "refs" / name).write_text(COMMIT)


@pytest.fixture
def trained(place, monkeypatch):
    """A small config, a checkpoint of it, photos and depths, and a hub out of reach."""
    (place / "configs/rooms/small.py").write_text(CONFIG)
    model = config_model(load_config("configs/rooms/small.py"))
    (place / "work_dirs/rooms").mkdir(parents=True)
    state = {"state_dict": dict(model.state_dict()), "model": model.recipe, "meta": {"epoch": 1}}
    torch.save(to_plain(state), place / "work_dirs/rooms/epoch_1.pth")
    photo = np.random.default_rng(0).integers(0, 255, (24, 32, 3), np.uint8)
    for name, image in {"a.jpg": photo, "b.png": np.full((24, 32), 2500, np.uint16)}.items():
        folder = place / {"a.jpg": "photos", "b.png": "depths"}[name]
        folder.mkdir()
        cv2.imwrite(str(folder / "1.png"), image)
        cv2.imwrite(str(place / name), image)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(place / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(hub, "HfApi", Hub)
    return place


@pytest.mark.filterwarnings("ignore::rgbx._types.InputWarning")
def test_the_commands_of_the_page(trained, run_tools):
    text = (ROOT / "docs/sharing.md").read_text()
    commands = re.findall(r"^    (rgbx .*)$", text, re.MULTILINE)
    assert len(commands) == 8
    predicting = "--out predictions --overwrite --map depth scale=1000"
    theirs = {"CONFIG": "configs/rooms/small.py", "OWNER/NAME": "owner/name", "--out predictions": predicting}
    run_tools("\n".join(commands), theirs)
    (block,) = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    names: dict = {}
    exec(block.replace('depth="b.png"', 'depth="b.png", depth_scale=1000'), names)
    assert names["result"]["labels"].ids.shape == (24, 32)
    assert "| RGB + depth |" in (trained / "shared/rooms/README.md").read_text()
