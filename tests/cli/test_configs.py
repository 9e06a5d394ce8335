"""Every config trains two iterations and is evaluated, with a small network and crop, in one process.

NYUDv2, Cityscapes (its disparities written here), MFNet (its labels another network's predictions) and SUN RGB-D (it
gets frames of NYUDv2) run on real frames, the others on images written in the format of their dataset, or rendered.
"""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from dataset_frames import colours, decoded, grey, save, write_deliver, write_fmb, write_pst900

import rgbx
import rgbx.cli.evaluate
import rgbx.cli.prepare
import rgbx.cli.train
from rgbx.backbones.weight_source import PACKAGED
from rgbx.cli.config import load_config
from rgbx.datasets import propose
from rgbx.evaluate.result import read_result

CONFIGS = Path(__file__).parents[2] / "configs"
SIZE = (48, 64)
RNG = np.random.default_rng(0)


def link(source, target, names):
    for name in names:
        (target / name).symlink_to(source / name)
    return target


@pytest.fixture
def nyudv2_lists(layouts, tmp_path):
    root = link(layouts / "nyudv2", tmp_path, ("rgb", "masks", "depth"))
    for name, count in (("train.txt", 2), ("val.txt", 1)):
        lines = (layouts / "nyudv2" / name).read_text().splitlines()
        (root / name).write_text("\n".join(lines[:count]))
    return root


@pytest.fixture
def nyudv2_folders(nyuv2_320x240, tmp_path):
    root = link(nyuv2_320x240, tmp_path, ("rgb", "depth", "label"))
    for name, count in (("train.txt", 2), ("test.txt", 1)):
        (root / name).write_text("\n".join((nyuv2_320x240 / name).read_text().split()[:count]))
    return root


@pytest.fixture
def nyudv2_resized(nyudv2_folders, tmp_path):
    assert rgbx.cli.prepare.main(["resized", str(nyudv2_folders), str(tmp_path / "small"), "--size", "60x80"]) == 0
    return tmp_path / "small"


@pytest.fixture
def nyudv2_cmx(layouts, tmp_path):
    root = link(layouts / "NYUDepthv2", tmp_path, ("RGB", "HHA", "Label"))
    for name, count in (("train.txt", 2), ("test.txt", 1)):
        (root / name).write_text("\n".join((layouts / "NYUDepthv2" / name).read_text().splitlines()[:count]))
    return root


@pytest.fixture
def sunrgbd(layouts, tmp_path):
    """Frames of NYUDv2 under names of SUN RGB-D, whose classes are the first 37 of theirs."""
    for name, source in (("train_0", "0"), ("train_1", "8"), ("test_0", "2")):
        label = decoded(layouts / "NYUDepthv2" / "Label" / f"{source}.png")
        save(tmp_path / "labels" / f"{name}.png", np.where(label > 37, 0, label).astype(np.uint8))
        for folder, suffix in (("RGB", ".jpg"), ("Depth", ".png")):
            (tmp_path / folder).mkdir(exist_ok=True)
            (tmp_path / folder / f"{name}{suffix}").symlink_to(layouts / "NYUDepthv2" / folder / f"{source}{suffix}")
    (tmp_path / "train.txt").write_text("train_0\ntrain_1\n")
    (tmp_path / "test.txt").write_text("test_0\n")
    return tmp_path


@pytest.fixture
def rooms(tmp_path):
    """Empty: rooms that are not there are rendered."""
    (tmp_path / "rooms").mkdir()
    return tmp_path / "rooms"


@pytest.fixture
def nowhere():
    """Of datasets that read no files."""


@pytest.fixture
def cityscapes(layouts, tmp_path):
    """The real frames; a plane 10 m away as disparity."""
    root = link(layouts / "cityscapes", tmp_path, ("leftImg8bit", "gtFine"))
    for path in root.glob("leftImg8bit/*/*/*.png"):
        split, city, name = path.parts[-3:]
        frame = name.removesuffix("_leftImg8bit.png")
        disparity = np.full(decoded(path).shape[:2], 1 + 256 * 44, np.uint16)
        save(root / "disparity" / split / city / f"{frame}_disparity.png", disparity)
        camera = root / "camera" / split / city / f"{frame}_camera.json"
        camera.parent.mkdir(parents=True, exist_ok=True)
        camera.write_text(json.dumps({"extrinsic": {"baseline": 0.2}, "intrinsic": {"fx": 2200}}))
    return root


