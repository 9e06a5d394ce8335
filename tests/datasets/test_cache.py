"""Kept frames: the same samples, each file decoded once, stale and half-written frames never seen."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from dataset_frames import save
from PIL import Image
from torch.utils.data import DataLoader

from rgbx.datasets import (
    CachedFrames,
    DenseDataset,
    EpochSampler,
    EveryKth,
    NYUDv2Mat,
    SampleKey,
    SideBySide,
    SyntheticRooms,
    cache,
)
from rgbx.datasets.cache import _GIB, keep_if_small
from rgbx.datasets.files import FileDataset, Frame
from rgbx.datasets.fingerprint import dataset_fingerprint
from rgbx.datasets.frame_store import FolderStore, MemoryStore, decode_frame, encode_frame
from rgbx.maps import RGB, STANDARD_MAPS, Encoding, LabelEncoding
from rgbx.transforms import ColorJitter, HorizontalFlip, PackSample, RandomScaleCrop

AUGMENT = (ColorJitter(probability=1.0), RandomScaleCrop((10, 10)), HorizontalFlip(), PackSample())


DEPTH_MM, DEPTH_CM = (Encoding(STANDARD_MAPS["depth"], scale=scale) for scale in (1000, 100))


class Files(FileDataset):
    """Six frames of two sizes; `log`, a file, gains one byte per frame decoded, in any process."""

    def __init__(self, root: Path, count: int = 6, depth=DEPTH_MM, transforms=AUGMENT):
        frames = [
            Frame(f"f{n}", {kind: root / f"{kind}{n}.png" for kind in ("rgb", "depth", "label")}) for n in range(count)
        ]
        self.log = root / "log"
        super().__init__(
            frames,
            {"rgb": RGB, "depth": depth},
            LabelEncoding(),
            modalities=("rgb", "depth"),
            classes=("a", "b"),
            palette=[[0, 0, 0], [1, 1, 1]],
            transforms=transforms,
        )
        self.log.write_bytes(b"")

    def read_frame(self, frame, names):
        with self.log.open("ab") as file:
            file.write(b"x")
        return super().read_frame(frame, names)

    @property
    def decoded(self) -> int:
        return len(self.log.read_bytes())


def write(root: Path, n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    size = (12, 16) if n % 2 else (14, 18)
    Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8)).save(root / f"rgb{n}.png")
    Image.fromarray(rng.integers(0, 5000, size).astype(np.uint16)).save(root / f"depth{n}.png")
    Image.fromarray(rng.integers(0, 2, size, dtype=np.uint8)).save(root / f"label{n}.png")


@pytest.fixture
def root(tmp_path):
    for n in range(6):
        write(tmp_path, n, n)
    return tmp_path


@pytest.fixture(params=["memory", "disk"])
def cached(request, root):
    folder = None if request.param == "memory" else root / "cache"
    return CachedFrames(Files(root), folder=folder)


def epoch(dataset, number: int, workers: int) -> dict[str, np.ndarray]:
    sampler = EpochSampler(dataset, seed=3)
    sampler.set_epoch(number)
    loader = DataLoader(dataset, batch_size=2, sampler=sampler, num_workers=workers)
    keys = ("rgb", "depth", "depth_valid", "label")
    return {
        name: np.concatenate([batch[key][i].numpy().ravel() for key in keys])
        for batch in loader
        for i, name in enumerate(batch["sample_id"])
    }


@pytest.mark.parametrize("workers", [0, 2])
def test_samples_are_the_same_and_files_are_decoded_once(cached, root, workers):
    plain = Files(root)
    for number in range(3):
        before = cached.dataset.decoded
        found, expected = epoch(cached, number, workers), epoch(plain, number, 0)
        assert cached.dataset.log == plain.log  # both count in one file
        assert found.keys() == expected.keys()
        for name in found:
            np.testing.assert_array_equal(found[name], expected[name])
        assert plain.decoded - before == (12 if number == 0 else 6)
    assert cached.metainfo == plain.metainfo and len(cached) == 6


def test_transforms_run_at_each_visit_and_cannot_change_what_is_kept(cached):
    one, other = cached[SampleKey(1, 5)], cached[SampleKey(1, 6)]
    assert not (one["rgb"] == other["rgb"]).all()
    kept = cached.read(1)
    assert kept["paths"]["rgb"].endswith("rgb1.png") and kept["sample_id"] == "f1"
    with pytest.raises(ValueError, match="read-only"):
        kept["depth"][0, 0] = 1


def test_a_changed_file_is_read_anew(root):
    cached = CachedFrames(Files(root), folder=root / "cache")
    before = cached.read(2)["rgb"].copy()
    write(root, 2, 99)
    os.utime(root / "rgb2.png", ns=(1, 1))
    after = cached.read(2)["rgb"]
    assert not (before == after).all()
    np.testing.assert_array_equal(after, np.asarray(Image.open(root / "rgb2.png")))
    unchecked = CachedFrames(Files(root), folder=root / "cache", check_files=False)
    write(root, 3, 98)
    assert unchecked.dataset.decoded == 1 and unchecked.read(2)["rgb"].tolist() == after.tolist()
    assert unchecked.dataset.decoded == 1


def test_other_arguments_never_meet_old_frames(root):
    for _ in range(2):
        for reader, scale in ((DEPTH_MM, 1000), (DEPTH_CM, 100)):
            cached = CachedFrames(Files(root, depth=reader), folder=root / "cache")
            raw = np.asarray(Image.open(root / "depth1.png"))
            np.testing.assert_allclose(cached.read(1)["depth"], raw / scale, rtol=1e-6)
    CachedFrames(Files(root, count=4), folder=root / "cache").read(1)
    assert len(list((root / "cache").iterdir())) == 3


def test_a_reader_changed_behind_its_name_is_refused(root):
    class Scaled(Encoding):
        factor = 1

        def read(self, path):
            return super().read(path) * np.float32(self.factor)

    reader = Scaled(STANDARD_MAPS["depth"])
    CachedFrames(Files(root, depth=reader), folder=root / "cache").read(0)
    Scaled.factor = 2
    with pytest.raises(ValueError, match=r"cache.*\['depth'\] of the kept frame 'f0' differ"):
        CachedFrames(Files(root, depth=reader), folder=root / "cache")


def test_fingerprint_ignores_transforms_only(root):
    one = dataset_fingerprint(Files(root))
    assert one == dataset_fingerprint(Files(root, transforms=())) == dataset_fingerprint(Files(root))
    assert one != dataset_fingerprint(Files(root, count=5))
    assert one != dataset_fingerprint(Files(root, depth=DEPTH_CM))


@pytest.mark.parametrize("place", ["memory", "disk"])
def test_translation_keeps_its_targets(tmp_path, place):
    for stem in "ab":
        pair = np.random.default_rng(0).integers(0, 256, (12, 32, 3), dtype=np.uint8)
        save(tmp_path / "train" / f"{stem}.png", pair)
    plain = SideBySide(tmp_path, targets=("a",))
    cached = CachedFrames(SideBySide(tmp_path, targets=("a",)), folder=None if place == "memory" else tmp_path / "kept")
    assert (cached.sources, cached.targets) == (plain.sources, plain.targets) == (("b",), ("a",))
    for _ in range(2):
        for key in (SampleKey(0, 1), SampleKey(1, 2)):
            for name in plain.modalities:
                np.testing.assert_array_equal(cached[key][name], plain[key][name])


def test_an_open_file_changes_no_fingerprint(published_file):
    dataset = NYUDv2Mat(published_file.path)
    before = dataset_fingerprint(dataset)
    dataset.read(0)
    assert dataset_fingerprint(dataset) == before != dataset_fingerprint(NYUDv2Mat(published_file.path, "test"))


def test_the_published_file_is_kept_until_it_changes(published_file, tmp_path):
    plain = NYUDv2Mat(published_file.path)
    kept = [CachedFrames(NYUDv2Mat(published_file.path), folder=tmp_path / "kept") for _ in range(2)]
    for cached in kept:
        np.testing.assert_array_equal(cached.read(2)["depth"], plain.read(2)["depth"])
    assert len(list((tmp_path / "kept").glob("*/*.frame"))) == 1
    assert kept[0]._kept(2) is not None
    os.utime(published_file.path, ns=(1, 1))
    assert kept[0]._kept(2) is None


def test_cut_files_are_read_anew(root):
    cached = CachedFrames(Files(root), folder=root / "cache")
    expected = cached.read(1)
    (file,) = (root / "cache").glob("*/0000001.frame")
    data = file.read_bytes()
    for length in (0, 10, 100, len(data) - 1):
        file.write_bytes(data[:length])
        np.testing.assert_array_equal(cached.read(1)["depth"], expected["depth"])
        assert file.read_bytes() == data
    assert not list((root / "cache").glob("*/.*"))


@pytest.mark.parametrize(
    ("old", "new"), [(b'{"sample"', b'{"sXmple"'), (b'"paths"', b'"pXths"'), (b'"|u1"', b'"|\xff1"')]
)
def test_damaged_files_are_read_anew(root, old, new):
    whole = CachedFrames(Files(root), folder=root / "cache").read(1)
    (path,) = (root / "cache").glob("*/0000001.frame")
    path.write_bytes(path.read_bytes().replace(old, new))
    again = CachedFrames(Files(root), folder=root / "cache").read(1)
    assert again.keys() == whole.keys() and (again["rgb"] == whole["rgb"]).all()


def test_full_stores_fall_back_to_files(root, monkeypatch):
    cached = CachedFrames(Files(root), memory_gib=3000 / 2**30)
    with pytest.warns(UserWarning, match="no room left"):
        found = [cached.read(n) for n in range(6)]
    plain = Files(root)
    for n in range(6):
        np.testing.assert_array_equal(found[n]["rgb"], plain.read(n)["rgb"])
    cached = CachedFrames(Files(root), folder=root / "cache")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=0))
    with pytest.warns(UserWarning, match="no room left"):
        cached.read(0)
    assert not list((root / "cache").glob("*/*"))


def test_a_pickled_memory_store_starts_empty():
    store = MemoryStore(3, 1000)
    assert store.put(1, np.arange(10, dtype=np.uint8)) and not store.put(2, np.zeros(2000, np.uint8))
    assert store.get(1).tolist() == list(range(10)) and store.get(0) is None
    copy = pickle.loads(pickle.dumps(store))
    assert copy.get(1) is None and copy.put(0, np.ones(5, np.uint8)) and store.get(0) is None


def test_blocks_hold_any_array(tmp_path):
    rng = np.random.default_rng(0)
    sample = {
        "a": rng.random((3, 5, 2), np.float32)[:, ::2],
        "b": np.zeros((0, 4), np.uint8),
        "sample_id": "ä",
        "paths": {"a": "x"},
    }
    store = FolderStore(tmp_path / "new" / "folder")
    assert store.put(7, encode_frame(sample, [1, "two"])) and store.get(6) is None
    found, extra = decode_frame(store.get(7))
    assert extra == [1, "two"] and found["sample_id"] == "ä" and found["paths"] == {"a": "x"}
    for key in ("a", "b"):
        np.testing.assert_array_equal(found[key], sample[key])
        assert found[key].dtype == sample[key].dtype


def test_exception(root, monkeypatch):
    with pytest.raises(ValueError, match="memory_gib must be > 0"):
        CachedFrames(Files(root), memory_gib=0)
    monkeypatch.setattr(os, "sysconf", lambda name: 100)
    with pytest.raises(ValueError, match=r"needs about .* GiB for 6 frames; this machine has .*folder="):
        CachedFrames(Files(root))


def test_from_a_config(root):
    config = {"type": CachedFrames, "dataset": {"type": Files, "root": root}, "memory_gib": 0.01}
    built = config.pop("type")(**config)
    assert built[0]["rgb"].shape == (3, 10, 10)


def test_small_sets_are_kept_by_themselves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Frames of a set that fits are decoded once, also through `EveryKth`, and samples are the same."""
    for n in range(6):
        write(tmp_path, n, seed=n)
    plain = Files(tmp_path)
    for whole, count in ((Files(tmp_path), 6), (EveryKth(Files(tmp_path), 2, 1), 3)):
        found = keep_if_small(whole)
        assert found.kept and len(found.dataset) == count and f"{count} decoded frames take about" in found.reason
        files = getattr(whole, "dataset", whole)
        for _ in range(2):
            for index in range(count):
                sample = found.dataset[SampleKey(index, 7)]
                same = plain[SampleKey(index if count == 6 else 1 + 2 * index, 7)]
                assert sample["sample_id"] == same["sample_id"]
                assert all(np.array_equal(value, same[key]) for key, value in sample.items() if key in ("rgb", "label"))
        decoded = files.decoded
        found.dataset[0]
        assert files.decoded == decoded
    monkeypatch.setattr(cache, "free_memory", lambda: 20_000)
    assert not keep_if_small(plain).kept and "more than 25% of the" in keep_if_small(plain).reason


