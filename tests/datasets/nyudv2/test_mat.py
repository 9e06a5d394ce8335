"""The published file: a small one of the same format, the real mapping and splits, and a sparse one of full size."""

from __future__ import annotations

import builtins
import pickle
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from torch.utils.data import DataLoader

from rgbx.cli.config import load_config
from rgbx.datasets import NYUDv2Mat
from rgbx.datasets.families.nyudv2 import NYUDV2_CLASSES
from rgbx.datasets.families.nyudv2_mat import read_class_mapping, read_split
from rgbx.datasets.sample import build_from


def naive_train_ids(ids, map_class):
    """Void stays void, published id n is the n-th entry of the mapping, counted from 1."""
    found = np.full(ids.shape, 255, np.uint8)
    for place in np.ndindex(ids.shape):
        if ids[place] > 0:
            found[place] = map_class[ids[place] - 1] - 1
    return found


@pytest.mark.parametrize("split", ["train", "test"])
def test_frames_lie_upright(published_file, split):
    dataset = NYUDv2Mat(published_file.path, split)
    assert len(dataset) == 3
    for index, number in enumerate(published_file.numbers[split]):
        sample = dataset[index]
        assert sample["sample_id"] == f"{number:06d}"
        np.testing.assert_array_equal(sample["rgb"], published_file.rgb[number - 1])
        np.testing.assert_array_equal(sample["depth"], published_file.depth[number - 1])
        truth = naive_train_ids(published_file.ids[number - 1], published_file.map_class)
        np.testing.assert_array_equal(sample["label"], truth)
        assert sample["depth"].dtype == np.float32 and sample["rgb"].flags.c_contiguous


def test_depth_as_measured(published_file):
    sample = NYUDv2Mat(published_file.path.parent, "test", modalities=("depth",), depth_kind="rawDepths")[0]
    np.testing.assert_array_equal(sample["depth"], published_file.raw_depth[0])
    assert (sample["depth"] == 0).any()


def test_workers_open_the_file_for_themselves(published_file):
    dataset = NYUDv2Mat(published_file.path)
    assert dataset._file is None
    direct = [dataset[index] for index in range(3)]  # opens it here, before the workers fork
    loader = DataLoader(dataset, batch_size=None, num_workers=2, multiprocessing_context="fork")
    spawned = pickle.loads(pickle.dumps(dataset))
    assert dataset._file is not None and spawned._file is None
    for ours, *others in zip(direct, loader, (spawned[index] for index in range(3)), strict=True):
        for theirs in others:
            np.testing.assert_array_equal(ours["rgb"], theirs["rgb"])
            np.testing.assert_array_equal(ours["depth"], theirs["depth"])


def test_real_mapping_and_splits(nyuv2_320x240):
    """The lists of the 320x240 copy, and the mapping's own names, are the truth."""
    io = pytest.importorskip("scipy.io")
    for split in ("train", "test"):
        listed = [int(stem) for stem in (nyuv2_320x240 / f"{split}.txt").read_text().split()]
        assert read_split(nyuv2_320x240 / "splits.mat", split) == listed
    table = read_class_mapping(nyuv2_320x240 / "classMapping40.mat")
    assert table.shape == (895,) and table[0] == 255 and set(table[1:]) == set(range(40))
    names = io.loadmat(nyuv2_320x240 / "classMapping40.mat")["allClassName"][0]
    names = {str(name[0]): table[number] for number, name in enumerate(names, start=1)}
    same = [name for name in names if name in NYUDV2_CLASSES]
    assert len(same) > 25
    assert [NYUDV2_CLASSES[names[name]] for name in same] == same


def test_the_file_is_never_loaded_as_a_whole(tmp_path, nyuv2_320x240):
    """Full shapes, of which only frame 3 is stored: one frame takes 4 MB, all images 1.3 GB."""
    h5py = pytest.importorskip("h5py")
    path = tmp_path / "nyu_depth_v2_labeled.mat"
    rgb = np.random.default_rng(0).integers(0, 256, (3, 640, 480), dtype=np.uint8)
    with h5py.File(path, "w", userblock_size=512) as file:
        for name, shape, kind in (("images", (3,), "u1"), ("depths", (), "f4"), ("labels", (), "u2")):
            data = file.create_dataset(name, (1449, *shape, 640, 480), kind, chunks=(1, *shape, 640, 480))
            data[2] = rgb if name == "images" else 1
    files = {"mapping": nyuv2_320x240 / "classMapping40.mat", "splits": nyuv2_320x240 / "splits.mat"}
    assert len(NYUDv2Mat(path, "test", **files)) == 654
    tracemalloc.start()
    dataset = NYUDv2Mat(path, **files)
    sample = dataset[0]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(dataset) == 795 and sample["sample_id"] == "000003"
    np.testing.assert_array_equal(sample["rgb"], rgb.transpose(2, 1, 0))
    assert peak < 32e6


