"""The command: configs and folders, exit codes, the files it writes."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest

from rgbx.cli.doctor import dataset_builders, main
from rgbx.cli.doctor_sheet import _rows as sheet_rows
from rgbx.cli.doctor_sheet import frame_panels
from rgbx.datasets import SyntheticRooms
from rgbx.doctor import diagnose

CONFIG = """
from rgbx.datasets import SyntheticRooms
data_root = {root!r}
train_dataloader = dict(dataset=dict(type=SyntheticRooms, root=data_root, split="train", num_frames=10))
val_dataloader = dict(dataset=dict(type=SyntheticRooms, root=data_root, split="test", num_frames=3))
test_dataloader = val_dataloader
"""


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "config.py"
    path.write_text(CONFIG.format(root=str(tmp_path / "rooms")))
    return path


def test_config(config, tmp_path, capsys):
    out = tmp_path / "out"
    assert main([str(config), "--json", str(out / "a.json"), "--contact-sheet", str(out / "a.png")]) == 0
    text = capsys.readouterr().out
    assert "train: SyntheticRooms, 10 frames, 10 read" in text and "val, test: SyntheticRooms, 3 frames" in text
    report = json.loads((out / "a.json").read_text())
    assert report["exit_code"] == 0 and report["target"] == str(config)
    assert [split["name"] for split in report["splits"]] == ["train", "val, test"]
    sheet = cv2.imread(str(out / "a.png"))
    assert sheet.shape[0] > 700 and sheet.shape[1] > 900 and len(np.unique(sheet)) > 100


def test_split_and_samples(config, capsys):
    assert main([str(config), "--split", "test", "--samples", "2"]) == 0
    text = capsys.readouterr().out
    assert "3 frames, 2 read" in text and "train" not in text
    assert main([str(config), "--modalities", "rgb"]) == 0
    assert "depth" not in capsys.readouterr().out
    assert main([str(config), "--split", "nosuch"]) == 2
    assert "train, val, test" in capsys.readouterr().err


def test_warnings_and_errors_set_the_exit_code(config, tmp_path):
    main([str(config)])
    path = tmp_path / "rooms/train/depth/000004.png"
    whole = path.read_bytes()
    cv2.imwrite(str(path), np.zeros((120, 160), np.uint16))
    assert main([str(config)]) == 1
    path.write_bytes(whole[:100])
    assert main([str(config), "--contact-sheet", str(tmp_path / "broken.png")]) == 2
    assert (tmp_path / "broken.png").is_file()


def test_folder(tmp_path, capsys):
    for split in ("train", "test"):
        SyntheticRooms(root=tmp_path, split=split, num_frames=4)
    assert main([str(tmp_path)]) == 0
    assert "test: SyntheticRooms, 4 frames" in capsys.readouterr().out
    assert main([str(tmp_path), "--split", "val"]) == 2
    assert "val" in capsys.readouterr().out
    assert main([str(tmp_path), "--modalities", "thermal", "rgb"]) == 0
    assert "4 read; thermal (sensor), rgb (rgb8)" in capsys.readouterr().out


@pytest.mark.parametrize("labelled", [True, False])
def test_an_unknown_folder_is_declared_and_the_next_step_told(tmp_path, capsys, labelled):
    root = tmp_path / "my frames"
    rng = np.random.default_rng(0)
    for index in range(3):
        maps = {"rgb": rng.integers(0, 256, (40, 50, 3), dtype=np.uint8), "depth": np.full((40, 50), 2000, np.uint16)}
        maps |= {"label": rng.integers(0, 3, (40, 50), dtype=np.uint8)} if labelled else {}
        for name, array in maps.items():
            (root / name).mkdir(parents=True, exist_ok=True)
            assert cv2.imwrite(str(root / name / f"{index}.png"), array)
    assert main([str(root), "--write-toml"]) < 2
    printed = capsys.readouterr().out
    assert f"rgbx train '{root}'\n" in printed and ("name its classes" in printed) == labelled
    assert ("dataset.toml has no labels: its maps can be translated" in printed) != labelled
    assert main([str(root)]) < 2
    assert "Next:" not in capsys.readouterr().out


def test_real_folders(layouts, capsys):
    """Each is opened by the layout it has; frames of a container or halves of an image are no duplicates."""
    assert main([str(layouts / "nyudv2"), "--modalities", "rgb", "depth"]) == 0
    assert "val: NYUDv2Lists, 4 frames, 4 read" in capsys.readouterr().out
    assert main([str(layouts / "sunrgbd")]) < 2
    assert "all: SUNRGBDFolders, 1 frame" in capsys.readouterr().out
    assert main([str(layouts / "taskonomy")]) < 2
    text = capsys.readouterr().out
    assert "Taskonomy" in text and "label" not in text.replace("unlabelled", "")
    assert main([str(layouts)]) == 2
    assert "A folder in it has one" in " ".join(capsys.readouterr().out.split())


def test_mirrored_copies_are_no_duplicates(layouts, tmp_path, capsys):
    (tmp_path / "images").symlink_to(layouts / "mfnet" / "images")
    (tmp_path / "labels").symlink_to(layouts / "mfnet" / "peer_pred")
    (tmp_path / "train.txt").write_text("01477D\n01477D_flip\n01234N\n01234N_flip\n")
    main([str(tmp_path)])
    text = capsys.readouterr().out
    assert "train: MFNet, 4 frames, 4 read" in text and "more than once" not in text
    (tmp_path / "train.txt").write_text("01477D\n01477D\n01234N\n01234N_flip\n")
    main([str(tmp_path)])
    assert "frame '01477D' is there already" in " ".join(capsys.readouterr().out.split())


def test_wrong_targets(tmp_path, capsys):
    assert main([str(tmp_path / "nothing")]) == 2
    assert "neither a config" in capsys.readouterr().err
    (tmp_path / "empty.py").write_text("")
    assert main([str(tmp_path / "empty.py")]) == 2
    assert "no dataset" in capsys.readouterr().err
    assert main([str(tmp_path), "--data-root", "x"]) == 2


def test_sheet_of_maps_without_a_unit(tmp_path):
    """A relative map and edges beside depth in metres: each has its own scale of colours."""
    values = np.tile(np.linspace(0, 60000, 64).astype(np.uint16), (48, 1))
    for name in ("rgb", "depth", "shade", "edge"):
        (tmp_path / name).mkdir()
        cv2.imwrite(
            f"{tmp_path}/{name}/0.png", np.dstack([values // 256] * 3).astype(np.uint8) if name == "rgb" else values
        )
    units = {"rgb": '"rgb8"', "depth": '"metre"\nscale = 10000', "shade": '"relative"', "edge": '"relative"'}
    tables = (f'[modalities.{name}]\nfolder = "{name}"\nunit = {unit}' for name, unit in units.items())
    (tmp_path / "dataset.toml").write_text("\n".join([*tables, "[splits]", 'train = ["0"]']))
    sheet = tmp_path / "sheet.png"
    main([str(tmp_path), "--contact-sheet", str(sheet)])
    assert sheet.is_file()
    (split,) = diagnose(dataset_builders(str(tmp_path))).splits
    panels = frame_panels(split, split.inspect(0), tuple(units))
    assert [panel.shape for panel in panels.values()] == [(48, 64, 3)] * 4
    assert all(len(np.unique(panel.reshape(-1, 3), axis=0)) > 40 for panel in panels.values())


def test_sheet_shows_the_frames_that_findings_name(config, tmp_path):
    main([str(config)])
    path = tmp_path / "rooms/train/depth/000007.png"
    path.write_bytes(path.read_bytes()[:100])
    cv2.imwrite(str(tmp_path / "rooms/train/label/000005.png"), np.full((120, 160), 77, np.uint8))
    diagnosis = diagnose(dataset_builders(str(config)))
    train, _ = diagnosis.splits
    rows = sheet_rows(train, diagnosis, 4)
    named = {frame.sample_id: about for _, frame, about in rows if about}
    assert named == {"#7": "refused", "train/000005": "label-range"} and len(rows) == 4
    refused = next(frame for _, frame, about in rows if about == "refused")
    assert "000007.png" in frame_panels(train, refused, ("rgb", "depth"))["depth"]
    panels = frame_panels(train, train.inspect(0), ("rgb", "depth"))
    assert list(panels) == ["RGB", "depth", "label", "label over RGB"]
    sample = train.dataset.read(0)
    half = np.asarray(train.dataset.palette, float)[sample["label"]] / 2 + sample["rgb"] / 2.0
    assert np.abs(panels["label over RGB"] - half).max() <= 1
