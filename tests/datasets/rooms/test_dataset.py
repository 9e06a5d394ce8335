"""Rooms as a dataset: splits, labels, maps, and frames kept on disk."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from rgbx.datasets import STANDARD_MAPS, SyntheticRooms, build_dataset
from rgbx.datasets.rooms import CLASSES, MAPS, dataset
from rgbx.datasets.rooms.classes import HEATER, HOT_HEATER
from rgbx.maps import Encoding

SMALL = (48, 64)


def test_splits_share_no_scene() -> None:
    splits = {split: SyntheticRooms(split=split, num_frames=50, size=SMALL) for split in ("train", "test", "val")}
    scenes = [rooms.scene_index(i) for rooms in splits.values() for i in (*range(50), 10**6)]
    assert len(set(scenes)) == len(scenes) == 3 * 51
    assert splits["train"].scene_index(7) == 14 and splits["test"].scene_index(7) == 15  # as they always were
    one, other, third = (rooms[0]["rgb"] for rooms in splits.values())
    assert (one != other).any() and (one != third).any() and (other != third).any()


def test_heaters_are_two_classes_only_with_thermal() -> None:
    without = SyntheticRooms(num_frames=20, size=SMALL)
    thermal = SyntheticRooms(num_frames=20, size=SMALL, modalities=("rgb", "thermal"))
    assert (without.num_classes, thermal.num_classes) == (10, 11)
    assert without.metainfo["classes"] == CLASSES[:10]
    assert without.metainfo["maps"]["depth"].unit == "metre"
    assert thermal.metainfo["maps"]["thermal"].unit == "sensor"
    labels = [[rooms[i]["label"] for i in range(20)] for rooms in (without, thermal)]
    for merged, split in zip(*labels, strict=True):
        np.testing.assert_array_equal(merged, np.where(split == HOT_HEATER, HEATER, split))
    assert (np.stack(labels[1]) == HOT_HEATER).any()


def test_maps_keep_the_sample_contract() -> None:
    rooms = SyntheticRooms(num_frames=2, size=(24, 40), modalities=MAPS[:-1])
    sample = rooms[1]  # validates shapes, dtypes and values
    assert sample["sample_id"] == "train/000001" and len(rooms) == 2
    assert sample["rgb"].dtype == np.uint8 and sample["rgb"].shape == (24, 40, 3)
    assert sample["normal"].shape == (24, 40, 3) and sample["normal"].dtype == np.float32
    assert set(np.unique(sample["edge"])) == {0.0, 1.0}
    assert 10 < np.median(sample["thermal"]) < 32


def rooms_on_disk(root: Path | None, **changes: object) -> SyntheticRooms:
    return SyntheticRooms(**{"num_frames": 3, "size": (24, 32), "modalities": MAPS[:-1], "root": root, **changes})  # type: ignore[arg-type]


def test_disk_and_memory_give_equal_samples(tmp_path: Path) -> None:
    for split in ("train", "test"):
        stored = rooms_on_disk(tmp_path, split=split)
        fresh = rooms_on_disk(None, split=split)
        for index in range(3):
            for _ in range(2):  # rendered now, then only read
                for name in MAPS:
                    np.testing.assert_array_equal(stored[index][name], fresh[index][name])
        assert stored[0]["paths"]["depth"] == str(tmp_path / split / "depth" / "000000.png")
    assert not list(tmp_path.rglob("*.part"))


def test_paints_by_class_on_disk(tmp_path: Path) -> None:
    stored = rooms_on_disk(tmp_path, paints="class")
    np.testing.assert_array_equal(stored[1]["rgb"], rooms_on_disk(None, paints="class")[1]["rgb"])
    assert (stored[1]["rgb"] != rooms_on_disk(None)[1]["rgb"]).any()


def test_files_are_read_as_the_dataset_says_they_are_stored(tmp_path: Path) -> None:
    rooms = rooms_on_disk(tmp_path)
    sample = rooms[1]
    stored = rooms.metainfo["stored"]
    assert set(stored) == {"depth", "thermal", "edge"}
    for name, options in stored.items():
        values = Encoding(STANDARD_MAPS[name], **options).read(rooms.path(name, 1))
        np.testing.assert_allclose(values, sample[name], rtol=0, atol=2e-5)
    assert rooms_on_disk(tmp_path, modalities=("rgb",)).metainfo["stored"] == {}


def test_rendering_resumes_where_files_are_missing(tmp_path: Path) -> None:
    rooms = rooms_on_disk(tmp_path)
    assert [rooms.write(index) for index in (0, 1, 1)] == [True, True, False]
    before = rooms[1]["depth"]
    rooms.path("depth", 1).unlink()
    np.testing.assert_array_equal(rooms_on_disk(tmp_path)[1]["depth"], before)
    assert rooms.path("depth", 1).exists()


def test_the_manifest_guards_seed_size_and_renderer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rooms_on_disk(tmp_path)
    rooms_on_disk(tmp_path, split="test", num_frames=2)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert manifest["splits"] == {"train": 3, "test": 2}
    assert len(rooms_on_disk(tmp_path, num_frames=None)) == 3
    with pytest.raises(ValueError, match=r"manifest\.json.*'seed' is 0, expected 1"):
        rooms_on_disk(tmp_path, seed=1)
    with pytest.raises(ValueError, match=r"manifest\.json.*'size' is \[24, 32\]"):
        rooms_on_disk(tmp_path, size=(32, 24))
    with pytest.raises(ValueError, match=r"'paints' is 'random', expected 'class'"):
        rooms_on_disk(tmp_path, paints="class")
    del manifest["paints"]  # as manifests were before there was a choice
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    assert len(rooms_on_disk(tmp_path)) == 3
    for field, value in (
        ("size", 24),
        ("size", [24]),
        ("size", [24, 1e300]),
        ("splits", {"train": "3"}),
        ("paints", 0),
    ):
        (tmp_path / "manifest.json").write_text(json.dumps({**manifest, field: value}))
        with pytest.raises(ValueError, match=rf"manifest\.json: field '{field}' is .*, expected .*delete it"):
            rooms_on_disk(tmp_path)
        with pytest.raises(ValueError, match="has no known layout"):
            build_dataset(tmp_path)
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    monkeypatch.setattr(dataset, "RENDERER_VERSION", 99)
    with pytest.raises(ValueError, match=r"'renderer' is \d+, expected 99"):
        rooms_on_disk(tmp_path)


def test_a_folder_of_other_frames_is_refused(tmp_path: Path) -> None:
    (tmp_path / "train" / "rgb").mkdir(parents=True)
    with pytest.raises(ValueError, match="not a folder of rendered rooms"):
        rooms_on_disk(tmp_path)


def test_an_empty_file_is_rendered_anew(tmp_path: Path) -> None:
    """As a crash of the machine leaves one that it had not yet written."""
    rooms = rooms_on_disk(tmp_path)
    rooms.write(0)
    path = rooms.path("depth", 0)
    whole = path.read_bytes()
    path.write_bytes(b"")
    np.testing.assert_array_equal(rooms[0]["depth"], rooms_on_disk(tmp_path)[0]["depth"])
    assert path.read_bytes() == whole


@pytest.mark.parametrize("content", [b"not a png", "half", "eight bit"])
def test_an_unreadable_file_is_named(tmp_path: Path, content: bytes | str) -> None:
    rooms = rooms_on_disk(tmp_path)
    rooms.write(0)
    path = rooms.path("depth", 0)
    whole = path.read_bytes()
    wrong = {"half": whole[: len(whole) // 2], "eight bit": rooms.path("label", 0).read_bytes()}
    path.write_bytes(wrong[content] if isinstance(content, str) else content)
    with pytest.raises(OSError, match=r"depth.000000\.png"):
        rooms[0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"split": "valid"}, "split is .valid.; expected one of train"),
        ({"modalities": ("rgb", "hha")}, "hha"),
        ({"num_frames": 0}, "num_frames at least 1"),
        ({"size": (4, 32)}, "at least 8x8"),
        ({"paints": "oil"}, "paints is .oil.; expected one of random"),
    ],
)
def test_wrong_arguments_are_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rooms_on_disk(None, **arguments)
