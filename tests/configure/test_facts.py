"""What folders are read as: splits, parts, statistics against a pass over everything, and refusals."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from rgbx.configure import DataError, read_folder
from rgbx.datasets import FolderDataset
from rgbx.datasets.families.nyudv2 import NYUDv2Folders
from rgbx.datasets.own import measure

LABELLED = '[classes]\nnames = ["a", "b"]\n[label]\nfolder = "{split}/label"\n'
MAPS = '[modalities.rgb]\nfolder = "{split}/rgb"\nunit = "rgb8"\n'
MAPS += '[modalities.depth]\nfolder = "{split}/depth"\nunit = "metre"\nscale = 1000\n'


def write(root, split, count, seed=0, labels=True, labelled=None):
    """Frames of 48x64 in a folder of a split; the labels of those that are not `labelled` are void."""
    random = np.random.default_rng(seed)
    for index in range(count):
        label = np.kron(random.integers(0, 2, (3, 4)), np.ones((16, 16))).astype(np.uint8)
        if labelled is not None and index not in labelled:
            label = np.full_like(label, 255)
        arrays = {
            "rgb": cv2.blur(random.integers(0, 255, (48, 64, 3)).astype(np.uint8), (5, 5)),
            "depth": (900 + 70.0 * label + random.integers(0, 30, (48, 64))).astype(np.uint16),
        }
        for name, array in {**arrays, **({"label": label} if labels else {})}.items():
            (root / split / name).mkdir(parents=True, exist_ok=True)
            assert cv2.imwrite(f"{root}/{split}/{name}/{index:03}.png", array)


def declare(root, splits, labelled=True):
    told = "\n".join(f'{name} = "{name}"' for name in splits)
    (root / "dataset.toml").write_text(f"{LABELLED * labelled}{MAPS}[splits]\n{told}\n")


def test_splits_and_parts(tmp_path):
    for seed, (split, count) in enumerate({"train": 8, "test": 3, "night": 4}.items()):
        write(tmp_path, split, count, seed)
    declare(tmp_path, ["train", "test", "night"])
    found = read_folder(tmp_path)
    assert found.train.options == {"split": "train", "holdout": "exclude"} and found.train.frames == 7
    assert found.val.options == {"split": "train", "holdout": "only"} and found.val.frames == 1
    assert found.test.options == {"split": "test"} and found.type is FolderDataset and not found.declaration
    assert found.dataset(found.val).frames[0].sample_id not in {f.sample_id for f in found.dataset(found.train).frames}
    named = read_folder(tmp_path, {"val": "night"}, ["rgb"])
    assert named.val.options == {"split": "night"} and named.train.frames == 8 and named.modalities == ("rgb",)
    with pytest.raises(DataError, match="there is no such split, only train, test, night"):
        read_folder(tmp_path, {"val": "dusk"})
    declare(tmp_path, ["test", "night"])
    with pytest.raises(DataError, match="--split train=NAME"):
        read_folder(tmp_path)


def test_a_split_without_labels_chooses_no_checkpoint(tmp_path):
    for seed, (split, labelled) in enumerate({"train": None, "val": (), "test": (3,), "dark": ()}.items()):
        write(tmp_path, split, 6, seed, labelled=labelled)
    declare(tmp_path, ["train", "val", "test", "dark"])
    found = read_folder(tmp_path)
    assert found.val.options == {"split": "train", "holdout": "only"} and found.train.frames == 5
    assert "there is no labelled validation split: " in found.val.reason
    assert found.test.options == {"split": "test"}  # of which one frame beyond the first has labels
    (told,) = [text for text in found.warnings if "is not used" in text]
    assert told.startswith("val: no labelled pixel in 6 of its 6 frames -> ") and "--split val=NAME" in told
    with pytest.raises(DataError, match="dark: no labelled pixel in 6 of its 6 frames; name one that has labels"):
        read_folder(tmp_path, {"val": "dark"})
    with pytest.raises(DataError, match=r"dark: no labelled pixel .* by --split train=NAME"):
        read_folder(tmp_path, {"train": "dark"})


def test_modalities_that_are_not_there(tmp_path):
    write(tmp_path, "train", 4)
    declare(tmp_path, ["train"])
    with pytest.raises(DataError, match=r"train cannot be opened: .* found \['dept'\]; did you mean 'depth'") as error:
        read_folder(tmp_path, modalities=["rgb", "dept"])
    assert "doctor" not in str(error.value)


def test_one_frame_is_too_few(tmp_path):
    write(tmp_path, "train", 1)
    declare(tmp_path, ["train"])
    with pytest.raises(DataError, match="no validation split, and a list of 1 frames is too short") as error:
        read_folder(tmp_path)
    assert "holdout=" not in str(error.value)


def test_no_labels_mean_a_translation_and_one_map_means_nothing(tmp_path):
    write(tmp_path, "train", 6, labels=False)
    found = read_folder(tmp_path)
    assert (found.modalities, found.target, found.classes) == (("rgb",), "depth", ()) and found.declaration
    assert not (tmp_path / "dataset.toml").exists()
    low, high = found.measured.ranges["depth"]
    assert 0.9 <= low < high <= 1.0
    (tmp_path / "dataset.toml").write_text(
        found.declaration.partition("[modalities.depth]")[0] + '[splits]\ntrain = "train"'
    )
    with pytest.raises(DataError, match="no labels and only rgb: looked for labels"):
        read_folder(tmp_path)


def test_errors_of_the_doctor_are_told(tmp_path):
    write(tmp_path, "train", 4)
    write(tmp_path, "test", 4)  # the same images
    declare(tmp_path, ["train", "test"])
    with pytest.raises(DataError, match=r"the doctor finds 1 error: .*the same image stands in train and test"):
        read_folder(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"holds no images and no arrays[^*]*Looked for"):
        read_folder(tmp_path / "empty")


def test_statistics_are_within_two_percent(tmp_path):
    """Frames whose depth grows along the list, as a walk's does; only a part of them is read."""
    random = np.random.default_rng(0)
    for index in range(600):
        (tmp_path / "train/rgb").mkdir(parents=True, exist_ok=True), (tmp_path / "train/depth").mkdir(exist_ok=True)
        assert cv2.imwrite(f"{tmp_path}/train/rgb/{index:03}.png", np.zeros((8, 8, 3), np.uint8))
        depth = 1000 + index + 400 * random.random() + random.integers(0, 900, (8, 8))
        assert cv2.imwrite(f"{tmp_path}/train/depth/{index:03}.png", depth.astype(np.uint16))
    declare(tmp_path, ["train"], labelled=False)
    dataset = FolderDataset(tmp_path, "train")
    found = measure(dataset, error=0.02 / 3)
    values = np.stack([dataset.read(index)["depth"] for index in range(600)]).astype(np.float64)
    assert 64 < found.frames < 600 and 0 < found.error <= 0.02 / 3
    assert found.statistics["depth"]["mean"][0] == pytest.approx(values.mean(), rel=0.02)
    assert found.statistics["depth"]["std"][0] == pytest.approx(values.std(), rel=0.02)
    assert measure(dataset, error=1e-9, seconds=0).frames == 1  # patience ends


