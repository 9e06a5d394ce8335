"""Prepared Cityscapes, read back through the dataset; real labels against the mapping."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from rgbx.datasets import Cityscapes
from rgbx.datasets.prepare import Summary, cityscapes_preparation, write_preparation

FRAME = "ulm_000001_000019"


@pytest.fixture
def root(tmp_path):
    """One frame per split with all packages; baseline * fx = 400 m px."""
    rng = np.random.default_rng(0)
    camera = {"extrinsic": {"baseline": 0.2}, "intrinsic": {"fx": 2000.0}}
    disparity = rng.integers(0, 30000, (20, 30)).astype(np.uint16)
    disparity[0, :5] = [0, 1, 2, 401, 65535]  # none, none, 102.4 km, 256 m, 1.6 m
    files = {
        ("leftImg8bit", "leftImg8bit.png"): rng.integers(0, 256, (20, 30, 3), dtype=np.uint8),
        ("gtFine", "gtFine_labelIds.png"): rng.integers(0, 34, (20, 30), dtype=np.uint8),
        ("disparity", "disparity.png"): disparity,
    }
    for split in ("train", "val"):
        for (package, suffix), array in files.items():
            folder = tmp_path / "in" / package / split / "ulm"
            folder.mkdir(parents=True)
            Image.fromarray(array).save(folder / f"{FRAME}_{suffix}")
        folder = tmp_path / "in" / "camera" / split / "ulm"
        folder.mkdir(parents=True)
        (folder / f"{FRAME}_camera.json").write_text(json.dumps(camera))
    return tmp_path / "in"


def prepare(root, out, **options):
    return write_preparation(out, cityscapes_preparation(root, **options))


@pytest.mark.parametrize("beside", [True, False])
def test_read_back(root, tmp_path, beside):
    out = root if beside else tmp_path / "out"
    summary = prepare(root, out)
    assert summary == Summary(4, 0, summary.saturated) and summary.saturated >= 2
    assert prepare(root, out, splits=("val",)) == Summary(0, 2, summary.saturated)
    raw, prepared = Cityscapes(root)[0], Cityscapes(root, prepared=out)[0]
    np.testing.assert_array_equal(prepared["label"], raw["label"])
    np.testing.assert_array_equal(prepared["rgb"], raw["rgb"])
    np.testing.assert_array_equal(prepared["depth"] == 0, raw["depth"] == 0)
    expected = np.minimum(raw["depth"], 65535 / 256)
    assert np.abs(prepared["depth"] - expected).max() <= 0.5 / 256
    assert str(out / "depth") in prepared["paths"]["depth"] and "camera" not in prepared["paths"]


def test_prepared_needs_the_images_only(root, tmp_path):
    prepare(root, tmp_path / "out", splits=("val",))
    for package in ("gtFine", "disparity", "camera"):
        (root / package).rename(tmp_path / package)
    assert len(Cityscapes(root, "val", prepared=tmp_path / "out")) == 1
    with pytest.raises(FileNotFoundError, match=r"out.gtFine.train: no such folder"):
        Cityscapes(root, prepared=tmp_path / "out")


def test_real_labels(layouts, tmp_path):
    """Real frames without a disparity get a flat one; their train ids must be those of the dataset."""
    root = tmp_path / "in"
    root.mkdir()
    for package in ("leftImg8bit", "gtFine"):
        (root / package).symlink_to(layouts / "cityscapes" / package)
    real = Cityscapes(root, modalities=("rgb",))
    for frame in real.frames:
        for package, suffix in (("disparity", "disparity.png"), ("camera", "camera.json")):
            path = root / package / "train" / "aachen" / f"{frame.sample_id}_{suffix}"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((1024, 2048), 2561, np.uint16)).save(path, "PNG")
        path.write_text('{"extrinsic": {"baseline": 0.2}, "intrinsic": {"fx": 2000}}')
    prepare(root, tmp_path / "out", splits=("train",))
    prepared = Cityscapes(root, prepared=tmp_path / "out")
    for index in range(len(real)):
        np.testing.assert_array_equal(prepared[index]["label"], real[index]["label"])
        assert (prepared[index]["depth"] == 40).all()


def test_labels_of_others_are_kept(root):
    theirs = root / "gtFine" / "val" / "ulm" / f"{FRAME}_gtFine_labelTrainIds.png"
    theirs.write_bytes(b"theirs")
    with pytest.raises(FileExistsError, match=r"labelTrainIds\.png is in the way"):
        prepare(root, root)
    assert theirs.read_bytes() == b"theirs" and not (root / "depth").exists()


@pytest.mark.parametrize("package", ["disparity", "gtFine", "leftImg8bit"])
def test_maps_of_other_sizes_are_refused(root, tmp_path, package):
    """Before a file of the frame is written; in another frame than the first."""
    (path,) = (root / package / "val" / "ulm").iterdir()
    Image.fromarray(np.asarray(Image.open(path))[:19]).save(path)
    with pytest.raises(ValueError, match=r"\.png: (19|20) × 30 pixels, but .*\.png of the same frame has (19|20) × 30"):
        prepare(root, tmp_path / "out")
    written = {path.parents[1].name for path in (tmp_path / "out").rglob("*.png")}
    assert written == {"train"}


def test_exception(root, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"expected the splits \['test'\], found \['train', 'val'\]"):
        prepare(root, tmp_path / "out", splits=("test",))
    with pytest.raises(FileNotFoundError, match="expected the splits train and val, found"):
        prepare(tmp_path / "nowhere", tmp_path / "out")