@pytest.fixture
def mfnet(layouts, tmp_path):
    (tmp_path / "images").symlink_to(layouts / "mfnet" / "images")
    (tmp_path / "labels").symlink_to(layouts / "mfnet" / "peer_pred")
    (tmp_path / "train.txt").write_text("01477D\n01234N\n01234N_flip\n")
    for name in ("val.txt", "test.txt"):
        (tmp_path / name).write_text("01477D\n")
    return tmp_path


@pytest.fixture
def taskonomy(layouts):
    return layouts / "taskonomy"


@pytest.fixture
def fmb(tmp_path):
    for split in ("train", "test"):
        write_fmb(tmp_path, RNG, split, size=SIZE)
    return tmp_path


@pytest.fixture
def pst900(tmp_path):
    for split in ("train", "test"):
        write_pst900(tmp_path, RNG, split, size=SIZE)
    return tmp_path


@pytest.fixture
def deliver(tmp_path):
    for split in ("train", "val", "test"):
        write_deliver(tmp_path, RNG, split, ("fog/MAP_1_point1", "rain/MAP_2_point2"), size=SIZE)
    return tmp_path


@pytest.fixture
def own(tmp_path):
    """Three frames whose declaration is proposed; one of them is held out."""
    for stem in "abc":
        save(tmp_path / f"rgb/{stem}.png", colours(RNG, size=SIZE))
        save(tmp_path / f"depth/{stem}.png", grey(RNG, 900, 4000, np.uint16, SIZE))
        save(tmp_path / f"label/{stem}.png", np.kron(grey(RNG, 0, 3, size=(3, 4)), np.ones((16, 16), np.uint8)))
    (tmp_path / "dataset.toml").write_text(propose(tmp_path).text)
    return tmp_path


HELD_OUT = ["train_dataloader.dataset.holdout=None", "val_dataloader.dataset.holdout=None"]
CITIES = ["train_dataloader.dataset.cities=None", "val_dataloader.dataset.cities=None"]
SMALL = [
    "model.backbone=test_resnet",
    "model.pretrained=None",
    "model.decoder.width=16",
    "train_cfg.max_epochs=1",
    "param_scheduler=[]",
    "train_dataloader.batch_size=1",
    "train_dataloader.persistent_workers=False",
    *(f"{loader}_dataloader.num_workers=0" for loader in ("train", "val", "test")),
]
CROP = "train_dataloader.dataset.transforms.0.size=(64,64)"
VALIDATED = "train_cfg.val_interval=1"
LITE0 = ["model.backbone=tf_efficientnet_lite0", "model.pretrained=lite0"]
if importlib.util.find_spec(PACKAGED["lite0"].package) is None:
    LITE0 = []