class Own(DenseDataset):
    """Frames that may be others at each visit."""

    def __len__(self) -> int:
        return 2


class Drawn(SyntheticRooms):
    """Adds to each visit what it draws."""

    def read(self, index: int) -> dict[str, Any]:
        return {**super().read(index), "drawn": os.urandom(4)}


@pytest.mark.parametrize("case", ["own", "spawned", "processes"])
def test_others_are_not_kept_by_themselves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    for n in range(6):
        write(tmp_path, n, seed=n)
    assert keep_if_small(SyntheticRooms(num_frames=4, size=(32, 48))).kept
    assert not keep_if_small(Drawn(num_frames=4, size=(32, 48))).kept
    dataset = Own(modalities=["rgb"], classes=["a"], palette=[[0, 0, 0]]) if case == "own" else Files(tmp_path)
    if case == "spawned":
        monkeypatch.setattr(multiprocessing, "get_start_method", lambda: "spawn")
        assert keep_if_small(dataset).kept  # without workers nothing is shared
    if case == "processes":
        needed = 6 * (len(encode_frame(dataset.read(0))) + 4096) / _GIB
        monkeypatch.setattr(cache, "free_memory", lambda: int(12 * needed * _GIB))
        assert keep_if_small(dataset).kept
    found = keep_if_small(dataset, workers=2, processes=4 if case == "processes" else 1)
    assert not found.kept and found.dataset is dataset
