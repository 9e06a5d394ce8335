"""A small dataset in folders of every form that files have, and its shards."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from dataset_frames import colours, grey, save
from PIL import Image

from rgbx.datasets import FolderDataset
from rgbx.datasets.prepare import write_shards

DECLARED = """
[classes]
names = ["floor", "wall", "rest"]

[label]
folder = "label"
offset = 1
void = [0]

[modalities.rgb]
folder = "rgb"
suffix = ".jpg"
unit = "rgb8"

[modalities.depth]
folder = "depth"
unit = "metre"
scale = 5000

[modalities.thermal]
folder = "thermal"
suffix = ".npy"
unit = "sensor"
missing = [-1]

[modalities.radar]
folder = "both"
suffix = ".npz"
key = "radar"
unit = "relative"
scale = 10

[splits]
train = "train.txt"
"""
COUNT = 23


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """Frames in folders of their own days, with a name that no key can have, a palette, floats, and holes."""
    root = tmp_path_factory.mktemp("files")
    rng = np.random.default_rng(0)
    stems = [f"day{k % 2}/a.{k}~ü" for k in range(COUNT)]
    for stem in stems:
        save(root / "rgb" / f"{stem}.jpg", colours(rng))
        save(root / "depth" / f"{stem}.png", grey(rng, 0, 30000, np.uint16))
        label = Image.fromarray(grey(rng, 0, 4), mode="P")
        label.putpalette(bytes(range(48)))
        (root / "label" / stem).parent.mkdir(parents=True, exist_ok=True)
        label.save(root / "label" / f"{stem}.png")
        for name in ("thermal", "both"):
            (root / name / stem).parent.mkdir(parents=True, exist_ok=True)
        thermal = rng.normal(20, 5, (12, 16)).astype(np.float32)
        thermal[:2] = -1
        np.save(root / "thermal" / f"{stem}.npy", thermal)
        np.savez(root / "both" / f"{stem}.npz", radar=rng.random((12, 16)) * 10, other=np.zeros(3))
    (root / "dataset.toml").write_text(DECLARED)
    (root / "train.txt").write_text("\n".join(stems))
    assert cv2.imread(str(root / "depth" / f"{stems[0]}.png"), -1).dtype == np.uint16
    return root


@pytest.fixture(scope="session")
def shards(folder, tmp_path_factory):
    """Its shards of about five samples; to be left as they are."""
    out = tmp_path_factory.mktemp("shards")
    write_shards(out, {"train": FolderDataset(folder)}, folder, shard_mb=0.04)
    assert 3 <= len(list((out / "train").glob("*.tar"))) <= 8
    return out