WEIGHTED = "model.loss={'name': 'cross_entropy', 'class_weights': 'median_frequency'}"
ROOMS = [
    *(f"{loader}_dataloader.dataset.size={SIZE}" for loader in ("train", "val", "test")),
    *(f"{loader}_dataloader.dataset.num_frames={count}" for loader, count in (("train", 2), ("val", 1), ("test", 1))),
    "train_cfg.val_interval=1",
]
UNET = ["model.generator={'name': 'unet', 'width': 4, 'depth': 3}", "model.discriminator.width=4"]
TRANSLATION = {  # data, a score of each head, and what makes the model small
    "rooms/translate_depth_thermal_rgb_rooms_128x128.py": ("rooms", {"rgb": "PSNR"}, UNET),
    "rooms/joint_r18_rooms_160x120.py": (
        "rooms",
        {"labels": "mIoU", "normal": "angle_mean"},
        [f"model.heads.{head}.decoder.width=16" for head in ("labels", "normal")],
    ),
    "rooms/dense_r18_rooms_160x120.py": (
        "rooms",
        {"labels": "mIoU", "normal": "angle_mean", "dense": "MAE"},
        [f"model.heads.{head}.decoder.width=16" for head in ("labels", "normal", "dense")],
    ),
    "rooms/embed_small_rooms_160x120.py": ("rooms", {"codes": "mAP"}, ["model.objectives.0.adversary=True"]),
    "taskonomy/translate_shade_texture_rgb_taskonomy_256x256.py": ("taskonomy", {"rgb": "SSIM"}, UNET),
    "nyudv2/translate_depth_normal_rgb_nyudv2_320x240.py": ("nyudv2_folders", {"rgb": "PSNR"}, UNET),
    "nyudv2/translate_rgb_edge_depth_nyudv2_320x240.py": ("nyudv2_folders", {"depth": "AbsRel"}, UNET),
}
TASKONOMY = [
    *(
        f"{part}_dataloader.dataset.transforms.0.size={size}"
        for part, size in (("train", 36), ("val", 32), ("test", 32))
    ),
    "train_dataloader.dataset.transforms.1.size=32",
    "train_cfg.val_interval=1",
    *HELD_OUT,
]
DATA = {
    "rooms": ROOMS,
    "taskonomy": TASKONOMY,
    "nyudv2_folders": [*HELD_OUT, "train_cfg.val_interval=1"],
}
CASES = {
    "nyudv2/asymfusion_r50_nyudv2_lists.py": ("nyudv2_lists", [CROP, WEIGHTED, *HELD_OUT]),
    "nyudv2/asymfusion_r101_nyudv2_authors.py": ("nyudv2_lists", [CROP, *HELD_OUT]),
    "nyudv2/asymfusion_r152_nyudv2_authors.py": ("nyudv2_lists", [CROP, *HELD_OUT]),
    "nyudv2/asymfusion_r50_nyudv2_cmx.py": ("nyudv2_cmx", [CROP, *HELD_OUT]),
    "nyudv2/asymfusion_r18_nyudv2_320x240.py": ("nyudv2_folders", [CROP, *HELD_OUT]),
    "nyudv2/asymfusion_r18_nyudv2_320x240_8e.py": ("nyudv2_folders", [CROP, *HELD_OUT]),
    "nyudv2/asymfusion_lite0_nyudv2_160x120_8e.py": ("nyudv2_resized", [CROP, *LITE0, *HELD_OUT, VALIDATED]),
    "nyudv2/cen_r101_nyudv2_authors.py": ("nyudv2_lists", [CROP, *HELD_OUT]),
    "nyudv2/cen_r152_nyudv2_authors.py": ("nyudv2_lists", [CROP, *HELD_OUT]),
    "nyudv2/purified_r18_nyudv2_320x240_8e.py": ("nyudv2_folders", [CROP.replace(".0.", ".1."), *HELD_OUT]),
    "sunrgbd/asymfusion_r50_sunrgbd.py": ("sunrgbd", [CROP, *HELD_OUT]),
    "cityscapes/asymfusion_r50_cityscapes_512x1024.py": ("cityscapes", [CROP, *CITIES]),
    "mfnet/asymfusion_r50_mfnet.py": ("mfnet", [CROP]),
    "fmb/asymfusion_r50_fmb.py": ("fmb", [CROP, *HELD_OUT]),
    "pst900/asymfusion_r50_pst900.py": ("pst900", [CROP, *HELD_OUT]),
    "deliver/asymfusion_r50_deliver.py": ("deliver", [CROP]),
    "rooms/asymfusion_r18_rooms_160x120.py": ("rooms", ROOMS),
    "rooms/asymfusion_small_rooms_160x120.py": ("rooms", ROOMS),
    "rooms/asymfusion_lite0_rooms_160x120.py": ("rooms", ROOMS),
    "rooms/purified_small_rooms_160x120.py": ("rooms", ROOMS),
    "rooms/mea_small_room_clips_160x120.py": ("nowhere", ROOMS),
    "rooms/graph_small_rooms_160x120.py": ("rooms", ROOMS),
    "rooms/hallucinating_small_rooms_160x120.py": ("rooms", ROOMS),
    "own/asymfusion_r18.py": ("own", ["train_cfg.val_interval=1"]),
}


def test_every_config_is_tested():
    files = {path.relative_to(CONFIGS).as_posix() for path in CONFIGS.glob("[!_]*/*.py")}
    files = {file for file in files if not file.startswith("studies/")}  # see test_study.py
    assert files == {*CASES, *TRANSLATION}


