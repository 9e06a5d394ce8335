"""Packing: what is kept, what is refused, and what a run that was stopped leaves to the next."""

from __future__ import annotations

import os
import signal
import time

import numpy as np
import pytest
from dataset_frames import colours, grey, save, write_fmb, write_pst900
from tiny import Halves

from rgbx.datasets import FMB, MFNet, ShardedDataset
from rgbx.datasets.prepare import shards, write_shards
from rgbx.datasets.shards import Record, packed_shard
from rgbx.datasets.shards.packing import Packer
from rgbx.maps.files import read_image


@pytest.fixture
def root(tmp_path):
    return write_fmb(tmp_path / "in", np.random.default_rng(0), count=9)


def pack(root, out, **options):
    return write_shards(out, {"train": FMB(root)}, root, shard_mb=0.01, **options)


def tree(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_whole_shards_of_a_stopped_run_are_kept(root, tmp_path, monkeypatch):
    whole, out = tmp_path / "whole", tmp_path / "out"
    pack(root, whole)
    count = len(list((whole / "train").glob("*.tar")))
    real = shards.packed_shard

    def stop_at_the_third(samples):
        if len(list(out.rglob("*.tar"))) == 2:
            raise KeyboardInterrupt
        return real(samples)

    monkeypatch.setattr(shards, "packed_shard", stop_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        pack(root, out)
    monkeypatch.undo()
    kept = {path: path.stat().st_mtime_ns for path in (out / "train").iterdir()}
    assert not (out / "shards.json").exists() and len(kept) == 4 and count > 2
    assert pack(root, out, workers=2)[:2] == (2 * count - 4, 4)
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert tree(out) == tree(whole)


@pytest.mark.parametrize("change", ["a file", "the order", "fewer frames"])
def test_other_sources_are_not_mixed(root, tmp_path, change):
    out = tmp_path / "out"
    pack(root, out)
    before = tree(out)
    (out / "train" / "000001.tar").unlink()
    files = FMB(root)
    if change == "a file":
        save(root / "train" / "Infrared" / "00000.png", grey(np.random.default_rng(9)))
    elif change == "the order":
        files.frames = files.frames[::-1]
    else:
        files.frames = files.frames[:-1]
    with pytest.raises(FileExistsError, match=r"shards in .* use another output folder"):
        write_shards(out, {"train": files}, root, shard_mb=0.01)
    before.pop("train/000001.tar")
    assert tree(out) == before


def test_a_changed_shard_and_files_of_others_are_left_alone(root, tmp_path):
    out = tmp_path / "out"
    pack(root, out)
    (out / "train" / "000000.tar").write_bytes(b"other")
    with pytest.raises(FileExistsError, match=r"000000.tar has changed since it was written"):
        pack(root, out)
    other = tmp_path / "other" / "train" / "000000.tar"
    other.parent.mkdir(parents=True)
    other.write_bytes(b"mine")
    with pytest.raises(FileExistsError, match=r"000000.tar is in the way"):
        pack(root, tmp_path / "other")
    assert other.read_bytes() == b"mine"


def test_splits_are_added(root, tmp_path):
    out = tmp_path / "out"
    pack(root, out)
    write_fmb(root, np.random.default_rng(1), "test", count=2)
    write_shards(out, {"val, test": FMB(root, "test")}, root)
    assert [len(ShardedDataset(out, split)) for split in ("train", "val", "test")] == [9, 2, 2]
    np.testing.assert_array_equal(ShardedDataset(out, "test")[1]["rgb"], FMB(root, "test")[1]["rgb"])


def test_shards_are_as_large_as_asked_for(tmp_path):
    """Frames of one size, whose shards have as many of them as come nearest."""
    root = write_fmb(tmp_path / "in", np.random.default_rng(0), count=40, size=(48, 64))
    write_shards(tmp_path / "out", {"train": FMB(root)}, root, shard_mb=0.2)
    *full, last = [shard.bytes for shard in ShardedDataset(tmp_path / "out").packed.shards]
    assert len(full) > 2 and all(0.85 < size / (0.2 * 2**20) < 1.15 for size in full) and last <= max(full)


class Odd(Halves):
    def read(self, index):
        return {**super().read(index), "more": object()}


def test_what_no_shard_can_hold_is_told():
    with pytest.raises(ValueError, match=r"sample 'half/0': a value that no shard can hold: .*object.*JSON"):
        packed_shard([Packer(Odd()).pack(0)])
    record = Record("a")
    with pytest.raises(ValueError, match="sample 'a': a shard has it already"):
        packed_shard([(record, {}), (record, {})])
    for ending in ("json", "", ".png", "a/b", "a b.png"):
        with pytest.raises(ValueError, match="no member can end with"):
            packed_shard([(record, {ending: b""})])


def test_float_maps_of_whole_steps_become_png(tmp_path):
    """Thermal of 8 bits, which MFNet keeps in the fourth channel of its images."""
    four = save(tmp_path / "images" / "0.png", colours(np.random.default_rng(0), 4))
    save(tmp_path / "labels" / "0.png", grey(np.random.default_rng(0), 0, 9))
    (tmp_path / "train.txt").write_text("0\n")
    record, files = Packer(MFNet(tmp_path)).pack(0)
    assert record.held["thermal.png"] == "encoded" and record.held["rgb.png"] == "array"
    (tmp_path / "thermal.png").write_bytes(files["thermal.png"])
    np.testing.assert_array_equal(read_image(tmp_path / "thermal.png"), four[..., 3])


def test_workers_end_with_the_one_that_started_them(root, tmp_path):
    """It is killed while they pack."""
    reading, writing = os.pipe()
    parent = os.fork()
    if parent == 0:  # pragma: no cover
        shards._content = lambda *_: (os.write(writing, b"%d\n" % os.getpid()), time.sleep(60))
        pack(root, tmp_path / "out", workers=2)
        os._exit(0)
    with os.fdopen(reading) as lines:
        workers = {int(lines.readline()), int(lines.readline())}
        os.kill(parent, signal.SIGKILL)
        os.waitpid(parent, 0)
        os.close(writing)
        assert lines.read() == ""  # when all who could write have ended
    assert len(workers) == 2


def test_shards_of_another_size_have_the_same_members(root, tmp_path):
    """Packed into one shard, and from there into shards as they were: the same bytes as packed at once."""
    pack(root, tmp_path / "small")
    small = ShardedDataset(tmp_path / "small")
    write_shards(tmp_path / "large", {"train": small}, tmp_path / "small", shard_mb=100)
    large = ShardedDataset(tmp_path / "large")
    assert len(large.packed.shards) == 1 < len(small.packed.shards)
    write_shards(tmp_path / "again", {"train": large}, tmp_path / "large", shard_mb=0.01)
    tars = [name for name in tree(tmp_path / "small") if name.endswith((".tar", ".idx")) or name == "shards.json"]
    assert all(tree(tmp_path / "again")[name] == tree(tmp_path / "small")[name] for name in tars)


def test_a_folder_of_another_layout_is_left_alone(root, tmp_path):
    before = tree(root)
    with pytest.raises(FileExistsError, match="is a dataset's own folder, which shards would make ambiguous"):
        pack(root, root)
    (tmp_path / "other").mkdir()
    (tmp_path / "other/dataset.toml").touch()
    with pytest.raises(FileExistsError, match="other is a dataset's own folder"):
        pack(root, tmp_path / "other")
    write_pst900(tmp_path / "known", np.random.default_rng(0))
    with pytest.raises(
        FileExistsError, match=r"known is a dataset's own folder, .* \(it is PST900 \(.*: it has train/"
    ):
        pack(root, tmp_path / "known")
    assert tree(root) == before and not list((tmp_path / "known").rglob("*.tar"))
