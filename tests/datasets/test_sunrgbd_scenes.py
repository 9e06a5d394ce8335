"""SUN RGB-D as downloaded: scenes and toolbox files written in the authors' form, read against what was put in."""

from __future__ import annotations

import numpy as np
import pytest
from dataset_frames import colours, decoded, grey, save

from rgbx.datasets import SUNRGBDScenes, build_dataset, recognise, split_names

RNG = np.random.default_rng(0)
SCENES = (
    "kv1/NYUdata/NYU0001",
    "kv2/kinect2data/000002_x-resize",
    "xtion/sun3ddata/lounge/0001",
    "realsense/sa/0000_y",
)
THEIRS = "/n/fs/sun3d/data/SUNRGBD/"


def write_scenes(root):
    for scene in SCENES:
        name = scene.rpartition("/")[2]
        save(root / "SUNRGBD" / scene / "image" / f"{name}.png", colours(RNG))
        for kind in ("depth", "depth_bfx"):
            save(root / "SUNRGBD" / scene / kind / f"{name}_{kind}.png", grey(RNG, 0, 65536, np.uint16))
        (root / "SUNRGBD" / scene / "annotation2Dfinal").mkdir()
    return root


def write_toolbox(root, train=(0, 2)):
    """SUNRGBDMeta.mat and allsplit.mat as MATLAB 5, SUNRGBD2Dseg.mat as HDF5 with a reference per frame."""
    h5py, io = pytest.importorskip("h5py"), pytest.importorskip("scipy.io")
    labels = [grey(RNG, 0, 38) for _ in SCENES]
    meta = np.zeros(len(SCENES), dtype=[("sequenceName", object), ("rgbpath", object)])
    for index, scene in enumerate(SCENES):
        meta[index] = (f"SUNRGBD/{scene}", f"{THEIRS}{scene}/image/{scene.rpartition('/')[2]}.png")
    (root / "SUNRGBDtoolbox/Metadata").mkdir(parents=True)
    (root / "SUNRGBDtoolbox/traintestSUNRGBD").mkdir()
    io.savemat(root / "SUNRGBDtoolbox/Metadata/SUNRGBDMeta.mat", {"SUNRGBDMeta": meta})
    parts = {"alltrain": train, "alltest": [index for index in range(len(SCENES)) if index not in train]}
    cells = {name: np.array([f"{THEIRS}{SCENES[index]}" for index in part], object) for name, part in parts.items()}
    io.savemat(root / "SUNRGBDtoolbox/traintestSUNRGBD/allsplit.mat", cells)
    with h5py.File(root / "SUNRGBDtoolbox/Metadata/SUNRGBD2Dseg.mat", "w") as file:
        references = file.create_dataset("SUNRGBD2Dseg/seglabel", (len(SCENES), 1), h5py.ref_dtype)
        for index, label in enumerate(labels):
            references[index, 0] = file.create_dataset(f"#refs#/{index}", data=label.T).ref
    return labels


def test_frames_of_the_toolbox(tmp_path):
    labels = write_toolbox(write_scenes(tmp_path))
    assert split_names(tmp_path) == ("train", "test")
    for split, chosen in (("train", (0, 2)), ("test", (1, 3)), ("all", (0, 1, 2, 3))):
        dataset = build_dataset(tmp_path, split)
        assert type(dataset) is SUNRGBDScenes and not dataset.left_over
        assert [frame.sample_id for frame in dataset.frames] == [SCENES[index] for index in chosen]
        for sample, index in zip(dataset, chosen, strict=True):
            place, name = tmp_path / "SUNRGBD" / SCENES[index], SCENES[index].rpartition("/")[2]
            np.testing.assert_array_equal(sample["rgb"], decoded(place / "image" / f"{name}.png"))
            raw = decoded(place / "depth_bfx" / f"{name}_depth_bfx.png").astype(int)
            np.testing.assert_allclose(sample["depth"], ((raw >> 3) + (raw & 7) * 8192) / 1000, rtol=1e-6)
            np.testing.assert_array_equal(sample["label"], np.where(labels[index] == 0, 255, labels[index] - 1.0))
    raw = SUNRGBDScenes(tmp_path, depth_kind="depth").frames[0].files["depth"]
    assert raw.name == "NYU0001_depth.png"


def test_scenes_without_the_toolbox(tmp_path):
    write_scenes(tmp_path)
    (candidate,) = recognise(tmp_path / "SUNRGBD")
    assert candidate.evidence[0].endswith("and the scene kv1/NYUdata/NYU0001")
    assert split_names(tmp_path) == ("all",)
    dataset = SUNRGBDScenes(tmp_path, "all")
    assert len(dataset) == 4 and dataset.classes == () and "label" not in dataset[0]
    with pytest.raises(
        FileNotFoundError, match=r"SUNRGBDtoolbox: no such folder; .*split='all' reads the maps without"
    ):
        SUNRGBDScenes(tmp_path)


def test_exceptions(tmp_path):
    write_toolbox(write_scenes(tmp_path))
    with pytest.raises(ValueError, match="expected split 'train', 'test' or 'all'"):
        SUNRGBDScenes(tmp_path, "val")
    place = tmp_path / "SUNRGBD" / SCENES[0] / "image"
    save(place / "second.png", colours(RNG))
    with pytest.raises(ValueError, match=r"image: expected one image of the scene, found \['NYU0001\.png', 'second"):
        SUNRGBDScenes(tmp_path)
    for path in place.iterdir():
        path.unlink()
    with pytest.raises(FileNotFoundError, match=r"NYU0001\.png: no such file; rgb of 1 of 2 frames is missing"):
        SUNRGBDScenes(tmp_path)
    for name in ("Metadata/SUNRGBDMeta.mat", "traintestSUNRGBD/allsplit.mat"):
        whole = (tmp_path / "SUNRGBDtoolbox" / name).read_bytes()
        (tmp_path / "SUNRGBDtoolbox" / name).write_bytes(whole[: len(whole) // 2])
        with pytest.raises(ValueError, match=rf"{name}: the file is damaged"):
            SUNRGBDScenes(tmp_path)
        (tmp_path / "SUNRGBDtoolbox" / name).write_bytes(whole)
    (tmp_path / "SUNRGBDtoolbox/traintestSUNRGBD/allsplit.mat").unlink()
    with pytest.raises(FileNotFoundError, match=r"allsplit\.mat: no such file; it is part of SUNRGBDtoolbox\.zip"):
        SUNRGBDScenes(tmp_path)
