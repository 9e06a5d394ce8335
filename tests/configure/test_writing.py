"""What is planned of a folder becomes a config that Python and the commands read, whatever things are called."""

from __future__ import annotations

import ast
import dataclasses

import numpy as np
import pytest
from dataset_frames import colours, grey, save, write_deliver, write_fmb, write_pst900

from rgbx.cli.config import load_config
from rgbx.configure import Costs, Machine, Weights, config_text, plan_training, read_folder
from rgbx.datasets import SyntheticRooms

RNG = np.random.default_rng(0)
SIZE = (48, 64)
CPU = Machine("cpu", "a test", cores=2, threads=1, memory=8 * 2**30, bfloat16=False)


def write_cmx(root, label, names):
    for name in names:
        save(root / "RGB" / f"{name}.png", colours(RNG, size=SIZE))
        save(root / "Depth" / f"{name}.png", grey(RNG, 9, size=SIZE))
        save(root / label / f"{name}.png", grey(RNG, 1, 38, size=SIZE))


def write_nyu_cmx(root):
    write_cmx(root, "Label", "012345")
    for split, names in {"train": "0123", "test": "45"}.items():
        (root / f"{split}.txt").write_text("".join(f"RGB/{name}.png Label/{name}.png\n" for name in names))


def write_lists(root, low, void):
    for split in ("train", "val"):
        lines = []
        for index in range(4):
            name = f"{split}{index}.png"
            save(root / "rgb" / name, colours(RNG, size=SIZE))
            mask = grey(RNG, low, 38, size=SIZE)
            mask[0, :9] = void
            save(root / "masks" / name, mask)
            save(root / "depth" / name, grey(RNG, 900, 9000, np.uint16, SIZE))
            lines.append(f"rgb/{name}\tmasks/{name}\tdepth/{name}\n")
        (root / f"{split}.txt").write_text("".join(lines))


def write_esanet(root):
    for split in ("train", "test"):
        for index in range(4):
            save(root / split / "rgb" / f"{index}.png", colours(RNG, size=SIZE))
            save(root / split / "labels_40" / f"{index}.png", grey(RNG, 0, 41, size=SIZE))
            for name in ("depth", "depth_raw"):
                save(root / split / name / f"{index}.png", grey(RNG, 900, 9000, np.uint16, SIZE))


def write_folders(root):
    for index in range(6):
        save(root / "rgb" / f"{index}.jpg", colours(RNG, size=SIZE))
        save(root / "depth" / f"{index}.png", grey(RNG, 9, size=SIZE))
        save(root / "label" / f"{index}.png", grey(RNG, 0, 40, size=SIZE))
    (root / "train.txt").write_text("0\n1\n2\n3\n")
    (root / "test.txt").write_text("4\n5\n")


def write_mfnet(root):
    for index in range(6):
        save(root / "images" / f"{index:05}D.png", colours(RNG, 4, SIZE))
        save(root / "labels" / f"{index:05}D.png", grey(RNG, 0, 9, size=SIZE))
    for split, numbers in {"train": range(3), "val": (3,), "test": (4, 5)}.items():
        (root / f"{split}.txt").write_text("".join(f"{index:05}D\n" for index in numbers))


def write_pairs(root):
    for split in ("train", "test"):
        for index in range(4):
            save(root / split / "vi" / f"{index}.png", colours(RNG, size=SIZE))
            save(root / split / "ir" / f"{index}.png", grey(RNG, size=SIZE))


def write_both(write):
    """The splits "train" and "test" of a family that has no other."""

    def of_four(root):
        for split in ("train", "test"):
            write(root, RNG, split, 4, SIZE)

    return of_four


def write_weather(root):
    for split in ("train", "val", "test"):
        write_deliver(root, RNG, split, [f"cloud/MAP_{index}_point1" for index in range(3)], SIZE)


def write_side_by_side(root):
    for index in range(6):
        save(root / "train" / f"{index}.png", colours(RNG, size=(48, 96)))


def write_rooms(root):
    for split in ("train", "val", "test"):
        rooms = SyntheticRooms(root=root, split=split, num_frames=2, size=SIZE)
        assert len([rooms[index] for index in range(2)]) == 2


def write_undeclared(root):
    """Folders that no layout has, with masks of two colours."""
    for index in range(6):
        save(root / "images" / f"{index}.jpg", colours(RNG, size=SIZE))
        save(root / "depths" / f"{index}.png", grey(RNG, 900, 9000, np.uint16, SIZE))
        save(root / "masks" / f"{index}.png", grey(RNG, 0, 2, size=SIZE))


WRITTEN = {
    "NYUDv2CMX": write_nyu_cmx,
    "NYUDv2Lists": lambda root: write_lists(root, 0, 255),
    "SUNRGBDLists": lambda root: write_lists(root, 1, 0),
    "NYUDv2ESANet": write_esanet,
    "NYUDv2Folders": write_folders,
    "MFNet": write_mfnet,
    "FMB": write_both(write_fmb),
    "PST900": write_both(write_pst900),
    "VisibleInfrared": write_pairs,
    "DELIVER": write_weather,
    "SideBySide": write_side_by_side,
    "SyntheticRooms": write_rooms,
    "no known layout": write_undeclared,
}


def planned(data, **options):
    """A plan whose steps cost next to nothing, and its config's text."""
    plan = plan_training(
        data, CPU, 600.0, lambda trial: Costs(0.1, 2**20, 0.01, 0.01, 0.1), lambda name: Weights(None, "none here")
    )
    return plan, config_text(data, CPU, plan, **{"work_dir": "work_dirs/here", "command": "rgbx init here", **options})


@pytest.mark.parametrize("name", WRITTEN)
def test_every_layout_becomes_a_config(tmp_path, name):
    root = tmp_path / "frames"
    root.mkdir()
    WRITTEN[name](root)
    data = read_folder(root)
    assert data.layout.startswith(name)
    plan, text = planned(data)
    file = tmp_path / "config.py"
    file.write_text(text)
    config = load_config(file)
    assert plan["max_epochs"] == config.train_cfg.max_epochs and config.data_root == str(root)
    for part, options in (("train", data.train), ("val", data.val), ("test", data.test)):
        dataset = config[f"{part}_dataloader"].dataset
        assert dataset.root == str(root) and dataset.get("split", "train") == options.options["split"]
    assert bool(data.target) == ("target" in config.model) and len(data.dataset(data.val)[0]) > 1


@pytest.mark.parametrize(
    "name",
    [r"a\xq", r"a\N{no}", 'say "so"', '"""', 'ends in "', "ends in \\", "two\nlines", "a\rb", "é \U0001f600", "\udcff",
     "'''", "tab\there", "\u2028", "{brace} %s"],
)  # fmt: skip
def test_names_of_folders_and_classes_are_only_text(tmp_path, name):
    root = tmp_path / name
    root.mkdir()
    write_undeclared(root)
    data = dataclasses.replace(read_folder(root), classes=(name, f"{name}\0"), warnings=(f"Odd: {name}",))
    text = planned(data, work_dir=f"work_dirs/{name}", command=f"rgbx init {name!r}", device="cpu")[1]
    tree = ast.parse(text.encode())  # fails for what is not UTF-8, too
    values = {
        node.targets[0].id: node.value.value
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
    }
    assert values == {"data_root": str(root), "work_dir": f"work_dirs/{name}", "device": "cpu"}
    head = ast.get_docstring(tree)
    assert head is not None and head.startswith("A training of rgb and depth of ") and f"    rgbx init {name!r}" in head
    file = tmp_path / "config.py"
    file.write_bytes(text.encode())
    assert load_config(file).data_root == str(root)