@pytest.mark.parametrize("module", ["h5py", "scipy.io"])
def test_missing_libraries_name_the_extra(published_file, monkeypatch, module):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=rf"needs {module}: pip install 'rgbx\[mat\]'"):
        NYUDv2Mat(published_file.path)


def test_importing_needs_neither(monkeypatch):
    real = builtins.__import__

    def refuse(name, *rest):
        if name.split(".")[0] in ("h5py", "scipy"):
            raise AssertionError(f"{name} is imported before it is used")
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", refuse)
    monkeypatch.delitem(sys.modules, "rgbx.datasets.families.nyudv2_mat")
    import rgbx.datasets.families.nyudv2_mat  # noqa: F401


def test_the_base_config_builds(published_file):
    base = Path(__file__).parents[3] / "configs/_base_/datasets/nyudv2_mat.py"
    config = load_config(base, data_root=str(published_file.path))
    for loader in (config.train_dataloader, config.val_dataloader, config.test_dataloader):
        loader.dataset.pop("holdout", None)  # three frames are too few for it
        assert build_from(loader.dataset)[0]["depth"].shape[0] == 1


def test_exception(published_file, tmp_path):
    h5py = pytest.importorskip("h5py")
    path = published_file.path
    with pytest.raises(FileNotFoundError, match=r"nyu_depth_v2_labeled\.mat: no such file"):
        NYUDv2Mat(tmp_path, mapping=path.parent / "classMapping40.mat", splits=path.parent / "splits.mat")
    with pytest.raises(FileNotFoundError, match=r"splits\.mat: no such file"):
        NYUDv2Mat(path, splits=tmp_path / "splits.mat")
    with pytest.raises(ValueError, match=r"no field 'mapClass'; it has \['testNdxs', 'trainNdxs'\]"):
        NYUDv2Mat(path, mapping=path.parent / "splits.mat")
    with pytest.raises(ValueError, match="found 'val'"):
        NYUDv2Mat(path, "val")
    with pytest.raises(ValueError, match=r"found \['hha'\]"):
        NYUDv2Mat(path, modalities=("hha",))
    with pytest.raises(ValueError, match=r"splits\.mat: not a MATLAB v7\.3"):
        NYUDv2Mat(
            path.parent / "splits.mat",
            splits=path.parent / "splits.mat",
            mapping=path.parent / "classMapping40.mat",
        )
    with h5py.File(path, "r+") as file:
        file["labels"][2, 0, 0] = 895
    with pytest.raises(ValueError, match=r"labels of frame 3 hold 895, expected 0\.\.894"):
        NYUDv2Mat(path)[0]
    for wrong in (np.full((6, 16, 12), -2, np.int16), np.full((6, 16, 12), 1.5)):
        with h5py.File(path, "r+") as file:
            del file["labels"]
            file["labels"] = wrong
        with pytest.raises(ValueError, match=rf"labels of frame 3 hold .* whole numbers, found {wrong.dtype}"):
            NYUDv2Mat(path)[0]
    scipy_io = pytest.importorskip("scipy.io")
    scipy_io.savemat(tmp_path / "splits.mat", {"trainNdxs": [[1.5], [2]]})
    message = r"splits\.mat: field 'trainNdxs' must hold whole numbers 0\.\.65535, found float64"
    with pytest.raises(ValueError, match=message):
        read_split(tmp_path / "splits.mat", "train")
    data = (tmp_path / "splits.mat").read_bytes()
    for cut in (0, 100, 140, len(data) - 4):
        (tmp_path / "splits.mat").write_bytes(data[:cut])
        with pytest.raises(ValueError, match=r"splits\.mat: the file is damaged"):
            read_split(tmp_path / "splits.mat", "train")
    with h5py.File(path, "r+") as file:
        del file["depths"]
        file["depths"] = np.zeros((4, 16, 12), np.float32)
    with pytest.raises(ValueError, match=r"'depths' has the shape \(4, 16, 12\).*at least 6 frames"):
        NYUDv2Mat(path)
    with h5py.File(path, "r+") as file:
        del file["depths"]
    with pytest.raises(ValueError, match=r"no field 'depths'; it has \['images', 'labels', 'rawDepths'\]"):
        NYUDv2Mat(path)
    assert len(NYUDv2Mat(path, modalities=("rgb",))) == 3