@pytest.mark.parametrize("config", [*CASES, *TRANSLATION])
def test_the_checkpoint_is_chosen_on_frames_of_neither_training_nor_test(config):
    resolved = load_config(str(CONFIGS / config))
    train, val, test = (
        {key: value for key, value in resolved[f"{name}_dataloader"]["dataset"].items() if key != "transforms"}
        for name in ("train", "val", "test")
    )
    assert val not in (train, test)
    if val.get("split") == "train" or "list_file" in val:
        parts = (train.get("holdout"), val.get("holdout")), (train.get("cities", ()), val.get("cities", ()))
        apart = set(parts[1][0]).isdisjoint(parts[1][1]) and all(parts[1])
        assert parts[0] == ("exclude", "only") or apart
        assert "holdout" not in test


@pytest.mark.parametrize("config", TRANSLATION)
def test_maps_train_and_are_scored(config, request, tmp_path):
    data, scores, small = TRANSLATION[config]
    options = [option for option in SMALL if not option.startswith("model.")]
    options += [*DATA[data], *small]
    arguments = ["--data-root", str(request.getfixturevalue(data)), "--cfg-options", *options]
    path, work_dir = str(CONFIGS / config), tmp_path / "run"
    assert rgbx.cli.train.main([path, "--work-dir", str(work_dir), *arguments]) == 0
    log = next(work_dir.rglob("*.log")).read_text()
    several = len(scores) > 1
    validated = log.split("Epoch(val) [1]")[1]
    assert "Epoch(train) [1][2/2]" in log
    assert all(
        f"{head}/{score}: " in validated if several else f"{score}: " in validated for head, score in scores.items()
    )
    assert (work_dir / "pictures/epoch_1.png").is_file() == bool(load_config(path).val_cfg.get("pictures"))
    out = tmp_path / "scores.json"
    assert rgbx.cli.evaluate.main([path, str(work_dir), "--json", str(out), "--draw", str(tmp_path), *arguments]) == 0
    heads = read_result(out)["heads"]
    assert set(heads) == set(scores)
    for head, score in scores.items():
        assert heads[head]["subsets"].popitem()[1]["ensemble"][score] is not None
    assert list(rgbx.load(work_dir).heads) == list(scores)


@pytest.mark.parametrize("config", CASES)
def test_trains_and_evaluates(config, request, tmp_path):
    data, options = CASES[config]
    root, work_dir = request.getfixturevalue(data), tmp_path / "run"
    arguments = [*(["--data-root", str(root)] if root else []), "--cfg-options", *SMALL, *options]
    path = str(CONFIGS / config)
    assert rgbx.cli.train.main([path, "--work-dir", str(work_dir), *arguments]) == 0
    log = next(work_dir.rglob("*.log")).read_text()
    assert "Epoch(train) [1][2/2]" in log and "Epoch(val) [1]" in log
    report = tmp_path / "scores.json"
    assert rgbx.cli.evaluate.main([path, str(work_dir), "--json", str(report), *arguments]) == 0
    ((scores, *_),) = (list(found.values()) for found in read_result(report)["heads"]["labels"]["subsets"].values())
    assert 0 <= scores["mIoU"] <= 1
    counted = list(tmp_path.rglob("class_counts.json"))  # in training only: testing needs no training data
    assert counted == ([work_dir / "class_counts.json"] if WEIGHTED in options else [])
    if WEIGHTED in options:
        weights = torch.load(next(work_dir.glob("epoch_*.pth")), weights_only=True)["state_dict"][
            "heads.labels.task.loss.weight"
        ]
        expected = median_frequencies([decoded(path) for path in masks(root)])
        torch.testing.assert_close(weights, torch.tensor(expected), rtol=1e-4, atol=0)


def masks(root):
    """The label files that train.txt lists."""
    return [root / line.split("\t")[1] for line in (root / "train.txt").read_text().splitlines()]


def median_frequencies(labels, count=40):
    """median(f) / f with f = pixels of a class / pixels of the images that show it; 1 without pixels."""
    shown = {k: [label for label in labels if (label == k).any()] for k in range(count)}
    share = {k: sum((x == k).sum() for x in found) / sum(x.size for x in found) for k, found in shown.items() if found}
    middle = np.median(list(share.values()))
    return [float(middle / share[k]) if k in share else 1.0 for k in range(count)]