def test_statistics_of_real_frames(nyuv2_320x240):
    """2.845 m and 1.418 m are those of all 795 training frames."""
    dataset = NYUDv2Folders(nyuv2_320x240)
    found = measure(dataset, error=0.02 / 3).statistics["depth"]
    assert found["mean"][0] == pytest.approx(2.845, rel=0.02) and found["std"][0] == pytest.approx(1.418, rel=0.02)


def test_void_that_is_trained_is_told_with_its_place(tmp_path):
    """0 in thin strips around blocks of 1 and 2."""
    write(tmp_path, "train", 10)
    random = np.random.default_rng(1)
    for path in sorted((tmp_path / "train").rglob("*.png")):
        array = cv2.resize(cv2.imread(str(path), -1), (128, 96), interpolation=cv2.INTER_NEAREST)
        if path.parent.name == "label":
            array = np.kron(random.integers(1, 3, (3, 4)), np.ones((32, 32))).astype(np.uint8)
            array[::32], array[:, ::32] = 0, 0
        assert cv2.imwrite(str(path), array)
    found = read_folder(tmp_path)
    (told,) = [text for text in found.warnings if "looks like void" in text]
    assert f"void = [0] under [label] of {tmp_path}/dataset.toml" in told and "offset = 1" in told
    assert "`rgbx init FOLDER --overwrite`, which keeps that file" in told
    lines = found.declaration.splitlines()
    assert len(found.classes) == 3 and "# void = [0]" in lines
    text = found.declaration.replace("# offset = 1", "offset = 1").replace("# void = ", "void = ")
    (tmp_path / "dataset.toml").write_text(text.replace('names = ["class 0", ', "names = ["))
    again = read_folder(tmp_path)
    assert len(again.classes) == 2 and again.measured.void > 0.05 and not again.declaration
    assert not any("looks like void" in text for text in again.warnings)
